"""Pages for people: who sees which, forms that nobody else can send, texts that stay texts, votes and what they come to."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from desks import Browser, desk
from fastapi import FastAPI
from lived import PREFECT, Lived
from samples import SCRIPT
from starlette.testclient import TestClient

from csift import feedback, reviews, written_labels
from csift.db import Database, database
from csift.hashing import content_id
from csift.schemas import FeedbackRecord
from csift.serving import keys
from csift.serving.access import Doors
from csift.serving.api import create_app
from csift.serving.asking import Server
from csift.serving.sessions import Sessions

PROJECT = "t-pages"
ROLES = ("ask", "review", "operate")
Response = Any


@pytest.fixture(scope="module")
def served(db: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Lived]]:
    """One project for the module; each test's people are its own."""
    with desk(db, PROJECT, tmp_path_factory.mktemp("pages")) as made:
        yield made


@pytest.fixture(scope="module")
def lived(served: tuple[Server, Lived]) -> Lived:
    return served[1]


@pytest.fixture(scope="module")
def open_app(served: tuple[Server, Lived]) -> FastAPI:
    """On this machine, without keys."""
    return create_app(served[0])


@pytest.fixture(scope="module")
def guarded(served: tuple[Server, Lived], db: Database) -> Server:
    """The same project for everybody with a key."""
    return replace(served[0], doors=Doors(db, PROJECT, False, print))


@pytest.fixture(scope="module")
def secrets(db: Database, guarded: Server) -> dict[str, str]:
    """A key of each role."""
    made = {role: keys.create(db, PROJECT, f"{role}er", role)[1] for role in ROLES}  # type: ignore[arg-type]
    guarded.doors.look()
    return made


@pytest.fixture
def browser(open_app: FastAPI) -> Browser:
    """Anew for each test."""
    return Browser(open_app)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """What a test's person is called."""
    return request.node.name[:50]


def told(db: Database, person: str) -> list[tuple[str | None, str | None, str | None]]:
    """What this rater said: thumb, edit, comment."""
    mine = [record for record in feedback.load(db, PROJECT) if record.rater == content_id("rater", person)]
    return sorted(((r.thumb, r.edited_answer, r.comment) for r in mine), key=str)


# --- ask ------------------------------------------------------------------------------------------------------------------


def test_a_question_brings_the_answer_with_its_sources(browser: Browser, lived: Lived) -> None:
    page = browser.asked("How heavy is the Alder & co?").text
    assert "How heavy is the Alder &amp; co?" in page
    assert f"{lived.challenger.id} says 29 kg" in page
    assert "alder.md" in page and "The Alder pump weighs 3 kg." in page and "0.91" in page


def test_thumb_edit_and_comment_are_kept_as_over_the_api(browser: Browser, db: Database, name: str) -> None:
    answer = browser.named(name).asked().url.path
    given = unescape(re.findall(r'<p class="lead said">(.*?)</p>', browser.get(answer).text)[0])
    for _ in range(2):
        assert "Thank you" in browser.send(answer, {"thumb": "up", "edited_answer": given, "comment": ""}).text
    browser.send(answer, {"thumb": "", "edited_answer": "3 kg", "comment": "too long"})
    assert told(db, name) == [("up", None, None), (None, "3 kg", "too long")]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"thumb": "sideways"}, "Thumb"),
        ({"thumb": "", "edited_answer": " ", "comment": "hm"}, "It says nothing of the answer"),
        ({"thumb": "up", "comment": "x" * 9000}, "Comment"),
    ],
)
def test_feedback_that_cannot_be_kept_is_told_on_a_page(browser: Browser, fields: dict[str, str], says: str) -> None:
    refused = browser.send(browser.asked().url.path, fields)
    assert refused.status_code == 400 and says in refused.text and "<!doctype html>" in refused.text


def test_an_answer_is_shown_to_who_got_it_and_to_who_operates(guarded: Server, secrets: dict[str, str], db: Database) -> None:
    app = create_app(guarded)
    answer = Browser(app).signed_in(secrets["ask"]).asked().url.path
    assert Browser(app).signed_in(secrets["review"]).get(answer).status_code == 404
    assert Browser(app).signed_in(secrets["operate"]).get(answer).status_code == 200


