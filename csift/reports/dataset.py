"""What `csift dataset show`, `diff` and `rejects` print, and its form for scripts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from csift.reports import console
from csift.reports.tables import Table, counts_table
from csift.reports.wording import DELETED, count, percent, spread, when
from csift.schemas import DatasetVersion, Deletion, Example, Rejection

SHOWN = 5  # rows of each kind that a diff shows


@dataclass(frozen=True)
class DatasetView:
    """A stored version with its rows as often as an epoch shows them; `rejected` counts by reason, `card` is its data card.
    After a `deletion` the rows of a person are missing."""

    project: str
    made_at: datetime
    version: DatasetVersion
    rows: tuple[Example, ...]
    rejected: Mapping[str, int]
    card: str | None
    deletion: Deletion | None = None

    @property
    def different(self) -> tuple[Example, ...]:
        """Each row once."""
        return tuple({row.id: row for row in self.rows}.values())


@dataclass(frozen=True)
class DatasetDiff:
    """Two versions of a project. A row is the same when it asks and answers the same of the same document; `rechunked` of those
    kept have other chunks beside them.
    """

    before: DatasetView
    after: DatasetView
    added: tuple[Example, ...]
    removed: tuple[Example, ...]
    kept: int
    rechunked: int


def compare(before: DatasetView, after: DatasetView) -> DatasetDiff:
    """What `after` has that `before` has not, and the other way round; rows in order of document and question."""
    old, new = _by_content(before), _by_content(after)
    both = old.keys() & new.keys()
    return DatasetDiff(
        before=before,
        after=after,
        added=tuple(new[key] for key in sorted(new.keys() - both)),
        removed=tuple(old[key] for key in sorted(old.keys() - both)),
        kept=len(both),
        rechunked=sum(old[key].context_chunk_ids != new[key].context_chunk_ids for key in both),
    )


def _by_content(view: DatasetView) -> dict[tuple[str, str, str], Example]:
    return {(row.document_id, row.question, row.answer): row for row in view.rows}


def recipe_changes(diff: DatasetDiff) -> tuple[tuple[str, str, str], ...]:
    """Setting, value before, value after, of those that differ."""
    old, new = diff.before.version.recipe, diff.after.version.recipe
    return tuple(
        (name, setting(old[name]) if name in old else "", setting(new[name]) if name in new else "")
        for name in sorted(old.keys() | new.keys())
        if name not in old or name not in new or old[name] != new[name]
    )


def setting(value: str | int | float | None) -> str:
    """A recipe's value as text."""
    return "none" if value is None else f"{value}"


def rows_table(view: DatasetView, what: str, attribute: str) -> Table:
    """Rows by source or style: how many, their share, how many different ones."""
    shown = Counter(getattr(row, attribute) for row in view.rows)
    different = Counter(getattr(row, attribute) for row in view.different)
    ordered = sorted(shown.items(), key=lambda pair: (-pair[1], pair[0]))
    rows = tuple((name, f"{number:,}", percent(number / len(view.rows)), f"{different[name]:,}") for name, number in ordered)
    return Table(f"Rows by {what.lower()}", (what, "Rows", "Share", "Different"), rows, frozenset({"Rows", "Share", "Different"}))


def documents_table(documents: Mapping[str, int]) -> Table:
    """Documents of each split."""
    return counts_table("Documents by split", "Split", documents)


def lengths_table(view: DatasetView) -> Table:
    """Shortest, median, ninth decile and longest of what the rows hold."""
    rows = tuple((name, *spread(values)) for name, values in lengths(view.different).items())
    columns = ("What", "Shortest", "Median", "9 in 10 at most", "Longest")
    return Table("Lengths", columns, rows, frozenset(columns[1:]))


def lengths(rows: Sequence[Example]) -> dict[str, list[int]]:
    """Words of questions and answers and the number of chunks, row by row."""
    return {
        "Question, words": [len(row.question.split()) for row in rows],
        "Answer, words": [len(row.answer.split()) for row in rows],
        "Chunks a row": [len(row.context_chunk_ids) for row in rows],
    }


