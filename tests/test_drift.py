"""Drift: the permutation test's level, power and units; windows that cannot be read; the report that a person opens."""

import json
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from csift.config import DriftConfig
from csift.drift import Window, check_drift, mmd_permutation_test, read_window
from csift.exceptions import ConfigError, CorpusError, ModelError
from csift.hashing import sha256
from csift.retrieval import minilm
from csift.schemas import DriftReport
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


def mmd(reference: Rows, current: Rows, permutations: int = 99, seed: int = 0) -> tuple[float, float]:
    return mmd_permutation_test(reference[0], current[0], reference[1], current[1], permutations, seed)


def flagged(trials: int, draw: Callable[[np.random.Generator], tuple[Rows, Rows]]) -> int:
    return sum(mmd(*draw(np.random.default_rng(trial)), seed=trial)[1] < ALPHA for trial in range(trials))


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
    statistic, p_value = mmd(window, window)
    assert statistic < 0
    assert p_value == 1


def test_identical_questions_everywhere_do_not_drift() -> None:
    same = np.tile(CENTRES[:1] / np.linalg.norm(CENTRES[0]), (25, 1)).astype(np.float32)
    assert mmd((same, [str(row) for row in range(25)]), (same[:20], [str(row) for row in range(20)]))[1] == 1


def test_one_long_session_alone_does_not_alarm() -> None:
    assert flagged(100, lambda rng: (traffic(rng, [1] * 40), traffic(rng, [40]))) <= 12


def test_the_statistic_is_the_unbiased_mmd() -> None:
    """Against the sums of equation 3, for more rows than are held at once."""
    rng = np.random.default_rng(3)
    (x, x_units), (y, y_units) = traffic(rng, [1] * 700), traffic(rng, [1] * 400, foreign=0.5)
    rows = np.concatenate([x, y]).astype(np.float64)
    squared = np.maximum(2 - 2 * rows @ rows.T, 0)
    expected = []
    for median in (np.median(squared[np.triu_indices(1100, 1)]) * np.array([0.97, 1.03])).tolist():  # it is sampled
        kernel = np.exp(-squared / (2 * median))
        np.fill_diagonal(kernel, 0)
        xx, yy, xy = kernel[:700, :700].sum(), kernel[700:, 700:].sum(), kernel[:700, 700:].mean()
        expected.append(xx / (700 * 699) + yy / (400 * 399) - 2 * xy)
    statistic, _ = mmd_permutation_test(x, y, x_units, y_units, 99, 0)
    assert min(expected) < statistic < max(expected)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=4, max_size=9), st.integers(0, 10_000))
