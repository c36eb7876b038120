"""How often the gate promotes what is no better, in a year of nights on one eval set, and how often it finds what is.

    python bench/gate.py [--years N] [--nights N] [--seed N] [--quick]

Worlds in which no challenger is better than the champion; one of two Systems is right and the other wrong on a fifth of the 230
questions (discordance 0.20):

  independent  each night another challenger
  walk         each night a tenth of the challenger's outcomes is drawn anew
  climb        as walk, from the best so far, which is given up when the verdict (REJECT, HOLD, PROMOTE) is no worse
  border       who climbs knows the gate: the challenger shown is made worse until verdicts change, and every tenth night the best
               so far is shown as it is

A year counts when it had any promotion. Power: the share of nights that promote a challenger which is truly better, on the first
night and on the 100th, after 99 that held. Every verdict comes from csift.promotion.decide with the default policy; verdicts of
equal counts are asked for once, and some of them again with the questions in another order. The peers judge the same nights, by
their own verdicts where there is climbing: promote when the mean is at least the champion's, above it by a point, or at the 5%
level of the same test every night.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

DISCORDANCE, REDRAWN = 0.20, 0.10
ITEMS = 230
WORLDS = ("independent", "walk", "climb", "border")
REJECT, HOLD, PROMOTE = -1, 0, 1
Verdicts = Callable[[int, int, int, tuple[int, int]], int]  # items, wins, losses, (held, rejected) → verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=1000)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="20 years of 60 nights; the figures mean little")
    args = parser.parse_args()
    if args.quick:
        args.years, args.nights = 20, 60
    began = time.perf_counter()
    rules = RULES
    jobs = [(name, world, args.years, args.nights, args.seed) for world in WORLDS for name in rules]
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        shares = dict(zip([(name, world) for name, world, *_ in jobs], pool.starmap(years_with_any, jobs, 1), strict=True))
        powers = dict(
            zip(rules, pool.starmap(power, [(name, args.seed, 100 if args.quick else 2000) for name in rules]), strict=True)
        )
    figures = {
        name: {
            "false_promotion_years": max(shares[name, world] for world in WORLDS),
            "worlds": {world: shares[name, world] for world in WORLDS},
            "power": powers[name],
        }
        for name in rules
    }
    tell(figures, args, time.perf_counter() - began)
    own = figures.pop("csift")
    print(json.dumps({**own, "peers": figures}))


def tell(figures: dict[str, Any], args: argparse.Namespace, seconds: float) -> None:
    print(f"Share of {args.years} years of {args.nights} nights with any false promotion, {ITEMS} questions ({seconds:.0f} s)")
    print(f"{'':24}" + "".join(f"{world:>14}" for world in WORLDS))
    for name, told in figures.items():
        print(f"{name:24}" + "".join(f"{share:14.1%}" for share in told["worlds"].values()))
    print("Power: share promoted of challengers that are truly better")
    cells = [(night, points, n) for night in ("1", "100") for points in ("5", "10") for n in ("100", "230", "500")]
    print(f"{'night, points, questions':24}" + "".join(f"{f'{night} +{points} {n}':>12}" for night, points, n in cells))
    for name, told in figures.items():
        print(f"{name:24}" + "".join(f"{told['power'][night][points][n]:12.2f}" for night, points, n in cells))
    if args.quick:
        print("--quick: the figures mean little")


def years_with_any(rule: str, world: str, years: int, nights: int, seed: int) -> float:
    """The share of years in which the rule promoted a challenger that is no better."""
    draws = np.random.default_rng([seed, WORLDS.index(world)])
    promoted = sum(year(RULES[rule], world, nights, np.random.default_rng(one)) for one in draws.integers(2**63, size=years))
    return promoted / years


def year(verdict: Verdicts, world: str, nights: int, draws: np.random.Generator) -> bool:
    best = outcomes(draws, 0.0, ITEMS)
    before, handicap, seen = HOLD, 0, (0, 0)
    order = draws.permutation(ITEMS)
    for night in range(nights):
        told = outcomes(draws, 0.0, ITEMS) if world == "independent" else redrawn(draws, best)
        shown = told
        if world == "border":
            shown = best if night % 10 == 9 else worsened(told, order[:handicap])
        said = verdict(ITEMS, int((shown > 0).sum()), int((shown < 0).sum()), seen)
        if said == PROMOTE:
            return True
        seen = (seen[0] + (said == HOLD), seen[1] + (said == REJECT))
        if world == "walk" or (world == "climb" and said >= before):
            best, before = told, said
        if world == "border" and night % 10 != 9:
            best = told if said == HOLD else best
            handicap = handicap + 2 if said == HOLD else max(handicap - 2, 0)
    return False


def outcomes(draws: np.random.Generator, rise: float, items: int) -> NDArray[np.int8]:
    """Challenger minus champion on each item."""
    chances = [(DISCORDANCE - rise) / 2, 1 - DISCORDANCE, (DISCORDANCE + rise) / 2]
    return draws.choice(np.array([-1, 0, 1], dtype=np.int8), size=items, p=chances)


def redrawn(draws: np.random.Generator, before: NDArray[np.int8]) -> NDArray[np.int8]:
    return np.where(draws.random(len(before)) < REDRAWN, outcomes(draws, 0.0, len(before)), before)


def worsened(told: NDArray[np.int8], places: NDArray[np.int64]) -> NDArray[np.int8]:
    shown = told.copy()
    shown[places] = -1
    return shown


def power(rule: str, seed: int, nights: int) -> dict[str, dict[str, dict[str, float]]]:
    """Share of `nights` nights that promote, by night of the eval set's life, true rise in points and number of questions."""
    draws = np.random.default_rng([seed, 99])

    def found(night: int, points: int, items: int) -> float:
        chances = [(DISCORDANCE - points / 100) / 2, 1 - DISCORDANCE, (DISCORDANCE + points / 100) / 2]
        counts = draws.multinomial(items, chances, size=nights)
        return sum(RULES[rule](items, int(wins), int(losses), (night - 1, 0)) == PROMOTE for losses, _, wins in counts) / nights

    return {
        str(night): {str(points): {str(items): found(night, points, items) for items in (100, 230, 500)} for points in (5, 10)}
        for night in (1, 100)
    }