def recipe_table(recipe: Mapping[str, str | int | float | None]) -> Table:
    """The settings that a version was made with."""
    return Table("Recipe", ("Setting", "Value"), tuple((name, setting(recipe[name])) for name in sorted(recipe)))


def size_sentence(view: DatasetView) -> str:
    """How many rows, how many of them repeated or replayed, how many preference pairs and rated answers."""
    rows, different = len(view.rows), len(view.different)
    parts = [count(rows, "row")]
    if different < rows:
        parts.append(f"{different:,} of them different")
    if view.version.replayed:
        parts.append(f"{view.version.replayed:,} replayed from earlier versions")
    return f"{', '.join(parts)}; {opinions(view.version)}."


def opinions(version: DatasetVersion) -> str:
    """How many preference pairs, rated and scored answers."""
    parts = [count(len(version.preference_ids), "preference pair"), count(len(version.rating_ids), "rated answer")]
    return ", ".join([*parts, *([count(len(version.score_ids), "scored answer")] if version.score_ids else [])])


def deletion_sentence(view: DatasetView) -> str:
    """That rows of it were deleted; nothing where none were."""
    if view.deletion is None:
        return ""
    rows = {*view.version.example_ids, *view.version.preference_ids, *view.version.rating_ids, *view.version.score_ids}
    taken = count(len(rows.intersection(view.deletion.rows)), "row")
    return f"It {DELETED}. {taken} of it went on {when(view.deletion.at)}."


def teacher_sentence(view: DatasetView) -> str:
    """The yield of the teacher's candidates."""
    report = view.version.synthesis
    if not report.candidates:
        return "No teacher wrote candidates for it."
    name = report.teacher or "The teacher"
    share = percent(report.accepted / report.candidates)
    return f"{name}: {report.accepted:,} of {count(report.candidates, 'candidate')} accepted ({share})."


def print_dataset(view: DatasetView, out: Console | None = None) -> None:
    """Counts by source, style and split, yields, rejections, lengths, recipe, and where the data card is."""
    out = out or console.make_console()
    version = view.version
    _line(out, f"{view.project}, {version.id}", "head")
    _line(out, f"Made {when(view.made_at)} from {version.snapshot_id}, guarded for {version.evalset_id}.")
    if told := deletion_sentence(view):
        _line(out, told, "bad")
    _line(out, size_sentence(view))
    _line(out, teacher_sentence(view))
    drawn = [rows_table(view, "Source", "source"), rows_table(view, "Style", "style"), documents_table(version.documents)]
    drawn += [counts_table("Refused by reason", "Reason", view.rejected), lengths_table(view), recipe_table(version.recipe)]
    for made in drawn:
        if made.rows:
            _table(out, made)
    out.print()
    out.print(
        Text.assemble(("Data card: ", "muted"), console.plain(view.card or "none; the next run writes one")), soft_wrap=True
    )


def dataset_json(view: DatasetView) -> dict[str, Any]:
    """The version's record with what `print_dataset` counts."""
    return {
        "project": view.project,
        "made_at": view.made_at.isoformat(),
        **view.version.model_dump(mode="json"),
        "rows": len(view.rows),
        "different_rows": len(view.different),
        "styles": dict(sorted(Counter(row.style for row in view.rows).items())),
        "refused": dict(view.rejected),
        "lengths": {
            name: dict(zip(("shortest", "median", "ninth_decile", "longest"), spread(values), strict=True))
            for name, values in lengths(view.different).items()
        },
        "data_card": view.card,
        "deletion": view.deletion.id if view.deletion else None,
    }