def test_rules_that_hold_for_all_windows(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = traffic(rng, sizes), traffic(rng, sizes[::-1], foreign=0.3)
    statistic, p_value = mmd(x, y, seed=seed)
    assert (statistic, p_value) == mmd(x, y, seed=seed)  # replays
    assert 0.01 <= p_value <= 1
    assert p_value * 100 == pytest.approx(round(p_value * 100))  # (1 + count) / (1 + 99)
    assert mmd(y, x)[0] == pytest.approx(statistic, abs=1e-6)  # no side is special
    order = rng.permutation(len(x[1]))
    assert mmd((x[0][order], [x[1][i] for i in order]), y)[0] == pytest.approx(statistic, abs=1e-6)


def test_a_session_counts_once_however_long_it_is() -> None:
    """Repeating one session's questions changes nothing but the median distance, which a single repeat leaves alone."""
    rng = np.random.default_rng(5)
    x, y = traffic(rng, [1] * 60), traffic(rng, [1] * 60, foreign=0.2)
    bot = y[0][:1].repeat(200, axis=0)
    loud = np.concatenate([y[0], bot]), [*y[1], *["s0"] * 200]
    quiet = mmd(x, y)
    assert mmd(x, loud)[0] == pytest.approx(quiet[0], rel=0.3)
    assert abs(mmd(x, loud)[1] - quiet[1]) < 0.1


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
    lines = [*good_rows(20), "", json.dumps({"session": "ä", "question": "wie laut?", "at": "2026-11-20"})]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    window = read_window(path)
    assert window.sessions[-1] == "ä"
    assert window.questions[-1] == "wie laut?"
    assert len(window.questions) == len(window.sessions) == 21


def test_the_hash_is_of_the_content() -> None:
    window = Window(("a", "b"), ("x", "ü"))
    assert window.hash == Window(("a", "b"), ("x", "ü")).hash == sha256('[["a","b"],["x","ü"]]')
    assert len({window.hash, Window(("a", "b"), ("x", "u")).hash, Window(("a", "a"), ("x", "ü")).hash}) == 3


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
    return Window(
        sessions=tuple(f"s{number}" for number in range(len(topics))),
        questions=tuple(f"{topic} {words}" for topic in topics),
    )


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


def counters(page: str) -> dict[str, str]:
    """The first row of figures on the page."""
    figures = next(node["counters"] for node in walk(shown(page)) if "counters" in node)
    return {figure["label"]: figure["value"] for figure in figures}


BEFORE = questions_about([0, 1, 2, 3, 4, 5] * 6)
SAME = questions_about([0, 1, 2, 3, 4, 5] * 5)
NOW = questions_about([12, 13, 14] * 10)


@pytest.mark.parametrize(("now", "verdict", "state"), [(NOW, "DRIFT", "fail"), (SAME, "NO DRIFT", "success")])
def test_the_report_shows_the_verdict(tmp_path: Path, now: Window, verdict: str, state: str) -> None:
    report = check_drift(BEFORE, now, TopicEmbedder(), config(), LocalStore(tmp_path))
    assert report.drifted is (verdict == "DRIFT")
    assert report.drifted is (report.p_value < report.alpha)
    assert (report.reference_rows, report.current_rows) == (36, len(now.questions))
    assert report.units == 36 + len(now.questions)
    assert Path(report.html_uri) == tmp_path / "drift" / f"{report.id}.html"
    page = Path(report.html_uri).read_text(encoding="utf-8")
    figures = counters(page)
    assert figures["verdict"] == verdict
    assert figures["p-value"] == f"{report.p_value:.4f}"
    assert figures["MMD²"] == f"{report.statistic:.5f}"
    assert figures["alpha"] == "0.05"
    assert figures["sessions"] == f"36 and {len(now.questions)}"
    assert [test["state"] for node in walk(shown(page)) for test in node.get("tests") or []] == [state]
    assert "too few sessions" not in page


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
    before = Window(("a", "b") * 12, questions_about([0, 1] * 12).questions)
    now = Window(("c", "d") * 12, questions_about([12, 13] * 12).questions)
    report = check_drift(before, now, TopicEmbedder(), config(), LocalStore(tmp_path))
    assert not report.drifted
    assert report.units == 4
    assert "too few sessions" in Path(report.html_uri).read_text(encoding="utf-8")


def test_the_id_is_of_all_that_decides(tmp_path: Path) -> None:
    class Other(TopicEmbedder):
        id = "other"

    def check(embedder: TopicEmbedder, **changes: object) -> DriftReport:
        return check_drift(BEFORE, NOW, embedder, config(**changes), LocalStore(tmp_path))

    first = check(TopicEmbedder())
    assert check(TopicEmbedder()) == first
    others = [check(Other()), *(check(TopicEmbedder(), **change) for change in ({"alpha": 0.01}, {"seed": 1}))]
    assert len({first.id, *(report.id for report in others)}) == 4


def test_permutations_that_could_never_alarm_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set at least 1000 permutations"):
        check_drift(BEFORE, NOW, TopicEmbedder(), config(alpha=0.001), LocalStore(tmp_path))
    assert list(tmp_path.iterdir()) == []


# --- the bundled windows, with the real embedder ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundled() -> dict[str, Rows]:
    windows = {name: read_window(EXAMPLES / f"{name}.jsonl") for name in ("traffic-1", "traffic-2")}
    return {name: (minilm(threads=1).embed(window.questions), list(window.sessions)) for name, window in windows.items()}


def part(rows: Rows, keep: Sequence[int]) -> Rows:
    return rows[0][keep], [rows[1][index] for index in keep]


def test_the_second_editions_traffic_drifts(bundled: dict[str, Rows]) -> None:
    statistic, p_value = mmd(bundled["traffic-1"], bundled["traffic-2"], permutations=500)
    assert statistic == pytest.approx(0.00256, abs=2e-4)
    assert p_value < 0.01


def test_the_first_editions_traffic_does_not_drift_from_itself(bundled: dict[str, Rows]) -> None:
    assert mmd(bundled["traffic-1"], bundled["traffic-1"], permutations=500)[1] == 1


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
    assert mmd(bundled["traffic-1"], part(bundled["traffic-2"], old), permutations=500)[1] > 0.1
