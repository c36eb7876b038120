"""How well the reference judge agrees with a stronger judge's recorded scores, on questions it was not fitted on.

    python bench/judge.py [--fit FILE] [--data FILE] [--seed N] [--quick] [--refit DIR]

Rows are {question, ground_truth, predicted_answer, judge_score, method} and, where recorded, judge_truefalse_evaluate. By default
--fit is aws/judged.jsonl in CSIFT_BENCH_DATA. With --data FILE the judge is fitted on --fit and scores FILE; without, each
question of --fit is scored with weights fitted on all others. --data DIR is that folder's aws/judged.jsonl as --fit.

spearman, spearman_f1 (of token F1 alone) and gain, their difference, come with 95% intervals that resample questions, the same
ones for both. kappa and agreement are of the verdicts. order_share: of the pairs of methods whose recorded difference has a
paired 95% interval without zero, the share that the judge orders alike.

--refit DIR writes the weights fitted on all rows of --fit, and the calibration that ships with them, scored out of fold; then it
ends. It is to be run, with csift/resources as DIR, whenever the reference judge changes.

--quick resamples less: the intervals are coarse.
"""

import argparse
import json
import logging
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
logging.disable(logging.WARNING)
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from csift.judges import calibration, features  # noqa: E402
from csift.judges.labelled import read_labelled  # noqa: E402
from csift.judges.reference import ReferenceJudge, judge_out_of_fold  # noqa: E402
from csift.retrieval import MiniLM  # noqa: E402
from csift.schemas import Score  # noqa: E402
from csift.textmatch import token_f1  # noqa: E402

Column = NDArray[np.float64]
DTYPES = ("float32", "bfloat16")  # the embedder's id, and so the judge's, names its number format


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="coarse intervals")
    parser.add_argument("--refit", type=Path, metavar="DIR", help="write weights and calibration here, and end")
    args = parser.parse_args()
    folder = args.data if args.data and args.data.is_dir() else os.environ.get("CSIFT_BENCH_DATA")
    fit_on = args.fit or (Path(folder) / "aws" / "judged.jsonl" if folder else None)
    if fit_on is None:
        print("skipped: no judged answers; name them by --fit FILE or CSIFT_BENCH_DATA")
        return
    if args.refit:
        refit(fit_on, args.refit)
        return
    unseen = None if args.data is None or args.data.is_dir() else args.data
    print(json.dumps(figures(fit_on, unseen, args.seed, 200 if args.quick else 2_000)))


def refit(fit_on: Path, folder: Path) -> None:
    """Writes what csift ships of the reference judge."""
    labels = read_labelled(fit_on)
    scored = [(label.item, label.score) for label in labels if label.score is not None]
    embedders = [MiniLM(2, dtype) for dtype in DTYPES]
    weights = features.fit([item for item, _ in scored], [score for _, score in scored], embedders[0])
    features.save_weights(weights, folder / features.RESOURCE.name)
    made = [
        calibration.compare(
            ReferenceJudge(one, weights=weights).id, "reference", labels, judge_out_of_fold(labels, one), out_of_fold=True
        )
        for one in embedders
    ]
    records = [record.model_dump(mode="json") for record in made]
    (folder / calibration.SHIPPED.name).write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {features.RESOURCE.name} and {calibration.SHIPPED.name} to {folder}")