def print_diff(diff: DatasetDiff, out: Console | None = None) -> None:
    """Counts side by side, what changed in the recipe, and examples of rows that came and went."""
    out = out or console.make_console()
    _line(out, f"{diff.before.project}, two datasets", "head")
    _line(
        out,
        f"{count(diff.kept, 'row')} kept ({diff.rechunked:,} with other chunks), {len(diff.added):,} added, "
        f"{len(diff.removed):,} removed.",
    )
    _table(out, _sides_table(diff))
    changes = recipe_changes(diff)
    if changes:
        _table(out, Table("Recipe", ("Setting", "Before", "After"), changes))
    else:
        out.print()
        _line(out, "The recipe is the same.")
    for name, rows in (("Added", diff.added), ("Removed", diff.removed)):
        if rows:
            title = f"{name}, {min(len(rows), SHOWN):,} of {len(rows):,}"
            shown = tuple((row.question, row.answer, row.document_id, row.source) for row in rows[:SHOWN])
            _table(out, Table(title, ("Question", "Answer", "Document", "Source"), shown))


def _sides_table(diff: DatasetDiff) -> Table:
    sides = (diff.before, diff.after)

    def number(what: str, before: int, after: int) -> tuple[str, str, str, str]:
        return what, f"{before:,}", f"{after:,}", f"{after - before:+,}" if after != before else ""

    def both(what: str, measure: Any) -> tuple[str, str, str, str]:
        return number(what, *(measure(side) for side in sides))

    names = ("human", "synthetic", "feedback")
    rows = (
        ("Dataset", *(side.version.id for side in sides), ""),
        ("Made (UTC)", *(when(side.made_at).removesuffix(" UTC") for side in sides), ""),
        ("Corpus", *(side.version.snapshot_id for side in sides), ""),
        ("Eval set", *(side.version.evalset_id for side in sides), ""),
        both("Rows", lambda side: len(side.rows)),
        *(both(f"  {name}", lambda side, name=name: side.version.sources.get(name, 0)) for name in names),
        both("Different rows", lambda side: len(side.different)),
        both("Replayed", lambda side: side.version.replayed),
        both("Preference pairs", lambda side: len(side.version.preference_ids)),
        both("Rated answers", lambda side: len(side.version.rating_ids)),
        both("Scored answers", lambda side: len(side.version.score_ids)),
        both("Refused", lambda side: sum(side.rejected.values())),
    )
    return Table("Before and after", ("What", "Before", "After", "Change"), rows, frozenset({"Before", "After", "Change"}))


def diff_json(diff: DatasetDiff) -> dict[str, Any]:
    """Counts, recipe changes, and every row that came or went."""
    return {
        "before": diff.before.version.id,
        "after": diff.after.version.id,
        "kept": diff.kept,
        "rechunked": diff.rechunked,
        "added": [row.model_dump(mode="json") for row in diff.added],
        "removed": [row.model_dump(mode="json") for row in diff.removed],
        "recipe": {name: {"before": before, "after": after} for name, before, after in recipe_changes(diff)},
    }


def print_rejections(view: DatasetView, shown: Sequence[Rejection], total: int, out: Console | None = None) -> None:
    """What was refused, reason by reason. `total` is how many there are of what was asked for."""
    out = out or console.make_console()
    _line(out, f"{view.project}, {view.version.id}: {count(total, 'candidate')} refused", "head")
    reason = None
    for entry in shown:
        if entry.reason != reason:
            reason = entry.reason
            out.print()
            _line(out, f"{reason} ({view.rejected.get(reason, 0):,})", "head")
        out.print(Padding(Text(console.plain(entry.question)), (0, 0, 0, 2), expand=False))
        told = " · ".join(part for part in (entry.answer, entry.document_id, entry.detail) if part)
        out.print(Padding(Text(console.plain(told), style="muted"), (0, 0, 0, 4), expand=False))
    if len(shown) < total:
        out.print()
        _line(out, f"{total - len(shown):,} more: --limit {total}", "muted")


def _line(out: Console, text: str, style: str = "") -> None:
    out.print(Text(console.plain(text), style=style))


def _table(out: Console, made: Table) -> None:
    out.print()
    out.print(console.table(made.title, made.columns, made.rows, made.numeric))