# --- who sees what --------------------------------------------------------------------------------------------------------

FIELDS = ("decision", "adapter", "dataset", "cycle", "document")
PAGES = {
    "/": "ask",
    "/review": "review",
    "/review/{decision}/1": "review",
    "/review/labels": "review",
    "/dashboard": "review",
    "/lineage/{adapter}": "operate",
    "/lineage/{adapter}/examples": "operate",
    "/documents/{document}": "operate",
    "/evidence/decisions/{decision}": "operate",
    "/evidence/data-cards/{dataset}": "operate",
    "/evidence/reports/{cycle}": "operate",
    "/evidence/drift/drift-3-t-pages": "operate",
}


def where(page: str, lived: Lived) -> str:
    hashes = [label.document_sha256 for label in lived.labels.labels if label.document_id == "alder.md"]
    return page.format(
        decision=lived.decision.id, adapter=lived.adapter.id, dataset=lived.dataset.id, cycle=lived.cycle_id, document=hashes[0]
    )


@pytest.mark.parametrize("role", [None, *ROLES])
def test_each_page_opens_for_its_role_and_those_above(
    guarded: Server, secrets: dict[str, str], lived: Lived, role: str | None
) -> None:
    browser = Browser(create_app(guarded))
    if role:
        browser.signed_in(secrets[role])
    for page, needed in PAGES.items():
        answer = browser.get(where(page, lived))
        if role is None:
            assert (answer.url.path, answer.url.params["next"]) == ("/sign-in", where(page, lived))
        elif ROLES.index(role) < ROLES.index(needed):
            assert answer.status_code == 403 and "takes the role" in answer.text
        else:
            assert answer.status_code == 200, page


