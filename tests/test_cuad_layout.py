"""CUAD's own layout: contracts and the lawyers' answers out of its JSON, texts and CSV."""

import csv
import json
from pathlib import Path

import pytest
from corpora import NoIndex, corpus, read, reasons, write

from csift.corpus import ingest
from csift.db import Database

ASK = 'Highlight the parts (if any) of this contract related to "{}" that should be reviewed by a lawyer. Details: {}'
CATEGORIES = {
    "Document Name": "The name of the contract",
    "Audit Rights": "Does a party have the right to\xa0 audit the books?",
    "Warranty Duration": "What is the duration of any warranty?",
    "Cap On Liability": "Does the contract include a cap on liability?",
}


def write_cuad(folder: Path, project: str, *, with_json: bool) -> Path:
    """Two contracts as CUAD has them; a third has labels only."""
    alder, birch = f"Alder sells pumps under {project}. ALDER SUPPLY AGREEMENT.", f"Birch hosts servers under {project}."
    names = {"ALDERINC_01_02_2003-EX-10.1-SUPPLY AGREEMENT": alder, "BirchCo - HOSTING AGREEMENT": birch}
    write(folder, {f"full_contract_txt/{name}.txt": text for name, text in names.items()})
    write(folder, {"CUAD_v1_README.txt": "Read me.", "full_contract_pdf/Part_I/a.pdf": b"%PDF", "labels.xlsx": b"PK"})
    rows = [
        ["Filename", "Document Name", "Document Name-Answer", "Audit Rights", "Audit Rights- Answer", "Warranty Duration",
         "Warranty Duration-Answer", "Cap On Liability", "Cap on Liability-Answer"],
        ["ALDERINC_01_02_2003-EX-10.1-SUPPLY AGREEMENT.pdf", "['x']", "Supply Agreement", "[]", "No", "['a year']", "Yes",
         "[]", ""],
        ["BirchCo - HOSTING  AGREEMENT.PDF", "[]", "[]/[]/[]", "['may audit']", "Yes", "[]", "", "[]", "No"],
        ["GoneLtd-AGREEMENT.pdf", "[]", "Gone", "[]", "No", "[]", "", "[]", "No"],
    ]  # fmt: skip
    with (folder / "master_clauses.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    if with_json:
        spans = {"Document Name": ["ALDER SUPPLY AGREEMENT"], "Warranty Duration": ["a year", "two years", "a year"]}
        data = [
            {"title": name, "paragraphs": [{"context": text, "qas": [
                {"id": f"{name}__{category}", "question": ASK.format(category, details),
                 "answers": [{"text": span, "answer_start": 0} for span in (spans.get(category, []) if text == alder else [])]}
                for category, details in CATEGORIES.items()
            ]}]} for name, text in names.items()
        ]  # fmt: skip
        write(folder, {"CUAD_v1.json": json.dumps({"version": "aok_v1.0", "data": data})})
    return folder


@pytest.mark.parametrize("with_json", [True, False], ids=["JSON and CSV", "texts and CSV"])
def test_cuad_is_read_in_its_own_layout(db: Database, project: str, tmp_path: Path, with_json: bool) -> None:
    folder = write_cuad(tmp_path / "CUAD_v1", project, with_json=with_json)
    report = ingest(db, NoIndex(), project, corpus({"location": str(folder), "format": "cuad", "name": "cuad"}))
    alder, birch = "cuad/ALDERINC_01_02_2003-EX-10.1-SUPPLY AGREEMENT", "cuad/BirchCo - HOSTING AGREEMENT"
    assert read(db, report) == {
        alder: f"Alder sells pumps under {project}. ALDER SUPPLY AGREEMENT.",
        birch: f"Birch hosts servers under {project}.",
    }
    assert reasons(report) == {"cuad/GoneLtd-AGREEMENT": "has 4 labels and no text that can be used; add its document"}
    labels = {label.id: label for label in report.labels}
    assert len(labels) == len(report.labels) == 8
    answers = {
        id_.removeprefix("cuad/").split(" ")[0][:5] + id_.partition("__")[2]: label.answer for id_, label in labels.items()
    }
    assert answers == {
        "ALDERDocument Name": "Supply Agreement",
        "ALDERAudit Rights": "No",
        # "Yes" answers no question that asks what it is.
        "ALDERWarranty Duration": "a year; two years" if with_json else "Yes",
        "ALDERCap on Liability" if not with_json else "ALDERCap On Liability": None,
        "BirchDocument Name": None,
        "BirchAudit Rights": "Yes",
        "BirchWarranty Duration": None,
        "BirchCap on Liability" if not with_json else "BirchCap On Liability": "No",
    }
    asked = labels[f"{alder}__Audit Rights"]
    assert asked.document_id == alder
    assert asked.style == "yes_no"
    expected = (
        "Does a party have the right to audit the books?" if with_json else "Does the contract have a clause on Audit Rights?"
    )
    assert asked.question == expected


def test_cuad_that_is_none_says_what_it_has(db: Database, project: str, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"a.txt": f"Of {project}.", "b.json": "[1]", "master_clauses.csv": "File,Parties\na,b\n"}
    folder = write(tmp_path / "c", files)
    report = ingest(db, NoIndex(), project, corpus({"location": str(folder), "format": "cuad"}))
    assert reasons(report)["b.json"].startswith("is not CUAD's JSON")
    assert "only File, Parties" in reasons(report)["master_clauses.csv"]
