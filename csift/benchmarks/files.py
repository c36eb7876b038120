"""The benchmark as files: a summary a spreadsheet opens, and every answer."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from csift.benchmarks.records import Benchmark, Row
from csift.benchmarks.table import Cell
from csift.schemas import Interval, JudgedAnswer


def summary_csv(benchmark: Benchmark) -> str:
    """One line an arm, three columns a figure: its value and the bounds of its 95% interval."""
    out = io.StringIO()
    lines = [_line(benchmark, row) for row in benchmark.rows]
    writer = csv.DictWriter(out, lines[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _line(benchmark: Benchmark, row: Row) -> dict[str, str | int | float]:
    line: dict[str, str | int | float] = {
        "arm": row.arm,
        "model": row.model,
        "closed_book": str(row.closed_book).lower(),
        "questions": row.questions,
        "failures": row.failures,
    }
    for judge in benchmark.judges:
        line |= _three(f"accuracy by {judge}", row.accuracy[judge]) | _three(f"improvement by {judge}", row.improvement[judge])
    line |= {"wins": row.wins, "losses": row.losses, "ties": row.ties}
    line |= _three("judge score", row.score) | _three("BERTScore", row.bertscore) | _three("seconds", row.seconds)
    line |= {"seconds p50": round(row.seconds_p50, 4), "seconds p95": round(row.seconds_p95, 4)}
    line |= {"tokens in": round(row.tokens_in, 1), "tokens out": round(row.tokens_out, 1)}
    line |= _three("monthly US$", row.monthly_usd)
    return line | {"trained on": row.trained_on, "compiled": row.compiled or "", "system": row.system_id}


def _three(name: str, interval: Interval | None) -> dict[str, str | int | float]:
    values = {} if interval is None else interval.model_dump()
    return {
        name: round(values["value"], 6) if values else "",
        f"{name} low": round(values["low"], 6) if values else "",
        f"{name} high": round(values["high"], 6) if values else "",
    }


def samples_json(benchmark: Benchmark, cells: Sequence[Cell]) -> str:
    """Every question with every arm's answer, its contexts, and every judge's verdict."""
    questions: dict[str, dict[str, Any]] = {}
    for cell in cells:
        verdicts = {name: {answer.item_id: answer for answer in report.answers} for name, report in cell.reports.items()}
        for answer in cell.first.answers:
            asked: dict[str, Any] = {"id": answer.item_id, "question": answer.question, "gold": answer.gold, "answers": {}}
            questions.setdefault(answer.item_id, asked)["answers"][cell.arm.name] = {
                "answer": answer.answer,
                "contexts": list(answer.contexts),
                "seconds": round(answer.seconds, 4),
                "tokens_in": answer.tokens_in,
                "tokens_out": answer.tokens_out,
                "judged": {name: _judged(by[answer.item_id]) for name, by in verdicts.items()},
            }
    return json.dumps({"benchmark": benchmark.id, "questions": list(questions.values())}, ensure_ascii=False, indent=1) + "\n"


def _judged(answer: JudgedAnswer) -> dict[str, Any]:
    told = answer.score or answer.failure
    return told.model_dump() if told else {}