FORMS = {
    "/": {"question": "How heavy?"},
    "/answers/{answer}": {"thumb": "up"},
    "/name": {"name": "Mallory"},
    "/review/{decision}/1": {"verdict": "tie"},
    "/review/labels": {"question": "How heavy?", "answer": "4 kg", "document": "birch.md", "style": "factoid"},
    "/review/labels/label-1/withdraw": {},
    "/sign-out": {},
    "/sign-in": {"key": "x"},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_from_elsewhere_is_refused_and_changes_nothing(
    browser: Browser, open_app: FastAPI, lived: Lived, db: Database, form: str, name: str
) -> None:
    answer = browser.named(name).asked().url.path.rsplit("/", 1)[1]
    path = form.format(answer=answer, decision=lived.decision.id)
    elsewhere = Browser(open_app).token()
    for token in ({}, {"token": ""}, {"token": "é"}, {"token": elsewhere}):
        refused = browser.client.post(path, data={"more": "1", **FORMS[form], **token}, follow_redirects=False)
        assert refused.status_code == 403 and "not of this session" in refused.text
    assert told(db, name) == []
    assert name not in {vote.voter for vote in reviews.votes_of(db, PROJECT, lived.decision.id)}
    assert name not in {label.by for label in written_labels.written(db, PROJECT)}


def test_the_cookie_holds_no_key_and_no_script_or_other_site_gets_it(guarded: Server, secrets: dict[str, str]) -> None:
    app = create_app(guarded)
    for url in ("http://there.example", "https://there.example"):
        browser = Browser(app, url)
        cookie = browser.send("/sign-in", {"key": secrets["ask"]}, follow=False).headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert ("Secure" in cookie) == url.startswith("https")
        assert secrets["ask"] not in cookie and secrets["ask"].removeprefix("csift-") not in cookie


def test_a_cookie_of_another_server_or_with_another_key_in_it_is_worth_nothing(guarded: Server, secrets: dict[str, str]) -> None:
    browser = Browser(create_app(guarded))
    operator = guarded.doors.admit(secrets["operate"]).key
    strange = Sessions(PROJECT)
    browser.client.cookies.set(guarded.sessions.cookie, strange.write(strange.begin(operator)))
    assert browser.get("/dashboard").url.path == "/sign-in"
    own = Browser(create_app(guarded)).signed_in(secrets["ask"])
    value = own.client.cookies[guarded.sessions.cookie]
    own.client.cookies.clear()
    own.client.cookies.set(guarded.sessions.cookie, value[:-3] + "abc")
    assert own.get("/").url.path == "/sign-in"


def test_a_revoked_key_ends_its_sessions(guarded: Server, db: Database) -> None:
    secret = keys.create(db, PROJECT, "Eve", "review")[1]
    guarded.doors.look()
    browser = Browser(create_app(guarded)).signed_in(secret)
    token = browser.token("/review/labels")
    keys.revoke(db, PROJECT, "Eve")
    guarded.doors.look()  # what a running server does every two seconds
    assert browser.get("/review").url.path == "/sign-in"
    sent = browser.client.post("/", data={"token": token, "question": "Still here?"})
    assert sent.status_code == 401 and "Sign in" in sent.text


def test_signing_in_leads_back_but_never_to_another_site_and_signing_out_ends(guarded: Server, secrets: dict[str, str]) -> None:
    browser = Browser(create_app(guarded))
    assert browser.send("/sign-in", {"key": "csift-guess", "next": "/review"}).status_code == 401
    assert browser.send("/sign-in", {"key": secrets["review"], "next": "/review"}).url.path == "/review"
    for wanted in ("//evil.example", "https://evil.example", "/\\evil.example"):
        led = browser.send("/sign-in", {"key": secrets["review"], "next": wanted}, follow=False)
        assert led.headers["location"] == "/"
    assert browser.send("/sign-out", {}).url.path == "/sign-in"
    assert browser.get("/review").url.path == "/sign-in"


# --- texts stay texts -----------------------------------------------------------------------------------------------------


def test_a_script_in_corpus_question_or_answer_is_shown_as_text(browser: Browser, lived: Lived, name: str) -> None:
    scripted = next(pair.number for pair in pairs(lived) if SCRIPT in pair.champion.answer)
    browser.named(name)
    shown = [
        browser.asked(SCRIPT),
        browser.get(f"/review/{lived.decision.id}/{scripted}"),
        browser.get(where("/documents/{document}", lived)),
        browser.get(f"/{SCRIPT}"),
        browser.send("/name", {"name": SCRIPT}),
        browser.send("/review/labels", {"question": SCRIPT, "answer": "", "document": "birch.md", "style": "factoid"}),
    ]
    for page in shown:
        assert SCRIPT not in page.text and "<script>" not in page.text
    assert all("&lt;script&gt;" in page.text for page in [*shown[:3], *shown[4:]])


def test_every_page_forbids_what_it_does_not_need(browser: Browser, lived: Lived, name: str) -> None:
    browser.named(name)
    for page in (*PAGES, "/sign-in", "/nowhere"):
        answer = browser.get(where(page, lived))
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-frame-options"] == "DENY" and answer.headers["x-content-type-options"] == "nosniff"
        if not page.startswith("/evidence/"):
            assert "unsafe" not in policy and not re.search(r"<style|style=|<script(?! src)|\son\w+=", answer.text)


def test_a_drift_report_runs_its_scripts_in_a_sandbox_and_no_other_evidence_runs_any(browser: Browser, lived: Lived) -> None:
    for page in (page for page in PAGES if page.startswith("/evidence/")):
        policy = browser.get(where(page, lived)).headers["content-security-policy"]
        assert ("script-src" in policy) == ("sandbox allow-scripts;" in policy) == ("drift" in page)
        assert "allow-same-origin" not in policy


def test_evidence_of_another_project_is_not_shown(served: tuple[Server, Lived], lived: Lived) -> None:
    other = Browser(create_app(replace(served[0], project="t-other"))).named("Ada")
    for page in PAGES:
        if "{" in page or "drift" in page:
            assert other.get(where(page, lived)).status_code == 404, page


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"question": "x"}', "application/json", 415),
        (b"question=%ff", "application/x-www-form-urlencoded", 400),
        (b"question=\xc3\xa9", "application/x-www-form-urlencoded", 400),
        (b"question=a%00b", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a%d=1" % n for n in range(21)), "application/x-www-form-urlencoded", 400),
        (b"x" * 1_000_001, "application/x-www-form-urlencoded", 413),
    ],
)
def test_a_body_that_is_no_form_is_told_on_a_page(browser: Browser, content: bytes, kind: str, status: int) -> None:
    refused = browser.client.post("/", content=content, headers={"Content-Type": kind})
    assert refused.status_code == status and "<!doctype html>" in refused.text


