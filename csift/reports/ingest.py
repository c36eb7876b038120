"""What `csift ingest` prints."""

from collections import Counter
from pathlib import PurePosixPath

from rich.console import Console
from rich.table import Table
from rich.text import Text

from csift.reports.console import make_console, plain, table
from csift.reports.wording import count
from csift.schemas import CorpusSnapshot, IngestReport, NearDuplicate, SkippedDocument

SHOWN = 20  # of a list; all of it is in the stored report
FORMATS = {".txt", ".md", ".html", ".htm", ".pdf", ".docx", ".jsonl", ".csv"}


def print_ingest(report: IngestReport, console: Console | None = None) -> None:
    """Documents by source and format, what was scrubbed, what was skipped and why, what is there twice."""
    out = console or make_console()
    out.print(_documents(report.snapshot))
    out.print()
    made = f"{count(len(report.snapshot.documents), 'document')}, {count(report.chunks, 'chunk')}"
    labels = f", {count(len(report.labels), 'labelled question')} beside them" if report.labels else ""
    _line(out, f"{made}{labels}.")
    _line(out, _scrubbed(report))
    if report.skipped:
        out.print()
        _skipped(out, report.skipped)
    if report.near_duplicates:
        out.print()
        _near_duplicates(out, report.near_duplicates)
    out.print()
    out.print(Text.assemble(("Snapshot: ", "muted"), report.snapshot.id, ("   Report: ", "muted"), report.id), soft_wrap=True)


def _documents(snapshot: CorpusSnapshot) -> Table:
    formats = Counter((document.source, _format(document.document_id)) for document in snapshot.documents)
    rows = []
    for source in snapshot.sources:
        of_source = [(kind, number) for (name, kind), number in sorted(formats.items()) if name == source.name]
        use = "training" if source.may_train else "retrieval only"
        for kind, number in of_source or [("none", 0)]:
            rows.append((source.name or PurePosixPath(source.location).name, source.licence, use, kind, f"{number:,}"))
    columns = ("Source", "Licence", "Use", "Format", "Documents")
    return table(snapshot.corpus, columns, rows, numeric=columns[4:])


def _format(document_id: str) -> str:
    suffix = PurePosixPath(document_id.partition("#")[0]).suffix.lower()
    return suffix if suffix in FORMATS else "CUAD"


def _scrubbed(report: IngestReport) -> str:
    kinds = sorted(report.scrubbed.items(), key=lambda entry: (-entry[1], entry[0]))
    found = ", ".join(f"{number:,} {kind}" for kind, number in kinds) or "nothing"
    return f"{report.scrubber} Replaced: {found}."


def _skipped(out: Console, skipped: tuple[SkippedDocument, ...]) -> None:
    """A line each, not a table: a reason is read whole and a name is copied."""
    _line(out, f"Skipped: {len(skipped):,}", "hold")
    for entry in skipped[:SHOWN]:
        out.print(Text.assemble("  ", (plain(entry.document_id), "head"), " ", plain(entry.reason)), soft_wrap=True)
    _more(out, len(skipped))


def _near_duplicates(out: Console, pairs: tuple[NearDuplicate, ...]) -> None:
    rows = [(pair.document_id, pair.of, f"{int(100 * pair.similarity)}%") for pair in pairs[:SHOWN]]
    out.print(table("Near-duplicates", ("Document", "Says almost what is in", "Alike"), rows, numeric=("Alike",)))
    _more(out, len(pairs))


def _more(out: Console, total: int) -> None:
    if total > SHOWN:
        _line(out, f"  and {total - SHOWN:,} more", "muted")


def _line(out: Console, text: str, style: str = "") -> None:
    out.print(Text(plain(text), style=style))
