"""The data card on the sample records."""

import re
from dataclasses import replace

import pytest
from dataset_samples import sample_card, sample_view
from samples import SCRIPT
from test_reports import Page

from csift.reports import plots
from csift.reports.data_card import Passage, _marked, render
from csift.schemas import SynthesisReport


@pytest.fixture(scope="module")
def html() -> str:
    return render(sample_card())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_card_says_what_is_in_the_dataset_first_and_how_it_was_made_last(page: Page) -> None:
    assert page.headings == [
        "58 training rows from 7 documents", "Content", "Examples", "Preference pairs", "Topics", "Sources", "Cleaning",
        "Synthesis", "Refused", "Recipe",
    ]  # fmt: skip


def test_sources_licences_scrubbing_and_skipped_documents_are_told(page: Page) -> None:
    for told in (
        "CC BY 4.0", "bought, no derivatives", "retrieved from only", "s3://tarnbeck/manuals", "EMAIL_ADDRESS",
        "no NER model is installed", "heron.pdf", "the PDF is encrypted", "orrin-2.md", "93.0%", "evalset-", "near_duplicate",
    ):  # fmt: skip
        assert told in page.text, told


def test_refused_candidates_are_counted_and_shown_by_reason(page: Page) -> None:
    for told in ("leak: paraphrase", "round trip", "asked again, the teacher answered: a soldering station"):
        assert told in page.text
    assert "1 candidate that would have leaked an evaluation question was removed." in " ".join(page.text.split())


def test_examples_show_their_chunks_and_mark_the_answer_in_the_gold_one(html: str) -> None:
    assert html.count('class="gold-chunk"') == sum(len(row.gold_chunk_ids) for row in sample_card().examples)
    assert "its hose and <mark>27.5 kg</mark> without." in html
    assert "<mark>VG 68 and VG 100</mark> may be mixed." in html


def test_html_in_texts_topics_and_file_names_is_shown_as_text(html: str, page: Page) -> None:
    assert page.tags["script"] == 0
    assert SCRIPT not in html
    assert page.text.count(SCRIPT) >= 5  # question, answer, chunk, topic, skipped file
    assert not any(name.startswith("on") for _, name, _ in page.attributes)


def test_an_answer_of_markup_and_patterns_is_marked_as_text() -> None:
    marked = _marked('see <b>5.5 (kg)</b> & "5x5"', "<b>5.5\n(KG)</b>")
    assert marked == "see <mark>&lt;b&gt;5.5 (kg)&lt;/b&gt;</mark> &amp; &#34;5x5&#34;"
    assert _marked("a < b", "") == "a &lt; b"
    assert Passage(marked, gold=True).gold


def test_the_page_loads_nothing_from_outside(html: str, page: Page) -> None:
    assert "default-src 'none'" in html
    assert not page.values("src")
    assert page.tags["link"] == 0
    assert all(value.startswith("#") for value in page.values("href"))
    assert "url(http" not in html
    assert page.tags["style"] == 1


def test_links_and_pictures_lead_to_ids_that_exist_once(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {value.removeprefix("#") for value in page.values("href") if value.startswith("#")} <= set(ids)


def test_every_table_has_a_caption(page: Page) -> None:
    assert page.tags["table"] == page.tags["caption"]


def test_the_same_records_give_the_same_bytes(html: str) -> None:
    assert render(sample_card()) == html


def test_parts_that_do_not_exist_are_said_to_be_missing() -> None:
    card = sample_card()
    view = card.view
    nothing = SynthesisReport(teacher="", candidates=0, accepted=0, rejected={}, samples=())
    version = view.version.model_copy(update={"synthesis": nothing, "decontaminated": {}, "documents": {}})
    version = version.model_copy(update={"preference_ids": (), "rating_ids": ()})
    snapshot = card.snapshot.model_copy(update={"sources": ()})
    empty = replace(
        card, view=replace(view, version=version, rejected={}), snapshot=snapshot, ingest=None, preferences=(), samples={}
    )
    page = Page(render(empty))
    for told in (
        "No teacher wrote candidates for this dataset.", "The ingest of this corpus was not recorded.",
        "No candidate was refused.", "No candidate leaked an evaluation question.", "did not record its sources",
    ):  # fmt: skip
        assert told in " ".join(page.text.split())
    assert "Preference pairs" not in page.headings


def test_long_lists_of_documents_are_cut_and_say_so() -> None:
    card = sample_card()
    assert card.ingest
    many = card.ingest.skipped * 40
    page = Page(render(replace(card, ingest=card.ingest.model_copy(update={"skipped": many}))))
    assert "Documents that were skipped, 30 of 80" in page.text


def test_plots_take_every_colour_from_the_stylesheet_and_stand_few_rows() -> None:
    styles = plots.styles_plot({"factoid": {"human": 1}}, "s", plots.WIDE)
    drawn = [
        plots.lengths_plot("Words of a question", values, "l", plots.NARROW) for values in ([1], [0, 0], [1, 900, *[7] * 99])
    ]
    for picture in (styles, *drawn):
        assert not re.search(r"#[0-9a-f]{6}\b(?!\))", re.sub(r'(id|href)="[^"]*"|url\([^)]*\)', "", picture))
    assert "median 7" in drawn[-1]


def test_a_view_of_many_rows_counts_repeated_ones_twice() -> None:
    view = sample_view(copies=3)
    assert len(view.rows) == 23
    assert len(view.different) == 21