@pytest.mark.parametrize("page", [page for page in PAGES if "{" in page])
@pytest.mark.parametrize("id_", ["none", "a%00b", "%ff", "..%2f..%2fetc", "x" * 3_000, "' OR 1=1--", "{{7*7}}"])
def test_ids_that_there_are_not_are_not_found(browser: Browser, page: str, id_: str) -> None:
    assert browser.named("Ada").get(page.format(**dict.fromkeys(FIELDS, id_))).status_code == 404


@pytest.mark.parametrize("question", ["", "  ", "x" * 8_001])
def test_a_question_has_a_length(browser: Browser, question: str) -> None:
    assert browser.asked(question).status_code == 400


def test_the_api_goes_on_speaking_json_and_does_not_describe_the_pages(browser: Browser) -> None:
    for path in ("/v1/nothing", "/v1/feedback"):
        assert "error" in browser.get(path).json()
    described = browser.get("/openapi.json").json()["paths"]
    assert all(path.startswith("/v1/") or path == "/health" for path in described)


# --- review ---------------------------------------------------------------------------------------------------------------


def pairs(lived: Lived) -> tuple[reviews.Pair, ...]:
    return reviews.load_round(database(), PROJECT, lived.decision.id).pairs


def answers_of(page: Response) -> list[str]:
    return [unescape(text) for text in re.findall(r'<p class="said">(.*?)</p>', page.text)]


def review_all(browser: Browser, lived: Lived, verdict: Callable[[int], str]) -> Response:
    """Votes on every question and follows the server from one to the next."""
    page = browser.get(f"/review/{lived.decision.id}/1")
    while page.url.path != "/review":
        page = browser.send(page.url.path, {"verdict": verdict(int(page.url.path.rsplit("/", 1)[1]))})
    return page


def test_the_order_differs_from_person_to_person_stays_for_each_and_is_kept_with_the_vote(
    open_app: FastAPI, lived: Lived, db: Database
) -> None:
    orders = []
    for person in ("Ann", "Bob"):
        browser = Browser(open_app).named(person)
        order = []
        for pair in pairs(lived):
            shown = answers_of(browser.get(f"/review/{lived.decision.id}/{pair.number}"))
            assert shown == answers_of(browser.get(f"/review/{lived.decision.id}/{pair.number}"))
            assert sorted(shown) == sorted([pair.champion.answer, pair.challenger.answer])
            order.append(shown[0] == pair.champion.answer)
            browser.send(f"/review/{lived.decision.id}/{pair.number}", {"verdict": "first"}, follow=False)
        votes = {vote.item_id: vote for vote in reviews.votes_of(db, PROJECT, lived.decision.id) if vote.voter == person}
        kept = [votes[pair.item_id] for pair in pairs(lived)]
        assert [vote.champion_first for vote in kept] == order
        assert [vote.verdict for vote in kept] == ["champion" if first else "challenger" for first in order]
        assert {vote.challenger_system_id for vote in kept} == {lived.challenger.id}
        assert 0 < sum(order) < len(order)
        orders.append(order)
    assert orders[0] != orders[1]


def test_nothing_on_the_page_tells_whose_an_answer_is(browser: Browser, lived: Lived, name: str) -> None:
    browser.named(name)
    for number in (1, 7):
        page = browser.get(f"/review/{lived.decision.id}/{number}").text.casefold()
        for word in ("champion", "challenger", lived.champion.id, lived.challenger.id, lived.adapter.id):
            assert word not in page


def test_one_vote_a_person_and_question_which_may_be_changed(browser: Browser, lived: Lived, db: Database, name: str) -> None:
    browser.named(name)
    path = f"/review/{lived.decision.id}/2"
    before = answers_of(browser.get(path))
    for verdict in ("tie", "tie", "both bad", "second"):
        browser.send(path, {"verdict": verdict})
    (vote,) = [vote for vote in reviews.votes_of(db, PROJECT, lived.decision.id) if vote.voter == name]
    assert vote.verdict == ("challenger" if vote.champion_first else "champion")
    page = browser.get(path)
    assert answers_of(page) == before and 'value="second" data-keys="2 b" aria-pressed="true"' in page.text


