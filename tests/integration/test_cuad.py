"""The loop's stages on real contracts: the smallest of the CUAD contracts, their lawyers' questions, the real model."""

import json
import os
from pathlib import Path

import pytest

from csift import cycles, registry
from csift.config import LoopConfig
from csift.db import Database
from csift.schemas import CycleState, DatasetVersion, PromotionDecision
from flows.nightly import nightly

pytestmark = pytest.mark.slow
DATA = os.environ.get("CSIFT_BENCH_DATA")
CONTRACTS = 10


@pytest.mark.skipif(DATA is None, reason="needs labelled contracts: set CSIFT_BENCH_DATA")
def test_the_loop_runs_on_contracts(db: Database, tmp_path: Path, project: str, prefect_server: None) -> None:
    config = write_contracts(Path(DATA or ""), tmp_path, project)

    cycle = nightly(config, return_state=True).result()

    assert cycle.state is CycleState.COMPLETED
    decision = registry.load(db, PromotionDecision, cycle.decision_id or "")
    assert decision.failures == 0
    assert len(decision.evidence.items) >= 20
    dataset = registry.load(db, DatasetVersion, next(s.record_id for s in cycle.stages if s.stage == "dataset") or "")
    assert dataset.sources["human"] >= 20
    assert dataset.synthesis.candidates == 8
    again = nightly(config, return_state=True).result()
    assert again.state is CycleState.NOTHING_NEW
    assert len(cycles.recent(db, project, 5)) == 2


def write_contracts(data: Path, folder: Path, project: str) -> LoopConfig:
    """The shortest contracts as .txt, the questions whose answer is short, half of the contracts for evaluation."""
    contracts = [json.loads(line) for line in (data / "cuad" / "contracts.jsonl").read_text().splitlines()]
    chosen = sorted(contracts, key=lambda contract: len(contract["text"]))[:CONTRACTS]
    names = {contract["doc_id"]: f"contract-{n}.txt" for n, contract in enumerate(chosen)}
    (folder / "docs").mkdir()
    for contract in chosen:
        (folder / "docs" / names[contract["doc_id"]]).write_text(contract["text"])
    labels, traffic = [], []
    for n, line in enumerate((data / "cuad" / "qa.jsonl").read_text().splitlines()):
        row = json.loads(line)
        if row["doc_id"] not in names or len(row["answer_text"]) > 120:
            continue
        document = names[row["doc_id"]]
        split = "train" if int(document[9:-4]) % 2 == 0 else "eval"
        question = f"{row['question']} ({document[:-4]})"
        labels.append({"id": f"q{n}", "question": question, "answer": row["answer_text"], "document": document, "split": split})
        traffic.append({"session": f"s{n}", "question": question})
    (folder / "labels.jsonl").write_text("".join(json.dumps(label) + "\n" for label in labels))
    (folder / "traffic.jsonl").write_text("".join(json.dumps(row) + "\n" for row in traffic))
    return LoopConfig.model_validate(
        {
            "project": project,
            "corpus": {
                "sources": [{"location": str(folder / "docs"), "licence": "CC-BY-4.0"}],
                "questions": [folder / "labels.jsonl"],
            },
            "teacher": {"tune_steps": 3},
            "synthesis": {"candidates": 8},
            "training": {"max_steps": 3},
            "gate": {"min_items": 20},
            "drift": {"reference": folder / "traffic.jsonl", "current": folder / "traffic.jsonl"},
        }
    )
