"""Drift: the permutation test's level, power and units; windows that cannot be read; the watch over rated answers; the report
that a person opens."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from csift.config import DriftConfig
from csift.drift import (
    Test,
    TrafficRow,
    Window,
    check_drift,
    daily_level,
    latest,
    monthly_level,
    random_features,
    read_window,
    two_sample_test,
    watch_accuracy,
)
from csift.exceptions import CorpusError, ModelError
from csift.hashing import sha256
from csift.retrieval import minilm
from csift.schemas import DriftReport, Hit
from csift.storage import LocalStore

EXAMPLES = Path(__file__).parent.parent / "examples"
NEW_PRODUCTS = ("auster", "cellar-5", "ember-hp", "gridlock", "heliad", "sunder", "tern", "voltra-11")
DIM, TOPICS = 16, 12
CENTRES = np.random.default_rng(7).normal(size=(TOPICS + 4, DIM))  # the last four are topics that only a drift brings
ALPHA = 0.05
Rows = tuple[NDArray[np.float32], list[str]]

# --- the permutation test --------------------------------------------------------------------------------------------


def traffic(rng: np.random.Generator, sizes: Sequence[int], foreign: float = 0.0) -> Rows:
    """Sessions of the given numbers of questions; each session has one topic, so its rows are alike."""
    rows, units = [], []
    for session, size in enumerate(sizes):
        topic = rng.integers(TOPICS, TOPICS + 4) if rng.random() < foreign else rng.integers(TOPICS)
        rows.append(CENTRES[topic] + rng.normal(scale=0.5, size=(size, DIM)))
        units += [f"s{session}"] * size
    stacked = np.concatenate(rows)
    return (stacked / np.linalg.norm(stacked, axis=1, keepdims=True)).astype(np.float32), units


def mmd(reference: Rows, current: Rows, level: float = ALPHA, seed: int = 0) -> Test:
    one, two = random_features(reference[0], current[0], seed)
    return two_sample_test(one, two, reference[1], current[1], level, seed)


def flagged(trials: int, draw: Callable[[np.random.Generator], tuple[Rows, Rows]]) -> int:
    return sum(mmd(*draw(np.random.default_rng(trial)), seed=trial).p_value < ALPHA for trial in range(trials))


@pytest.mark.parametrize(
    ("reference", "current"),
    [([1] * 40, [1] * 40), ([4] * 20, [4] * 20), ([1] * 60, [12] * 5), ([1] * 60, [20] * 3), ([1, 20] * 10, [3] * 20)],
    ids=["every question a session", "sessions of four", "fewer, longer sessions", "three long sessions", "mixed"],
)
def test_without_drift_the_alarm_keeps_its_level(reference: list[int], current: list[int]) -> None:
    alarms = flagged(200, lambda rng: (traffic(rng, reference), traffic(rng, current)))
    assert alarms <= 20  # binomial(200, 0.05) exceeds 20 once in a thousand


def test_questions_of_one_session_are_not_taken_for_independent() -> None:
    def by_row(rows: Rows) -> Rows:
        return rows[0], [str(row) for row in range(len(rows[1]))]

    def draw(rng: np.random.Generator) -> tuple[Rows, Rows]:
        return traffic(rng, [10] * 8), traffic(rng, [10] * 8)

    assert flagged(100, draw) <= 12
    assert flagged(100, lambda rng: tuple(map(by_row, draw(rng)))) > 60  # what units are there to prevent


@pytest.mark.parametrize("sizes", [[1] * 100, [3] * 100, [1] * 90 + [30] * 10], ids=["single", "three each", "unlike"])
def test_new_topics_in_half_of_the_sessions_are_seen(sizes: list[int]) -> None:
    assert flagged(40, lambda rng: (traffic(rng, sizes), traffic(rng, sizes, foreign=0.5))) >= 36


def test_a_window_does_not_drift_from_itself() -> None:
    window = traffic(np.random.default_rng(0), [1, 2, 5] * 10)
    found = mmd(window, window)
    assert found.statistic < 0
    assert found.p_value > 0.9
    assert found.units == 60


def test_identical_questions_everywhere_do_not_drift() -> None:
    same = np.tile(CENTRES[:1] / np.linalg.norm(CENTRES[0]), (25, 1)).astype(np.float32)
    assert mmd((same, [str(row) for row in range(25)]), (same[:20], [str(row) for row in range(20)])).p_value == 1


def test_one_long_session_alone_does_not_alarm() -> None:
    assert flagged(100, lambda rng: (traffic(rng, [1] * 40), traffic(rng, [40]))) <= 12


def test_the_statistic_is_nearly_the_unbiased_mmd_of_an_rbf_kernel() -> None:
    """Against the sums of equation 3; random features are off by their number's square root."""
    rng = np.random.default_rng(3)
    (x, x_units), (y, y_units) = traffic(rng, [1] * 700), traffic(rng, [1] * 400, foreign=0.5)
    rows = np.concatenate([x, y]).astype(np.float64)
    squared = np.maximum(2 - 2 * rows @ rows.T, 0)
    kernel = np.exp(-squared / (2 * np.median(squared[np.triu_indices(1100, 1)])))
    np.fill_diagonal(kernel, 0)
    xx, yy, xy = kernel[:700, :700].sum(), kernel[700:, 700:].sum(), kernel[:700, 700:].mean()
    expected = xx / (700 * 699) + yy / (400 * 399) - 2 * xy
    found = np.array([mmd((x, x_units), (y, y_units), seed=seed).statistic for seed in range(8)])
    assert found.mean() == pytest.approx(expected, rel=0.05)
    assert (abs(found / expected - 1) < 0.2).all()