def test_a_question_that_was_voted_on_is_shown_in_the_order_of_the_vote_by_another_server_too(
    served: tuple[Server, Lived], browser: Browser, lived: Lived, db: Database, name: str
) -> None:
    path = f"/review/{lived.decision.id}/4"
    before = answers_of(browser.named(name).get(path))
    browser.send(path, {"verdict": "first"})
    (vote,) = [vote for vote in reviews.votes_of(db, PROJECT, lived.decision.id) if vote.voter == name]

    def draws_otherwise(sessions: Sessions) -> bool:
        return (int(sessions.draw("order", lived.decision.id, vote.item_id, name), 16) % 2 == 0) != vote.champion_first

    other = next(filter(draws_otherwise, (Sessions(PROJECT, str(secret)) for secret in range(99))))
    again = Browser(create_app(replace(served[0], sessions=other))).named(name)
    assert answers_of(again.get(path)) == before


@pytest.mark.parametrize("path", ["/review/decision-none/1", "/review/{id}/0", "/review/{id}/21"])
def test_what_is_not_reviewed_is_not_found(browser: Browser, lived: Lived, name: str, path: str) -> None:
    assert browser.named(name).get(path.format(id=lived.decision.id)).status_code == 404


def test_a_verdict_that_there_is_not_is_refused(browser: Browser, lived: Lived, name: str) -> None:
    for verdict in ("", "champion", "<b>"):
        assert browser.named(name).send(f"/review/{lived.decision.id}/1", {"verdict": verdict}).status_code == 400


def test_who_has_not_finished_is_not_told_what_others_said_and_who_has_is(open_app: FastAPI, lived: Lived) -> None:
    first, second = Browser(open_app).named("Cleo"), Browser(open_app).named("Dan")
    assert "What reviewers say" in review_all(first, lived, lambda number: "tie").text
    second.send(f"/review/{lived.decision.id}/1", {"verdict": "tie"})
    page = second.get("/review").text
    assert "1 of 20 reviewed by you" in page and "What reviewers say" not in page
    assert "Reviewers with each other" in review_all(second, lived, lambda number: "tie").text


def test_what_people_contradict_is_settled_by_a_reviewer_and_by_nobody_who_only_asks(
    guarded: Server, secrets: dict[str, str], db: Database, name: str
) -> None:
    question = f"How heavy is {name}, {SCRIPT}?"
    said = {"question": question, "answer": "29 kg", "comment": SCRIPT}
    feedback.save(db, PROJECT, [FeedbackRecord.of(**said, thumb=thumb, rater=thumb) for thumb in ("up", "down")])
    (dispute,) = [one for one in feedback.disputes(db, PROJECT) if one.question == question]
    app = create_app(guarded)
    reviewer = Browser(app).signed_in(secrets["review"])
    assert "people say opposite things" in reviewer.get("/review").text
    page = reviewer.get("/review/feedback").text
    assert question in unescape(page) and SCRIPT not in page and "1 called it good" in page
    where = f"/review/feedback/{dispute.id}"
    assert reviewer.send(where, {"verdict": "maybe"}).status_code == 400
    assert reviewer.send("/review/feedback/dispute-none", {"verdict": "good"}).status_code == 404
    assert 'value="bad" aria-pressed="true"' in reviewer.send(where, {"verdict": "bad"}).text
    assert feedback.settlements(db, PROJECT)[dispute.id] == "bad"
    assert Browser(app).signed_in(secrets["ask"]).send(where, {"verdict": "good"}).status_code == 403
    assert feedback.settlements(db, PROJECT)[dispute.id] == "bad"


# --- labels ---------------------------------------------------------------------------------------------------------------