def figures(fit_on: Path, unseen: Path | None, seed: int, resamples: int) -> dict[str, Any]:
    """What the last line says."""
    embedder = MiniLM(2)
    labels = read_labelled(unseen or fit_on)
    if unseen:
        taught = [(label.item, label.score) for label in read_labelled(fit_on) if label.score is not None]
        weights = features.fit([item for item, _ in taught], [score for _, score in taught], embedder)
        judge = ReferenceJudge(embedder, weights=weights)
        outcomes = judge.judge([label.item for label in labels])
        print(f"fitted on {len(taught)} answers of {fit_on.name}, scoring {len(labels)} of {unseen.name}")
    else:
        outcomes = judge_out_of_fold(labels, embedder)
        print(f"cross-validated by question on {len(labels)} answers of {fit_on.name}")
    made = calibration.compare("", "reference", labels, outcomes, resamples=resamples, seed=seed)
    kept = [place for place, said in enumerate(outcomes) if isinstance(said, Score) and labels[place].score is not None]
    scored = [labels[place] for place in kept]
    value = np.array([said.value for said in (outcomes[place] for place in kept) if isinstance(said, Score)])
    recorded = np.array([label.score for label in scored], dtype=np.float64)
    f1 = np.array([token_f1(label.item.answer, label.item.gold or "") for label in scored])
    groups = [label.group for label in scored]
    methods = _methods(unseen or fit_on, kept)
    return {
        **_correlations(value, f1, recorded, groups, seed, resamples),
        "kappa": round(made.kappa.value, 4) if made.kappa else None,
        "agreement": round(made.agreement.value, 4),
        "order_share": _order_share(value, recorded, groups, methods, seed, resamples),
        "answers": len(kept),
        "questions": len(set(groups)),
        "failures": made.failures,
    }


def _methods(path: Path, kept: Sequence[int]) -> list[str]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    return [str(rows[place].get("method", "")) for place in kept]


def _correlations(
    value: Column, f1: Column, recorded: Column, groups: Sequence[str], seed: int, resamples: int
) -> dict[str, dict[str, float]]:
    """Rank correlations with the recorded scores, of the judge, of token F1, and the gain, on the same resampled questions."""
    members = [np.flatnonzero(np.array(groups) == group) for group in sorted(set(groups))]
    draws = np.random.default_rng(seed).integers(0, len(members), size=(resamples, len(members)))

    def both(rows: NDArray[np.int64]) -> tuple[float, float]:
        return tuple(float(spearmanr(column[rows], recorded[rows]).statistic) for column in (value, f1))  # type: ignore[return-value]

    found = np.array([both(np.concatenate([members[number] for number in row])) for row in draws])
    judge, words = both(np.arange(len(recorded)))
    return {
        "spearman": _interval(judge, found[:, 0]),
        "spearman_f1": _interval(words, found[:, 1]),
        "gain": _interval(judge - words, found[:, 0] - found[:, 1]),
    }


def _interval(value: float, found: Column) -> dict[str, float]:
    low, high = np.nanquantile(found, [0.025, 0.975])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _order_share(
    value: Column, recorded: Column, groups: Sequence[str], methods: Sequence[str], seed: int, resamples: int
) -> float | None:
    """None when no recorded difference is clear."""
    alike = []
    for one, other in combinations(sorted(set(methods)), 2):
        by_judge, by_record = (_paired(column, groups, methods, one, other) for column in (value, recorded))
        if not len(by_record):
            continue
        draws = np.random.default_rng(seed).integers(0, len(by_record), size=(resamples, len(by_record)))
        low, high = np.quantile(by_record[draws].mean(axis=1), [0.025, 0.975])
        if low > 0 or high < 0:
            alike.append(bool(np.sign(by_judge.mean()) == np.sign(by_record.mean())))
            if not alike[-1]:
                print(f"order: {one} against {other} is {by_record.mean():+.3f} as recorded, {by_judge.mean():+.3f} as judged")
    return round(sum(alike) / len(alike), 4) if alike else None


def _paired(column: Column, groups: Sequence[str], methods: Sequence[str], one: str, other: str) -> Column:
    """The difference of two methods on each question that both answered."""
    by_cell: dict[tuple[str, str], list[float]] = {}
    for value, group, method in zip(column, groups, methods, strict=True):
        by_cell.setdefault((group, method), []).append(float(value))
    shared = [group for group in sorted(set(groups)) if (group, one) in by_cell and (group, other) in by_cell]
    return np.array([np.mean(by_cell[group, one]) - np.mean(by_cell[group, other]) for group in shared])


if __name__ == "__main__":
    main()
