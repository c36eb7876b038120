"""`csift ingest`: what it prints, where it takes the corpus from, and one line for what is wrong."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from csift.db import Database
from csift.reports.ingest import print_ingest
from csift.schemas import (
    Chunking,
    CorpusSnapshot,
    DocumentRef,
    IngestReport,
    NearDuplicate,
    SkippedDocument,
    Source,
    SourceLabel,
)

CSIFT = [sys.executable, "-m", "flows.cli"]
TOML = """
project = "{project}"
[corpus]
sources = [{{ location = "docs", licence = "CC-BY-4.0" }}, {{ location = "more", name = "more", may_train = false }}]
[drift]
reference = "traffic.jsonl"
current = "traffic.jsonl"
"""


def csift(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if name != "CSIFT_CONFIG"}
    return subprocess.run([*CSIFT, "ingest", *arguments], cwd=cwd, env={**ours, **environment}, capture_output=True, text=True)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[IngestReport], str]:
    """What is printed on 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(report: IngestReport) -> str:
        print_ingest(report)
        return capsys.readouterr().out

    return show


def report(**other: object) -> IngestReport:
    """Of two sources."""
    names = {"a.md": "", "b.pdf": "", "rows.jsonl#1": "", "rows.jsonl#2": "", "law/Alder - EX-10.1 AGREEMENT": "law"}
    refs = tuple(DocumentRef(document_id=name, sha256="0", source=source) for name, source in names.items())
    sources = (
        Source(name="", location="/home/ada/docs", licence="CC-BY-4.0", may_train=True),
        Source(name="law", location="s3://bucket/cuad", licence="unstated", may_train=False),
        Source(name="none", location="/empty", licence="unstated", may_train=True),
    )
    snapshot = CorpusSnapshot.of("shop", refs, Chunking(size=450, overlap=60), sources)
    known = {"id": "ingest-1", "snapshot": snapshot, "chunks": 1234, "skipped": (), "scrubber": "Scrubbed: by patterns.",
             "scrubbed": {}, "near_duplicates": (), "labels": ()}  # fmt: skip
    return IngestReport.model_validate({**known, **other})


def test_documents_are_counted_by_source_and_format(shown: Callable[[IngestReport], str]) -> None:
    text = " ".join(shown(report()).split())
    for row in ("docs CC-BY-4.0 training .jsonl 2", "docs CC-BY-4.0 training .md 1", "law unstated retrieval only CUAD 1",
                "none unstated training none 0"):  # fmt: skip
        assert row in text
    assert "5 documents, 1,234 chunks." in text
    assert "Scrubbed: by patterns. Replaced: nothing." in text
    assert "Skipped" not in text and "Near-duplicates" not in text


def test_what_was_skipped_scrubbed_and_doubled_is_told(shown: Callable[[IngestReport], str]) -> None:
    skipped = tuple(SkippedDocument(document_id=f"bad{i}\x1b[31m.pdf", reason="is an encrypted PDF; save it") for i in range(30))
    text = shown(
        report(
            skipped=skipped,
            scrubbed={"EMAIL_ADDRESS": 3, "PHONE_NUMBER": 1200},
            near_duplicates=(NearDuplicate(document_id="b.pdf", of="a.md", similarity=0.914),),
            labels=(SourceLabel(id="x", document_id="a.md", question="q", answer=None),),
        )
    )
    flat = " ".join(text.split())
    assert "1,200 PHONE_NUMBER, 3 EMAIL_ADDRESS" in flat
    assert "Skipped: 30" in flat and "bad19[31m.pdf is an encrypted PDF; save it" in flat and "bad20" not in flat
    assert "and 10 more" in flat
    assert "b.pdf a.md 91%" in flat
    assert "1 labelled question" in flat
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_folder_is_ingested(tmp_path: Path, project: str, db: Database) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(f"# Orrin\n\nOf {project}. Write to ada@private.example.")
    (tmp_path / "docs" / "bad.pdf").write_bytes(b"%PDF-1.4")
    result = csift("docs", "--project", project, "--licence", "CC0", "--retrieval-only", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert "docs CC0 retrieval only .md 1" in said
    assert "1 document, 1 chunk." in said
    assert "1 EMAIL_ADDRESS" in said
    assert "bad.pdf is a broken PDF" in said
    assert "pypdf" not in result.stderr


def test_the_sources_of_a_toml_are_ingested(tmp_path: Path, project: str, db: Database) -> None:
    (tmp_path / "csift.toml").write_text(TOML.format(project=project))
    for folder in ("docs", "more"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(f"The {folder} of {project}.")
    result = csift(cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "docs CC-BY-4.0 training .txt 1 more unstated retrieval only .txt 1" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("docs",), "which project is docs for? name it with --project"),
        (("docs", "--project", "My Shop"), "--project My Shop: String should match pattern"),
        (("nowhere", "--project", "shop"), "there is no corpus folder"),
        (("https://host/docs", "--project", "shop"), "a source is a folder, a file or s3://bucket/prefix"),
        (("--retrieval-only",), "go with a location; name one, or leave them out"),
        ((), "no configuration at csift.toml; name one with --config"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments: tuple[str, ...], words: str, tmp_path: Path, db: Database) -> None:
    result = csift(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert words in line


def test_help_names_what_a_location_needs(tmp_path: Path) -> None:
    said = csift("--help", cwd=tmp_path).stdout
    for word in ("--project", "--format", "files|cuad", "--licence", "--retrieval-only"):
        assert word in said
