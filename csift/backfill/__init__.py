"""A corpus taught in parts: windows of time or sources, each written about once, whatever is killed on the way.

A partition is what a cycle's synthesis makes of the documents of one window. Its id is a hash of them and of what synthesis is
told, and it is stored whole when it is done, so the same partition again is nothing; its calls are in the ledger, so a partition
that was cut off goes on from there.
"""

from csift.backfill.estimating import estimate
from csift.backfill.partitions import save_plan, taught, teach
from csift.backfill.planning import divide
from csift.backfill.request import BackfillRequest, over
from csift.backfill.states import STAGE, plan_of, states

__all__ = ["STAGE", "BackfillRequest", "divide", "estimate", "over", "plan_of", "save_plan", "states", "taught", "teach"]
