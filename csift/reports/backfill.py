"""What a backfill prints: its partitions, and as a dry run what they would take."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from csift.reports.console import block, draw, line, make_console
from csift.reports.tables import Table
from csift.reports.wording import count, duration, money
from csift.schemas import BackfillEstimate, BackfillPlan, PartitionEstimate, PartitionState

SHOWN = 10  # documents without a date that are named
UNKNOWN = "unknown"
DRY = "A dry run: nothing was written, nobody was asked."


def print_estimate(made: BackfillEstimate, console: Console | None = None) -> None:
    """A dry run: a row a partition and the sum, by what measure, what does not fit the budget, and what would follow."""
    out = console or make_console()
    out.print(draw(estimate_table(made)))
    out.print()
    for told in (DRY, *plan_lines(made.plan), *estimate_lines(made)):
        line(out, told)


def print_partitions(states: Sequence[PartitionState], plan: BackfillPlan, console: Console | None = None) -> None:
    """The partitions of a backfill that ran, and what it left out."""
    out = console or make_console()
    block(out, draw(states_table(states)))
    if told := plan_lines(plan):
        out.print()
    for text in told:
        line(out, text)


def states_table(states: Sequence[PartitionState]) -> Table:
    """A partition a row: its documents, its calls, what was accepted, how far it is."""
    columns = ("Partition", "Documents", "Calls", "Accepted", "State")
    rows = tuple(
        (
            state.name,
            f"{state.documents:,}",
            f"{state.calls:,}",
            f"{state.accepted:,}" if state.state == "done" else "",
            state.state,
        )
        for state in states
    )
    return Table(states_sentence(states), columns, rows, frozenset(columns[1:4]))


def states_sentence(states: Sequence[PartitionState]) -> str:
    """ "12 partitions: 3 done, 1 partly, 8 new"."""
    found = Counter(state.state for state in states)
    parts = [f"{found[state]:,} {state}" for state in ("done", "partly", "new") if found[state]]
    return f"{count(len(states), 'partition')}: {', '.join(parts)}"


def partition_line(state: PartitionState) -> str:
    """A partition for a log: "partition 2024-03 partly, 41 calls"."""
    told = f"{state.accepted:,} accepted" if state.state == "done" else count(state.calls, "call")
    return f"partition {state.name} {state.state}, {told}"


def estimate_table(made: BackfillEstimate) -> Table:
    """What each partition would still take, with the sum. "Documents" are those to learn from and, after +, the others."""
    columns = ("Partition", "Documents", "Questions", "Calls", "Tokens", "US$", "Hours", "State")
    rows = [
        (
            part.state.name,
            f"{part.state.documents:,}" + (f" +{part.others:,}" if part.others else ""),
            f"{part.candidates:,}",
            f"{part.left:,}",
            f"{part.tokens:,}",
            _price(made, part.usd),
            f"{part.hours:.2f}",
            _state(part),
        )
        for part in made.partitions
    ]
    parts = made.partitions
    summed = (
        "sum",
        f"{sum(part.state.documents for part in parts):,}",
        f"{sum(part.candidates for part in parts):,}",
        f"{sum(part.left for part in parts):,}",
        f"{sum(part.tokens for part in parts):,}",
        _price(made, _usd(made)),
        f"{sum(part.hours for part in parts):.2f}",
        "",
    )
    return Table(estimate_sentence(made), columns, (*rows, summed), frozenset(columns[1:7]))


def estimate_sentence(made: BackfillEstimate) -> str:
    """ "catalogue, 12 partitions: 12 new"."""
    return f"{made.project}, {states_sentence([part.state for part in made.partitions])}"


def estimate_rows(made: BackfillEstimate) -> list[list[str]]:
    """The table for an artifact of Prefect: a list a row, the columns first."""
    return _listed(estimate_table(made))


def state_rows(states: Sequence[PartitionState]) -> list[list[str]]:
    """Likewise of partitions."""
    return _listed(states_table(states))


def _listed(table: Table) -> list[list[str]]:
    return [list(table.columns), *(list(row) for row in table.rows)]


def plan_sentence(plan: BackfillPlan) -> str:
    """What a plan leaves out, in one paragraph."""
    return " ".join(plan_lines(plan)) or "Every document is in a partition."


def plan_lines(plan: BackfillPlan) -> list[str]:
    """What a plan leaves out and why."""
    told = []
    if plan.undated:
        more = len(plan.undated) - SHOWN
        named = ", ".join(plan.undated[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        told.append(f"{count(len(plan.undated), 'document')} without a date, in no partition: {named}.")
    if plan.outside:
        told.append(f"{count(plan.outside, 'document')} outside the range: retrieved from, not written about.")
    if plan.idle:
        told.append(f"Nothing to teach in {', '.join(plan.idle)}: no document there may be trained on.")
    return told


def estimate_lines(made: BackfillEstimate) -> list[str]:
    """By what measure, what is unknown, what the budget says, what follows."""
    rate, at_once = made.rate, "one after another" if made.at_once == 1 else f"{made.at_once} at once"
    basis = f"by the mean of {count(rate.calls, 'call')} of {made.teacher}"
    if not rate.calls:
        basis = f"assumed for {made.teacher}, which was never asked"
    told = [
        "Calls are the most it may take: questions that are refused early take fewer.",
        f"Tokens, money and time are {basis}: {rate.tokens_in:,.0f} tokens in, {rate.tokens_out:,.0f} out and "
        f"{rate.seconds:.2g} s a call, {at_once}.",
    ]
    usd, tokens = _usd(made), sum(part.tokens for part in made.partitions)
    if made.free:
        told.append("It is a model on this machine: its calls cost no money and nothing of the budget.")
    elif usd is None:
        told.append(f"Nobody knows what {made.teacher} costs: set teacher.usd_per_million_in and usd_per_million_out.")
    if not made.free and made.budget_usd is not None and usd is not None and usd > made.budget_usd:
        told.append(f"The budget of {money(made.budget_usd)} may end it before; raise budget.usd, or run again and it continues.")
    if not made.free and made.budget_tokens is not None and tokens > made.budget_tokens:
        told.append(f"The budget of {made.budget_tokens:,} tokens may end it before; raise budget.tokens, or run it again.")
    last = (
        f"the last training of this project took {duration(made.training_seconds)}" if made.training_seconds else "never measured"
    )
    if made.uncounted:
        told.append(f"Not counted: {' and '.join(made.uncounted)}, which the same budget is for.")
    told.append(f"Then one turn of the loop over all of it: dataset, training ({made.training}; {last}), judging.")
    return told


def _state(part: PartitionEstimate) -> str:
    return f"partly: {part.state.calls:,} of {part.calls:,}" if part.state.state == "partly" else part.state.state


def _usd(made: BackfillEstimate) -> float | None:
    known = [part.usd for part in made.partitions if part.usd is not None]
    return sum(known) if len(known) == len(made.partitions) else None


def _price(made: BackfillEstimate, usd: float | None) -> str:
    if made.free:
        return "free"
    return UNKNOWN if usd is None else money(usd)
