"""The run report, the tables of the command line and the progress bars, on the sample records."""

import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from samples import (
    SCRIPT,
    sample_challenger,
    sample_cycle,
    sample_decision,
    sample_drift,
    sample_items,
    sample_losses,
    sample_retention,
    sample_retired,
    sample_run_report,
    sample_status,
    sample_system,
    without_extras,
)

from csift.exceptions import GateError
from csift.reports import console, plots, run_console, status_console, verdicts, wording
from csift.reports.answers import answers_table
from csift.reports.page import minus
from csift.reports.run_report import compare, href, render_run_report
from csift.reports.status import PastCycle, status_json
from csift.schemas import METHODS, CycleState, DocumentRef, Interval, Method, StageLosses, StageRun, Verdict

GOLDEN = Path(__file__).parent / "golden"
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """A page taken apart; every element must be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag in {"h1", "h2"}:
            self.headings.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self._open and self._open[-1] in {"h1", "h2"}:
            self.headings[-1] += data

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def html() -> str:
    return render_run_report(sample_run_report())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def printed(draw: Callable[[Console], None], *, width: int = 80, colour: bool = False) -> str:
    """What `draw(console)` prints, into a pipe or in colour."""
    out = io.StringIO()
    draw(
        Console(
            file=out,
            width=width,
            theme=console._THEME,
            highlight=False,
            force_terminal=colour,
            color_system="standard" if colour else None,
        )
    )
    return out.getvalue()


# --- the page --------------------------------------------------------------------------------------------


def test_the_inputs_of_a_run_are_told_in_four_lines() -> None:
    run = sample_run_report()
    evalset = run.evalset.model_copy(update={"retired": tuple(entry for entry in sample_retired() if entry.split == "eval")})
    out = io.StringIO()

    run_console.print_inputs(sample_drift(), evalset, run.dataset, Console(file=out, width=200))

    drift, questions, teacher, sources = out.getvalue().splitlines()
    assert drift.startswith("Drift: drift. The current traffic differs from the reference in questions (p = 0.0002 < 0.0016")
    assert f"Eval set: {len(evalset.items)} questions" in questions
    assert f"{len(evalset.retired)} retired (" in questions
    assert f"{run.dataset.synthesis.accepted} of " in teacher
    assert "human" in sources


def test_the_report_says_the_decision_first_and_the_ids_last(page: Page) -> None:
    assert page.headings == [
        "The challenger should replace the champion.",
        "Champion and challenger",
        "Answers, champion and challenger",
        "Every question, both answers",
        "Training",
        "What it could do before",
        "Synthesis",
        "Dataset",
        "Retired questions",
        "Drift",
        "Time and cost",
        "Replay",
    ]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_each_verdict_has_its_badge_and_its_words(verdict: Verdict) -> None:
    html = render_run_report(sample_run_report(verdict))
    assert f'class="badge {verdict.lower()}">{verdict}<' in html
    assert verdicts.HEADLINES[verdict] in html


def test_every_eval_question_is_there_with_both_answers_and_the_judges_reason(page: Page) -> None:
    run = sample_run_report()
    for item, before, after in zip(run.evalset.items, run.champion_report.answers, run.challenger_report.answers, strict=True):
        assert item.question in page.text
        for answer in (before, after):
            assert answer.answer in page.text
            assert (answer.score.reason if answer.score else answer.failure.message) in page.text
    assert page.tags["article"] == len(run.evalset.items)
    assert page.text.count("The documents do not say.") == 1  # the gold of the unanswerable question


def test_html_in_questions_answers_and_chunks_is_shown_as_text(html: str, page: Page) -> None:
    assert page.tags["script"] == 0
    assert "<script" not in html
    # Question, gold, both answers (both right there), a sample, and one chunk for each question.
    assert page.text.count(SCRIPT) == 5 + len(sample_items())


def test_the_page_loads_nothing_from_outside(html: str, page: Page) -> None:
    assert page.values("src") == []
    links = [value for value in page.values("href") if not value.startswith("#")]
    assert links == ["drift/eccbc87e4b5ce2fe.html"]
    assert not re.search(r"url\((?!#)|@import|https?:", html)
    assert page.values("http-equiv") == ["Content-Security-Policy"]
    assert any(value.startswith("default-src 'none';") for value in page.values("content"))


def test_links_and_pictures_lead_to_ids_that_exist_once(page: Page) -> None:
    ids = Counter(page.values("id"))
    assert max(ids.values()) == 1
    targets = [value[1:] for value in page.values("href") if value.startswith("#")]
    targets += page.values("aria-labelledby")
    targets += [target for value in page.values("clip-path") for target in re.findall(r"url\(#([^)]+)\)", value)]
    assert set(targets) <= set(ids)


def test_tables_have_captions_and_pictures_have_words(html: str, page: Page) -> None:
    assert page.tags["caption"] == page.tags["table"] > 5
    assert page.tags["svg"] == 6  # three plots, each for a screen and for a telephone
    titles = re.findall(r"<svg[^>]*><title[^>]*>([^<]+)</title>", html)
    assert titles[0].startswith(
        "Paired difference in points with its 95% interval: All questions +45.5 (+29.7 to +60.5); guarded"
    )
    assert titles[2].startswith("Training loss: sft over 60 steps, 2.712 nats per token at step 1, ")
    assert titles[4] == (
        "What became of 96 synthetic candidates: 41 accepted, 24 not grounded, "
        "19 round trip, 9 near duplicate, 3 leaks an eval question."
    )


def test_questions_are_grouped_by_outcome_changed_ones_first(html: str) -> None:
    run = sample_run_report()
    groups = compare(run)
    assert [(group.name, len(group.comparisons)) for group in groups] == [
        ("won", run.decision.wins), ("lost", run.decision.losses), ("failed", 1), ("both-wrong", 2), ("both-right", 2),
    ]  # fmt: skip
    assert [html.index(f'id="{group.name}"') for group in groups] == sorted(html.index(f'id="{group.name}"') for group in groups)
    for group in groups:
        assert f'<a href="#{group.name}"><b>{len(group.comparisons)}</b>' in html


def test_every_id_that_replays_the_decision_is_there(page: Page) -> None:
    run = sample_run_report()
    replay = page.text[page.text.index("These ids pin") :]
    for record in (
        run.decision,
        run.champion,
        run.challenger,
        run.champion_report,
        run.challenger_report,
        run.dataset,
        run.evalset,
        run.cycle,
    ):
        assert record.id in replay
    assert run.decision.evidence.judge_id in replay
    assert "adapter-9a0364b9e99bb480" in replay


def test_counts_of_synthesis_retired_and_stages_are_shown(page: Page) -> None:
    for text in (
        "The teacher wrote 96 candidates; 41 examples (42.7%)",
        "4 retired questions by reason",
        "harrier-07",
        "7 min 08 s",
    ):
        assert text in page.text
    assert "questions (p = 0.0002 < 0.0016 over 310 independent units)" in page.text
    assert "Not measured, answers: fewer than 20 rows" in page.text


def test_the_stage_that_writes_the_report_is_not_in_it() -> None:
    run = sample_run_report()
    writing = StageRun(stage="writing-the-report", state="running", seconds=0.0, record_id=None)
    cycle = run.cycle.model_copy(update={"stages": (*run.cycle.stages, writing), "state": CycleState.RUNNING})
    assert render_run_report(replace(run, cycle=cycle)) == render_run_report(run)


def test_a_blocking_slice_stands_out() -> None:
    assert '<strong class="stress">blocks</strong>' in render_run_report(sample_run_report(Verdict.REJECT))
    assert "stress" not in re.sub(r"<style>.*?</style>", "", render_run_report(sample_run_report()), flags=re.DOTALL)


def test_the_same_records_give_the_same_bytes_whatever_the_users_matplotlib(html: str) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.hashsalt": None, "axes.grid": True}):
        assert render_run_report(sample_run_report()) == html


def test_parts_that_do_not_exist_are_said_to_be_missing() -> None:
    page = Page(render_run_report(without_extras(sample_run_report())))
    for text in (
        "No step was trained in this cycle",
        "wrote no candidates",
        "Drift was not checked",
        "every labelled question still stands",
        "Nothing had to be removed",
    ):
        assert text in page.text
    assert page.tags["svg"] == 2


def test_an_answer_that_is_missing_is_an_error_and_not_a_wrong_answer() -> None:
    run = sample_run_report()
    short = run.champion_report.model_copy(update={"answers": run.champion_report.answers[1:]})
    with pytest.raises(GateError, match=r"report-\w+ has no answer to kestrel-40-00 of evalset-\w+; evaluate"):
        render_run_report(replace(run, champion_report=short))


def test_different_chunks_of_the_two_systems_are_both_shown() -> None:
    run = sample_run_report()
    first, *others = run.challenger_report.answers
    changed = first.model_copy(update={"contexts": ("a chunk that only the challenger saw",)})
    report = run.challenger_report.model_copy(update={"answers": (changed, *others)})
    page = Page(render_run_report(replace(run, challenger_report=report)))
    assert "Retrieved chunks: 3 and 1, not the same" in page.text
    assert "a chunk that only the challenger saw" in page.text


@pytest.mark.parametrize(
    ("uri", "link"),
    [
        ("/data/a b/drift.html", "file:///data/a%20b/drift.html"),
        ("drift/x.html", "drift/x.html"),
        ("https://store.example/x.html", "https://store.example/x.html"),
        ("s3://bucket/x.html", None),
        ("javascript:alert(1)", None),
    ],
)
def test_only_what_a_browser_may_open_becomes_a_link(uri: str, link: str | None) -> None:
    assert href(uri) == link


# --- plots and words -------------------------------------------------------------------------------------


def test_plots_take_every_colour_from_the_stylesheet() -> None:
    run = sample_run_report(Verdict.REJECT)
    drawn = [
        plots.difference_plot(run.decision, "a", plots.WIDE),
        plots.loss_plot(run.losses, "b", plots.WIDE),
        plots.yield_plot(run.dataset.synthesis, "c", plots.WIDE),
    ]
    for picture in drawn:
        assert re.findall(r"(?:fill|stroke): (?!none|var\(--)[^;\"]+", picture) == []
    assert "var(--bad)" in drawn[0]


def test_plots_stand_numbers_that_do_not_exist_single_points_and_odd_names() -> None:
    decision = sample_decision()
    nowhere = Interval(value=math.nan, low=math.nan, high=math.nan)
    odd = decision.slices[0].model_copy(update={"name": "a < b $x$", "difference": nowhere})
    picture = plots.difference_plot(decision.model_copy(update={"slices": (odd,)}), "a", plots.WIDE)
    drawn = picture[picture.index("</title>") :]
    assert "a &lt; b $x$" in drawn
    assert "n/a (n/a to n/a)" in drawn
    diverged = sample_losses()[0].model_copy(update={"loss": math.nan})
    for points in ((diverged, *sample_losses()), sample_losses()[:1], (diverged,)):
        assert "optimiser step" in plots.loss_plot((StageLosses(method="sft", points=points),), "b", plots.NARROW)


def stages_of(*methods: Method) -> tuple[StageLosses, ...]:
    return tuple(StageLosses(method=method, points=sample_losses(40)) for method in methods)


def test_every_stage_has_its_curve_in_its_unit_in_the_order_of_training() -> None:
    run = replace(sample_run_report(), losses=stages_of("cpt", "sft", "dpo", "grpo"))
    html = render_run_report(run)
    picture = html[html.index('aria-labelledby="loss-wide-title"') :].split("</svg>")[0]
    drawn = re.findall(r">([^<]+)</text>", picture)
    assert [text for text in drawn if re.match(r"\d\. ", text)] == ["1. cpt", "2. sft", "3. dpo", "4. grpo"]
    units = [text for text in drawn if text.startswith("nats") or text.endswith(" loss")]
    assert units == ["nats per token", "nats per token", "nats per pair", "GRPO loss"]
    assert drawn.count("optimiser step") == 4
    caption = "cpt: 40 steps, 32,480 tokens; sft: 40 steps, 32,480 tokens; dpo: 40 steps, 32,480 tokens; grpo: 40 steps"
    assert caption in html
    assert "heights do not compare" in html


def test_one_stage_has_its_name_without_a_number_and_nothing_to_compare() -> None:
    html = render_run_report(sample_run_report())
    assert re.findall(r">([\d. ]*sft)</text>", html) == ["sft", "sft"]
    assert "sft: 60 steps, 48,720 tokens." in html
    assert "heights do not compare" not in html


def test_what_is_not_known_of_a_stage_is_not_drawn_and_not_claimed() -> None:
    uncounted = tuple(point.model_copy(update={"tokens": 0}) for point in sample_losses(40))
    stages = (StageLosses(method="cpt", points=()), StageLosses(method="kto", points=uncounted))
    assert "cpt: not stored; kto: 40 steps." in plots.loss_caption(stages)
    drawn = plots.loss_plot(stages, "b", plots.WIDE)
    assert "cpt" not in drawn
    assert ">2. kto</text>" in drawn  # it is the second of the sequence
    assert "No step was trained" in render_run_report(replace(sample_run_report(), losses=stages[:1]))


def test_a_loss_below_zero_is_drawn_with_its_zero() -> None:
    points = tuple(point.model_copy(update={"loss": point.loss - 2}) for point in sample_losses(40))
    below = plots.loss_plot((StageLosses(method="grpo", points=points),), "b", plots.WIDE)
    above = plots.loss_plot(stages_of("grpo"), "b", plots.WIDE)
    assert ">−1.5</text>" in below or ">−1</text>" in below
    assert "−" not in above[above.index("</title>") :]


@pytest.mark.parametrize("number", [1, 3, 4, 7])
@pytest.mark.parametrize("width", [plots.WIDE, plots.NARROW])
def test_panels_of_any_number_of_stages_fit_the_width(number: int, width: int) -> None:
    drawn = plots.loss_plot(stages_of(*METHODS[:number]), "b", width)
    assert drawn.startswith(f'<svg viewBox="0 0 {width} ')
    assert drawn.count("optimiser step") == number


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.integers(0, 10))
def test_the_running_mean_stays_within_its_values_and_keeps_the_ends(values: list[float], reach: int) -> None:
    means = plots.running_mean(values, reach)
    assert len(means) == len(values)
    assert (means[0], means[-1]) == (values[0], values[-1])
    assert all(min(values) - 1e-9 <= mean <= max(values) + 1e-9 for mean in means)


@given(st.floats(-1, 1))
def test_a_difference_never_loses_its_sign(difference: float) -> None:
    text = wording.points(difference)
    value = 100 * difference
    assert text == "0.0" if value == 0 else text[0] == ("+" if value > 0 else "-")
    assert value == 0 or float(text) != 0
    assert abs(float(text) - value) <= 0.05


def test_words_for_numbers() -> None:
    assert wording.percent(math.nan) == "n/a"
    assert wording.percent_interval(Interval(value=0.617, low=0.529, high=1)) == "61.7% (52.9 to 100.0)"
    assert [wording.duration(s) for s in (0.412, 9.999, 42.4, 59.7, 125, 3725)] == [
        "0.41 s", "10.00 s", "42 s", "1 min 00 s", "2 min 05 s", "1 h 02 min",
    ]  # fmt: skip
    assert [wording.clock(s) for s in (0, 65.2, 3725)] == ["0:00", "1:05", "1:02:05"]
    assert [wording.money(usd) for usd in (0, 0.00042, 12.5, 1234)] == ["$0.00", "$0.00042", "$12.50", "$1,234.00"]
    assert minus("-9.1 points, -24.9 to +5.9, adapter-12, 2026-11-20") == "−9.1 points, −24.9 to +5.9, adapter-12, 2026-11-20"


# --- the command line ------------------------------------------------------------------------------------


def print_sample_cycle(out: Console) -> None:
    run = sample_run_report()
    run_console.print_cycle(
        run.cycle,
        run.decision,
        run.champion_report,
        run.challenger_report,
        run.retention,
        "/work/" + "long/" * 20 + "report.html",
        out,
    )


def test_print_cycle_is_the_golden_text_at_80_columns() -> None:
    """To accept a change, look at the text that the failure shows and write it to tests/golden/print_cycle.txt."""
    text = "\n".join(line.rstrip() for line in printed(print_sample_cycle).splitlines()) + "\n"
    assert text == (GOLDEN / "print_cycle.txt").read_text(encoding="utf-8")


def test_colour_changes_nothing_but_colour() -> None:
    coloured = printed(print_sample_cycle, colour=True)
    assert "\x1b[1;32mPROMOTE" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == printed(print_sample_cycle)


@pytest.mark.parametrize("draw", [print_sample_cycle, lambda out: status_console.print_status(sample_status(), out)])
def test_nothing_but_a_path_is_wider_than_80_columns_or_has_control_codes(draw: Callable[[Console], None]) -> None:
    lines = printed(draw).splitlines()
    assert all(len(line) <= 80 for line in lines if not line.startswith("Report: "))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", "".join(lines))


def test_a_cycle_that_failed_says_why_and_what_its_stages_took() -> None:
    cycle = sample_cycle(CycleState.FAILED, "no room for the adapter")
    text = printed(lambda out: run_console.print_cycle(cycle, None, None, None, None, None, out))
    assert "failed: no room for the adapter" in text
    assert "3 min 24 s" in text
    assert "Report" not in text


def test_nothing_new_names_the_reason_and_the_champion_that_stays() -> None:
    cycle = sample_cycle(CycleState.NOTHING_NEW, "no document, label or feedback changed.")
    text = printed(lambda out: run_console.print_nothing_new(cycle, sample_challenger(), out))
    assert "Nothing new: no document, label or feedback changed. Nothing was retrained.\n" in text
    assert sample_challenger().id in text


def test_status_shows_champion_lineage_documents_cycles_drift_and_holder() -> None:
    status = replace(sample_status(), holder="box pid 77 since 02:00")
    text = printed(lambda out: status_console.print_status(status, out))
    for part in (
        status.champion.id,
        "adapter-9a0364b9e99bb480",
        "180 human, 41 synthetic",
        "3 documents",
        "orrin.md",
        "nothing-new",
        "PROMOTE",
        "Drift: no drift.",
        "Running now: box pid 77",
    ):
        assert part in text


def test_status_of_a_new_project_says_what_to_do() -> None:
    empty = replace(sample_status(), champion=None, since=None, lineage=None, cycles=())
    assert "No champion yet: run `csift run nightly`." in printed(lambda out: status_console.print_status(empty, out))
    assert {status_json(empty)[key] for key in ("decision", "low", "high", "drift", "champion", "lineage")} == {None}


def test_status_cuts_a_long_list_of_documents_and_says_how_many_more() -> None:
    status = sample_status()
    documents = tuple(DocumentRef(document_id=f"d{n}.md", sha256="0" * 64) for n in range(50))
    assert status.lineage is not None
    longer = replace(status, lineage=replace(status.lineage, documents=documents))
    text = printed(lambda out: status_console.print_status(longer, out))
    assert "d39.md" in text
    assert "d40.md" not in text
    assert "10 more: csift status --json" in text


def test_status_json_is_of_the_last_cycle_that_had_something_to_do() -> None:
    status = sample_status()
    found = json.loads(json.dumps(status_json(status)))
    decision = status.cycles[1].decision
    assert (found["decision"], found["low"], found["high"]) == (
        "PROMOTE",
        decision.difference.low,
        decision.difference.high,
    )
    assert found["drift"] == "drift"
    assert found["champion"]["id"] == status.champion.id
    assert len(found["lineage"]["documents"]["orrin.md"]) == 64
    assert [cycle["decision"] for cycle in found["cycles"]] == [None, "PROMOTE"]
    assert [cycle["drift"] for cycle in found["cycles"]] == ["no drift", "drift"]
    assert {name: found["retention"][name] for name in ("questions", "untrained", "before", "after")} == {
        "questions": 119,
        "untrained": 30,
        "before": 35,
        "after": 32,
    }


def test_what_was_forgotten_is_told_by_skill_beside_champion_and_untrained_model(page: Page) -> None:
    assert "the challenger got 32 right, the champion 35 and the untrained base model 30" in page.text
    assert "−2.5 points from the champion, 95% interval −7.6 to +2.5. 1 question could not be answered by all" in page.text
    assert "SkillAskedUntrainedChampionChallengerChange" in page.text.replace("\n", "")
    assert "knowledge15885−3" in page.text  # 15 asked; 8, 8 and 5 right
    assert "format15013+2" in page.text


def test_a_champion_without_adapter_is_the_untrained_model_and_told_once() -> None:
    run = sample_run_report()
    page = Page(render_run_report(replace(run, retention=sample_retention(sample_system()))))
    assert "the champion, which is the untrained base model, 30:" in page.text
    assert "Untrained" not in page.text


def test_what_was_measured_of_the_answers_stands_with_its_interval_and_over_which_answers() -> None:
    run = sample_run_report()
    rows = {row[0]: row[1:] for row in answers_table(run.champion_report, run.challenger_report).rows}
    assert rows["Exact match"] == ("33.3% (17.3 to 49.3)", "59.5% (43.5 to 75.5)", "11 answerable questions")
    assert rows["Judge's score, mean"][2] == "12 and 11 judged answers"
    assert rows["Time per answer, median"][0] == "0.41 s (0.39 s to 0.43 s)"
    assert rows["Time to the first token, median"][0] == "not measured"
    assert "Something made up, by words" in rows
    assert "Cost per answer" not in rows  # in neither report
    page = Page(render_run_report(run))
    assert "an answer that is nonsense is no refusal" in page.text


def test_reports_of_before_there_were_metrics_have_no_table_of_them() -> None:
    run = sample_run_report()
    bare = {"metrics": (), "guard": ()}
    older = replace(
        run,
        champion_report=run.champion_report.model_copy(update=bare),
        challenger_report=run.challenger_report.model_copy(update=bare),
    )
    html = render_run_report(older)
    assert "Answers, champion and challenger" not in html
    assert "#answers" not in html


def test_status_json_of_a_failed_last_cycle_claims_no_decision() -> None:
    status = sample_status()
    failed = PastCycle(sample_cycle(CycleState.FAILED, "no room"), None, sample_drift(drifted=False), None)
    found = status_json(replace(status, cycles=(failed, *status.cycles)))
    assert (found["decision"], found["low"], found["drift"], found["retention"]) == (None, None, "no drift", None)


def test_an_error_is_one_line_and_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.error_line("no [bold]configuration[/bold]\n at \x1b[31mx; name one with --config" + " and more" * 20)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: no [bold]configuration[/bold] at [31mx; name one with --config and more")


# --- progress --------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def progress_lines(calls: list[tuple[float, str, int, int, str]]) -> list[str]:
    """What a log gets when the calls come at these seconds."""
    clock, out = Clock(), io.StringIO()
    with console.ProgressBars(Console(file=out, width=80), now=clock) as progress:
        for seconds, *call in calls:
            clock.seconds = seconds
            progress(*call)
    return out.getvalue().splitlines()


def test_a_log_gets_a_line_at_the_start_every_ten_seconds_and_at_the_end() -> None:
    lines = progress_lines([(float(second), "training", second, 25, "loss 1.2") for second in range(26)])
    assert lines == [
        "training     0/25  0:00 elapsed  loss 1.2",
        "training     10/25  0:10 elapsed  0:15 left  loss 1.2",
        "training     20/25  0:20 elapsed  0:05 left  loss 1.2",
        "training     25/25  0:25 elapsed  loss 1.2",
    ]


def test_a_stage_that_ended_is_not_repeated_until_it_starts_over() -> None:
    lines = progress_lines([(0, "drift", 1, 1, ""), (50, "drift", 1, 1, ""), (60, "drift", 0, 2, ""), (61, "drift", 2, 2, "")])
    assert lines == [
        "drift        1/1  0:00 elapsed",
        "drift        0/2  0:00 elapsed",
        "drift        2/2  0:01 elapsed",
    ]


def test_notes_cannot_break_the_line_or_steer_the_terminal() -> None:
    assert progress_lines([(0, "drift", 0, 2, "a\x1b[2Jb\nc [red]d")]) == ["drift        0/2  0:00 elapsed  a[2Jb c [red]d"]


def test_a_terminal_gets_one_bar_a_stage_that_fits_80_columns() -> None:
    clock, out = Clock(), io.StringIO()
    with console.ProgressBars(
        Console(file=out, width=80, force_terminal=True, color_system=None, _environ={"TERM": "xterm"}), now=clock
    ) as progress:
        progress("evaluation", 0, 1200)
        clock.seconds = 30.0
        progress("evaluation", 300, 1200, "a note that is much longer than what the other columns of the line leave")
        progress("nothing to do", 0, 0)
    frame = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", out.getvalue()).splitlines()[-2:]
    assert [len(line.rstrip()) <= 80 for line in frame] == [True, True]
    assert re.match(r"evaluation +━+[━╸╺]* +300/1200 0:30 1:30 left a note that is ", frame[0])
    assert re.match(r"nothing to do +━+ +1/1 0:00", frame[1])


def test_progress_passes_an_error_on() -> None:
    with pytest.raises(KeyboardInterrupt), console.ProgressBars(Console(file=io.StringIO())) as progress:
        progress("drift", 0, 1)
        raise KeyboardInterrupt