# --- the rules ------------------------------------------------------------------------------------------------------------


@cache
def gate(items: int, wins: int, losses: int, seen: tuple[int, int]) -> int:
    """csift's own verdict; of some it is asked again with the questions in another order."""
    from csift.promotion import decide
    from csift.schemas import EvalSetHistory

    history = EvalSetHistory(life=1, held=seen[0], rejected=seen[1], promoted=0)
    said = decide(evidence(items, wins, losses, 0), history, policy()).verdict
    if (wins + losses + seen[0]) % 50 == 0 and said != decide(evidence(items, wins, losses, 1), history, policy()).verdict:
        raise RuntimeError(f"{wins} wins and {losses} losses of {items} gave two verdicts")
    return {"REJECT": REJECT, "HOLD": HOLD, "PROMOTE": PROMOTE}[said.value]


@lru_cache(maxsize=1)
def policy() -> Any:
    from csift.config import GateConfig

    return GateConfig().policy


@lru_cache(maxsize=4096)
def _item(place: int, champion: float, challenger: float) -> Any:
    from csift.schemas import PairedItem

    return PairedItem(item_id=f"q-{place:04}", slices=(), champion=champion, challenger=challenger)


def evidence(items: int, wins: int, losses: int, order: int) -> Any:
    """Of items that are paired so; half of the others both Systems answer rightly."""
    from csift.schemas import Evidence

    rest = items - wins - losses
    kinds = [(0.0, 1.0)] * wins + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * (rest // 2) + [(0.0, 0.0)] * (rest - rest // 2)
    if order:
        kinds = [kinds[place] for place in np.random.default_rng(order).permutation(items)]
    return Evidence(
        project="bench",
        champion_system_id="champion",
        challenger_system_id="challenger",
        evalset_id="evalset",
        judge_id="judge",
        champion_report_id="report-champion",
        challenger_report_id="report-challenger",
        items=tuple(_item(place, *kind) for place, kind in enumerate(kinds)),
        readings=(),
    )


def at_least(items: int, wins: int, losses: int, seen: tuple[int, int]) -> int:
    return PROMOTE if wins >= losses else HOLD


def by_a_point(items: int, wins: int, losses: int, seen: tuple[int, int]) -> int:
    return PROMOTE if wins - losses > 0.01 * items else HOLD


def fixed_level(items: int, wins: int, losses: int, seen: tuple[int, int]) -> int:
    from csift.promotion import sign_test

    if sign_test(losses, wins) <= 0.05:
        return REJECT
    return PROMOTE if sign_test(wins, losses) <= 0.05 else HOLD


RULES: dict[str, Verdicts] = {
    "csift": gate,
    "mean at least": at_least,
    "mean above by a point": by_a_point,
    "5% test a night": fixed_level,
}


if __name__ == "__main__":
    main()
