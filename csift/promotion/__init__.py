"""The gate: pairs two reports on one eval set and decides whether the challenger becomes champion. Pure: no I/O."""

from csift.promotion.deciding import decide, decision_id, replay
from csift.promotion.outlook import outlook, target_items
from csift.promotion.pairing import pair
from csift.promotion.spending import decision_level, left, sign_test

__all__ = ["decide", "decision_id", "decision_level", "left", "outlook", "pair", "replay", "sign_test", "target_items"]