def test_products_of_features_give_exactly_the_unbiased_mmd() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(30, 3)).astype(np.float32), rng.normal(1, 1, size=(20, 3)).astype(np.float32)
    kernel = np.concatenate([x, y]).astype(np.float64) @ np.concatenate([x, y]).T.astype(np.float64)
    np.fill_diagonal(kernel, 0)
    expected = kernel[:30, :30].sum() / (30 * 29) + kernel[30:, 30:].sum() / (20 * 19) - 2 * kernel[:30, 30:].mean()
    units = [str(number) for number in range(30)]
    assert two_sample_test(x, y, units, units[:20], ALPHA, 0).statistic == pytest.approx(expected, rel=1e-4)


def test_permutations_follow_the_level_where_there_may_be_drift_and_end_early_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    same, other = (traffic(rng, [1] * 60), traffic(rng, [1] * 60)), (traffic(rng, [1] * 60), traffic(rng, [1] * 60, foreign=0.9))
    assert mmd(*same, level=0.001).permutations < 10_000
    found = mmd(*other, level=0.001)
    assert found.permutations == 10_000
    assert found.p_value < 0.001


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=4, max_size=9), st.integers(0, 10_000))
def test_rules_that_hold_for_all_windows(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = traffic(rng, sizes), traffic(rng, sizes[::-1], foreign=0.3)
    found = mmd(x, y, seed=seed)
    assert found == mmd(x, y, seed=seed)  # replays
    assert found.permutations == 200  # ten times the level's inverse
    assert found.p_value * 201 == pytest.approx(round(found.p_value * 201))  # (1 + count) / (1 + 200)
    assert 1 / 201 <= found.p_value <= 1
    assert mmd(y, x, seed=seed).statistic == pytest.approx(found.statistic, abs=1e-5)  # no side is special
    order = rng.permutation(len(x[1]))
    assert mmd((x[0][order], [x[1][i] for i in order]), y, seed=seed).statistic == pytest.approx(found.statistic, abs=1e-5)


def test_a_session_counts_once_however_long_it_is() -> None:
    """Repeating one session's questions changes nothing but the median distance, which a single repeat leaves alone."""
    rng = np.random.default_rng(5)
    x, y = traffic(rng, [1] * 60), traffic(rng, [1] * 60, foreign=0.2)
    bot = y[0][:1].repeat(200, axis=0)
    loud = np.concatenate([y[0], bot]), [*y[1], *["s0"] * 200]
    quiet = mmd(x, y)
    assert mmd(x, loud).statistic == pytest.approx(quiet.statistic, rel=0.3)
    assert abs(mmd(x, loud).p_value - quiet.p_value) < 0.1


def test_embeddings_that_are_not_numbers_are_an_error_and_no_drift() -> None:
    x, y = traffic(np.random.default_rng(0), [1] * 20), traffic(np.random.default_rng(1), [1] * 20)
    y[0][3, 2] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        mmd(x, y)


# --- windows ---------------------------------------------------------------------------------------------------------


def row(question: str = "how loud is it?", session: str = "s1") -> str:
    return json.dumps({"session": session, "question": question})


def good_rows(count: int = 25) -> list[str]:
    return [row(session=f"s{number}") for number in range(count)]


def test_a_window_is_read_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "window.jsonl"
    lines = [*good_rows(20), "", json.dumps({"session": "ä", "question": "wie laut?", "channel": "chat"})]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    window = read_window(path)
    assert window.sessions[-1] == "ä"
    assert window.questions[-1] == "wie laut?"
    assert len(window.questions) == len(window.sessions) == 21


def test_what_is_known_of_answers_is_read(tmp_path: Path) -> None:
    path = tmp_path / "window.jsonl"
    known = {"session": "s", "question": "q?", "answer": "Yes.", "correct": False, "at": "2026-11-20T02:00:00+01:00"}
    path.write_text("\n".join([*good_rows(), json.dumps(known), json.dumps({**known, "answer": None, "correct": None})]))
    window = read_window(path)
    assert window.rows[-2] == TrafficRow("s", "q?", "Yes.", False, datetime(2026, 11, 20, 1, tzinfo=UTC))
    assert (window.rows[-1].answer, window.rows[-1].correct, window.rows[0].at) == (None, None, None)


def test_the_hash_is_of_the_content() -> None:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    rows = [
        TrafficRow("a", "x"), TrafficRow("a", "ü"), TrafficRow("b", "x"), TrafficRow("a", "x", "yes"),
        TrafficRow("a", "x", None, True), TrafficRow("a", "x", None, None, at),
    ]  # fmt: skip
    hashes = [Window((row,)).hash for row in rows]
    assert len(set(hashes)) == len(rows)
    assert hashes == [Window((row,)).hash for row in rows]
    assert Window((rows[0],)).hash == sha256('[["a","x",null,null,null]]')


def test_the_latest_week_is_taken_and_older_sessions_where_it_is_small() -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    daily = Window(tuple(TrafficRow(f"s{n}", "q", at=now - timedelta(days=n)) for n in range(-1, 300)))
    assert [row.session for row in latest(daily, now).rows] == [f"s{n}" for n in range(99, -1, -1)]
    busy = Window(tuple(TrafficRow(f"s{n}", "q", at=now - timedelta(hours=n)) for n in range(500)))
    assert len(latest(busy, now).rows) == 7 * 24 + 1
    before = latest(daily, now - timedelta(days=304))
    assert before.lacking == "0 questions, drift needs at least 20; take a longer period"
    untimed = Window((*daily.rows, TrafficRow("x", "q")))
    assert latest(untimed, now) == untimed


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b'{"session": "s", "question": "\xff"}', r"line 3: not UTF-8"),
        (b'{"session": "s", "question": ', r"line 3: not JSON"),
        (b"[" * 100_000, r"line 3: not JSON"),
        (b'"a question"', r"line 3: `session` is missing"),
        (b'{"question": "how loud?"}', r"line 3: `session` is missing"),
        (b'{"session": 7, "question": "how loud?"}', r"line 3: `session` is missing, empty or not text"),
        (b'{"session": "s", "question": "  "}', r"line 3: `question` is missing, empty"),
        (b'{"session": "s", "question": "how \\ud83d?"}', r"line 3: `question` has half of a surrogate pair"),
        (b'{"session": "s", "question": "q", "answer": 7}', r"line 3: `answer` cannot be 7"),
        (b'{"session": "s", "question": "q", "correct": "yes"}', r"line 3: `correct` cannot be 'yes'"),
        (b'{"session": "s", "question": "q", "at": "yesterday"}', r"line 3: `at` cannot be 'yesterday'"),
        (b'{"session": "s", "question": "q", "at": "2026-11-20T02:00:00"}', r"line 3: `at` has no time zone"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: bytes, message: str) -> None:
    path = tmp_path / "window.jsonl"
    lines = [line.encode() for line in good_rows()]
    path.write_bytes(b"\n".join([*lines[:2], bad, *lines[2:]]))
    with pytest.raises(CorpusError, match=message) as caught:
        read_window(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "No such file or directory; correct its path"),
        ([], "has 0 questions, drift needs at least 20"),
        (good_rows(19), "has 19 questions, drift needs at least 20"),
        ([row()] * 30, "one session only"),
    ],
)
def test_a_window_that_cannot_be_used_is_named(tmp_path: Path, lines: list[str] | None, message: str) -> None:
    path = tmp_path / "window.jsonl"
    if lines is not None:
        path.write_text("\n".join(lines))
    with pytest.raises(CorpusError, match=message) as caught:
        read_window(path)
    assert str(path) in str(caught.value)