def test_a_label_is_written_about_a_held_out_document_and_withdrawn_by_who_wrote_it(
    guarded: Server, secrets: dict[str, str], db: Database
) -> None:
    app = create_app(guarded)
    writer = Browser(app).signed_in(secrets["review"])
    assert "The Birch pump weighs 4 kg" in writer.get("/review/labels?document=birch.md").text
    assert "Alder" not in writer.get("/review/labels?document=alder.md").text  # trained on
    label = {"question": "What does the Birch weigh?", "answer": " 4 kg ", "document": "birch.md", "style": "factoid"}
    assert "What does the Birch weigh?" in writer.send("/review/labels", label).text
    twin = writer.send("/review/labels", {**label, "question": "what does the birch weigh"})
    assert twin.status_code == 400 and "asked of birch.md already" in twin.text
    (kept,) = [one for one in written_labels.written(db, PROJECT) if one.document_id == "birch.md"]
    assert (kept.answer, kept.by) == ("4 kg", guarded.doors.admit(secrets["review"]).key)

    other = keys.create(db, PROJECT, "Fay", "review")[1]
    guarded.doors.look()
    withdrawn = f"/review/labels/{kept.id}/withdraw"
    assert Browser(app).signed_in(other).send(withdrawn, {}).status_code == 403
    assert writer.send(withdrawn, {}).status_code == 200
    assert kept.id not in {one.id for one in written_labels.written(db, PROJECT)}


def test_a_defect_is_told_to_people_as_a_page_and_to_programs_as_json(
    served: tuple[Server, Lived], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object, **named: object) -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("csift.serving.pages.labelling.written_labels.held_out", broken)
    monkeypatch.setattr("csift.serving.asking.answer", broken)
    browser = Browser(create_app(served[0]))
    browser.client = TestClient(browser.client.app, base_url="http://localhost", raise_server_exceptions=False)
    page = browser.get("/review/labels")
    assert page.status_code == 500 and "<main" in page.text and "of ours" not in page.text
    asked = {"model": PROJECT, "messages": [{"role": "user", "content": "How heavy?"}]}
    told = browser.client.post("/v1/chat/completions", json=asked)
    assert told.status_code == 500 and told.json()["error"]["code"] == "internal_error" and "of ours" not in told.text


# --- dashboard and lineage ------------------------------------------------------------------------------------------------


def test_the_dashboard_leads_from_numbers_to_their_evidence(browser: Browser, lived: Lived) -> None:
    page = browser.get("/dashboard").text
    for number, link in (
        ("72.0%", f"/evidence/decisions/{lived.decision.id}"),
        ("drift", "/evidence/drift/drift-11-t-pages"),
        ("run report", f"/evidence/reports/{lived.cycle_id}"),
        (lived.adapter.id, f"/lineage/{lived.adapter.id}"),
    ):
        assert f'<a href="{link}">{number}</a>' in page
        assert browser.get(link).status_code == 200
    assert f'<a href="{PREFECT}/11">Prefect run</a>' in page
    assert page.count("<svg") == 6  # three plots, for a screen and for a telephone
    assert "71.0% (59.0 to 82.0)" in page  # of who was promoted then
    assert "2 of them promotions" in page and "12 decisions in life 1" in page


def test_who_reviews_sees_the_numbers_and_not_what_would_tell_whose_answers_are_whose(
    guarded: Server, secrets: dict[str, str]
) -> None:
    page = Browser(create_app(guarded)).signed_in(secrets["review"]).get("/dashboard").text
    assert "72.0%" in page and "/evidence/" not in page and "/lineage/" not in page and PREFECT not in page


def test_the_lineage_leads_from_documents_to_the_decision(browser: Browser, lived: Lived) -> None:
    page = browser.get(f"/lineage/{lived.adapter.id}").text
    links = re.findall(r'href="(/[^"#]+)"', page.partition("<main")[2])
    assert {link.split("/")[1] for link in links} == {"lineage", "documents", "evidence"}
    for link in links:
        assert browser.get(link).status_code == 200
    examples = browser.get(f"/lineage/{lived.adapter.id}/examples").text
    assert all(label.question in unescape(examples) for label in lived.labels.of_split("train"))
    assert browser.get(f"/lineage/{lived.adapter.id}/examples?page=2").status_code == 404
    assert browser.get("/lineage/adapter-none").status_code == 404


def test_a_project_without_a_past_has_pages_too(db: Database, served: tuple[Server, Lived], tmp_path: Path) -> None:
    browser = Browser(create_app(replace(served[0], project="t-new"))).named("Gil")
    for path, says in (
        ("/review", "Nothing was decided yet"),
        ("/review/labels", "No document is held out"),
        ("/dashboard", "No champion yet"),
    ):
        page = browser.get(path)
        assert page.status_code == 200 and says in page.text