def test_a_folder_is_no_window(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="directory; correct its path"):
        read_window(tmp_path)


# --- the check and its report ----------------------------------------------------------------------------------------


class TopicEmbedder:
    """A question's topic is its first word, a number."""

    id = "topics"
    dim = DIM

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rng = np.random.default_rng(len(texts))
        rows = np.stack([CENTRES[int(text.split()[0])] + rng.normal(scale=0.5, size=DIM) for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def questions_about(topics: Sequence[int], words: str = "how loud is it?") -> Window:
    return Window(tuple(TrafficRow(f"s{number}", f"{topic} {words}") for number, topic in enumerate(topics)))


def config(**changes: object) -> DriftConfig:
    return DriftConfig.model_validate({"reference": "before.jsonl", "current": "now.jsonl", **changes})


class Tags(HTMLParser):
    """What a page loads from elsewhere, and how many scripts it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts = 0
        self.loaded: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]


def shown(page: str) -> dict:
    """What Evidently's page draws."""
    return json.JSONDecoder().raw_decode(page, page.index("= {", page.index("var metric_")) + 2)[0]


def walk(node: object) -> Iterator[dict]:
    """Every object of a JSON tree."""
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from walk(child)


def counters(page: str) -> list[dict[str, str]]:
    """The figures of each signal on the page."""
    told = [node["counters"] for node in walk(shown(page)) if "counters" in node]
    return [row for row in ({figure["label"]: figure["value"] for figure in figures} for figures in told) if "verdict" in row]


class Shelf:
    """A retriever that knows topics below twelve."""

    id = "shelf"

    def search(self, questions: Sequence[str], k: int) -> list[list[Hit]]:
        def found(question: str) -> list[Hit]:
            score = (0.9 if int(question.split()[0]) < TOPICS else 0.2) - 0.01 * (len(question) % 7)
            return [Hit(chunk_id="c", document_id="d", text="t", score=score)]

        return [found(question) for question in questions]


BEFORE = questions_about([0, 1, 2, 3, 4, 5] * 6)
SAME = questions_about([0, 1, 2, 3, 4, 5] * 5)
NOW = questions_about([12, 13, 14] * 10)


@pytest.mark.parametrize(("now", "verdict", "state"), [(NOW, "DRIFT", "fail"), (SAME, "NO DRIFT", "success")])
def test_the_report_shows_the_verdict(tmp_path: Path, now: Window, verdict: str, state: str) -> None:
    report = check_drift(BEFORE, now, TopicEmbedder(), config(), LocalStore(tmp_path), Shelf(), "corpus-1")
    assert report.drifted is (verdict == "DRIFT")
    assert (report.reference_rows, report.current_rows) == (36, len(now.rows))
    assert [signal.name for signal in report.signals] == ["questions", "retrieval"]
    assert all(signal.units == 36 + len(now.rows) for signal in report.signals)
    assert all(signal.drifted is (verdict == "DRIFT") for signal in report.signals)
    assert list(report.unmeasured) == ["answers"]
    assert Path(report.html_uri) == tmp_path / "drift" / f"{report.id}.html"
    page = Path(report.html_uri).read_text(encoding="utf-8")
    figures = counters(page)
    assert [row["verdict"] for row in figures] == [verdict, verdict]
    assert [row["p-value"] for row in figures] == [f"{signal.p_value:.2g}" for signal in report.signals]
    assert figures[0]["MMD²"] == f"{report.signals[0].statistic:.5f}"
    assert [row["level"] for row in figures] == ["0.0016", "0.0004"]
    assert [test["state"] for node in walk(shown(page)) for test in node.get("tests") or []] == [state, state]
    assert "Not measured, answers" in page
    assert "too few sessions" not in page


def test_without_an_index_what_is_found_is_unmeasured(tmp_path: Path) -> None:
    report = check_drift(BEFORE, NOW, TopicEmbedder(), config(), LocalStore(tmp_path))
    assert report.unmeasured["retrieval"] == "no index to find chunks in yet"
    assert [signal.name for signal in report.signals] == ["questions"]


def answered(count: int, text: str, refused: float = 0.0, seed: int = 0) -> Window:
    rng = np.random.default_rng(seed)
    refuses = "The excerpts do not say."
    said = [refuses if rng.random() < refused else " ".join([text] * int(rng.integers(1, 4))) for _ in range(count)]
    return Window(tuple(TrafficRow(f"s{n}", f"{n % 6} how loud?", answer) for n, answer in enumerate(said)))


@pytest.mark.parametrize(
    ("now", "drifted", "refused"),
    [
        (answered(60, "It is 60 dB.", seed=1), False, 0.0),
        (answered(60, "It is 60 dB, and as with every machine of ours that says little of what you hear.", seed=1), True, 0.0),
        (answered(60, "It is 60 dB.", refused=0.6, seed=1), True, 0.6),
    ],
    ids=["as before", "longer answers", "refusals"],
)
def test_answers_that_grow_or_refuse_are_drift(tmp_path: Path, now: Window, drifted: bool, refused: float) -> None:
    report = check_drift(answered(60, "It is 60 dB."), now, TopicEmbedder(), config(), LocalStore(tmp_path))
    signal = next(signal for signal in report.signals if signal.name == "answers")
    assert signal.drifted is drifted
    told = next(figure for figure in signal.figures if "refuse" in figure.label)
    assert told.reference == 0
    assert told.current == pytest.approx(refused, abs=0.2)


def test_levels_of_a_month_of_daily_checks_add_up_to_what_is_stated() -> None:
    stated = 0.1
    daily = sum(31 * daily_level(stated, signal) for signal in ("questions", "retrieval", "answers"))
    assert daily + monthly_level(stated, "accuracy") == pytest.approx(stated)


def test_the_report_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    report = check_drift(BEFORE, NOW, TopicEmbedder(), config(), LocalStore(tmp_path))
    page = Path(report.html_uri).read_text(encoding="utf-8")
    assert Tags(page).loaded == []
    assert "@import" not in page.split("<body>")[0]


def test_a_question_cannot_run_script_in_the_report(tmp_path: Path) -> None:
    attack = questions_about([12, 13, 14] * 10, words="</script><script>alert(1)</script>")
    pages = [
        Path(check_drift(BEFORE, now, TopicEmbedder(), config(), LocalStore(tmp_path)).html_uri).read_text("utf-8")
        for now in (NOW, attack)
    ]
    assert Tags(pages[0]).scripts == Tags(pages[1]).scripts
    assert "alert(1)" in json.dumps(shown(pages[1]))


def test_the_report_says_when_it_had_too_few_sessions(tmp_path: Path) -> None:
    def pair(names: str, topics: Sequence[int]) -> Window:
        rows = questions_about(topics).rows
        return Window(tuple(replace(row, session=names[number % 2]) for number, row in enumerate(rows)))

    report = check_drift(pair("ab", [0, 1] * 12), pair("cd", [12, 13] * 12), TopicEmbedder(), config(), LocalStore(tmp_path))
    assert not report.drifted
    assert report.signals[0].units == 4
    assert "too few sessions" in Path(report.html_uri).read_text(encoding="utf-8")


def test_the_id_is_of_all_that_decides(tmp_path: Path) -> None:
    class Other(TopicEmbedder):
        id = "other"

    def check(embedder: TopicEmbedder, index: str | None = None, **changes: object) -> DriftReport:
        return check_drift(BEFORE, NOW, embedder, config(**changes), LocalStore(tmp_path), index=index)

    first = check(TopicEmbedder())
    assert check(TopicEmbedder()) == first
    others = [
        check(Other()),
        check(TopicEmbedder(), index="corpus-2"),
        *(check(TopicEmbedder(), **change) for change in ({"false_alarms": 0.01}, {"seed": 1})),
    ]
    assert len({first.id, *(report.id for report in others)}) == 5


# --- the watch over rated answers ------------------------------------------------------------------------------------

LEVEL = 0.025
START = datetime(2026, 11, 1, tzinfo=UTC)


def rated(rng: np.random.Generator, sessions: int, accuracy: float, hours: float = 1.0, after: float = 0.0) -> list[TrafficRow]:
    """A rated session every so many hours, from so many hours on."""
    return [
        TrafficRow(f"r{after}-{n}", "q", "a", bool(rng.random() < accuracy), START + timedelta(hours=after + n * hours))
        for n in range(sessions)
    ]


def test_a_month_of_hourly_looks_alarms_no_more_often_than_stated() -> None:
    def alarms(trial: int) -> bool:
        rng = np.random.default_rng(trial)
        before, month = rated(rng, 300, 0.8), rated(rng, 720, 0.8)
        watch = watch_accuracy(before, month, LEVEL)
        assert watch
        return watch.regressed  # the most that the stake was in the month, so every look is in it

    assert sum(alarms(trial) for trial in range(200)) <= 11  # binomial(200, 0.025) exceeds 11 three times in a thousand


@pytest.mark.parametrize("quiet", [0, 360], ids=["from the first day", "from the middle of the month"])
def test_a_loss_is_found_whenever_it_begins(quiet: int) -> None:
    rng = np.random.default_rng(0)
    month = [*rated(rng, quiet, 0.8), *rated(rng, 300, 0.45, after=quiet)]
    watch = watch_accuracy(rated(rng, 300, 0.8), month, LEVEL)
    assert watch and watch.regressed
    assert watch.before == pytest.approx(0.8, abs=0.06)
    assert watch.now == pytest.approx(0.45, abs=0.08)
    assert watch.floor < watch.before
    assert abs((watch.since - START).total_seconds() / 3600 - quiet) <= 72


def test_evidence_never_falls_as_the_month_goes_on() -> None:
    rng = np.random.default_rng(1)
    before, month = rated(rng, 100, 0.7), rated(rng, 100, 0.5)
    seen = [watch_accuracy(before, month[:count], LEVEL) for count in range(1, 101)]
    evidence = [watch.evidence for watch in seen if watch]
    assert evidence == sorted(evidence)


def test_questions_of_one_session_count_once() -> None:
    rng = np.random.default_rng(2)
    before, month = rated(rng, 100, 0.8), rated(rng, 40, 0.8)
    angry = [replace(month[0], correct=False) for _ in range(500)]
    alone, crowded = watch_accuracy(before, [*month, angry[0]], LEVEL), watch_accuracy(before, [*month, *angry], LEVEL)
    assert alone == crowded


def test_without_ratings_nothing_is_said() -> None:
    rng = np.random.default_rng(3)
    plain = [replace(row, correct=None) for row in rated(rng, 50, 1)]
    assert watch_accuracy(rated(rng, 19, 0.8), rated(rng, 50, 0.8), LEVEL) is None  # too few to bound anything
    assert watch_accuracy(rated(rng, 50, 0.8), plain, LEVEL) is None
    assert watch_accuracy(plain, rated(rng, 50, 0.8), LEVEL) is None


def test_answers_that_were_never_right_cannot_get_worse() -> None:
    rng = np.random.default_rng(4)
    watch = watch_accuracy(rated(rng, 50, 0), rated(rng, 50, 0), LEVEL)
    assert watch and not watch.regressed


# --- the bundled windows, with the real embedder ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundled() -> dict[str, Rows]:
    windows = {name: read_window(EXAMPLES / f"{name}.jsonl") for name in ("traffic-1", "traffic-2")}
    return {name: (minilm(threads=1).embed(window.questions), window.sessions) for name, window in windows.items()}


def part(rows: Rows, keep: Sequence[int]) -> Rows:
    return rows[0][keep], [rows[1][index] for index in keep]


def test_the_second_editions_traffic_drifts(bundled: dict[str, Rows]) -> None:
    level = daily_level(0.1, "questions")
    assert mmd(bundled["traffic-1"], bundled["traffic-2"], level).p_value < level


def test_the_first_editions_traffic_does_not_drift_from_itself(bundled: dict[str, Rows]) -> None:
    assert mmd(bundled["traffic-1"], bundled["traffic-1"]).p_value > 0.99


def test_halves_of_the_first_editions_traffic_drift_no_more_often_than_alpha(bundled: dict[str, Rows]) -> None:
    def halves(rng: np.random.Generator) -> tuple[Rows, Rows]:
        order = rng.permutation(len(bundled["traffic-1"][1]))
        return part(bundled["traffic-1"], order[:75]), part(bundled["traffic-1"], order[75:])

    assert flagged(40, halves) <= 6  # binomial(40, 0.05) exceeds 6 three times in a thousand


def test_the_second_editions_questions_about_old_products_do_not_drift(bundled: dict[str, Rows]) -> None:
    sessions = bundled["traffic-2"][1]
    new = tuple(f"t2-{product}-" for product in NEW_PRODUCTS)
    old = [index for index, session in enumerate(sessions) if not session.startswith(new)]
    assert len(old) == 104
    assert mmd(bundled["traffic-1"], part(bundled["traffic-2"], old)).p_value > 0.1
