"""CUAD's own layout (Hendrycks et al., CUAD: An Expert-Annotated NLP Dataset for Legal Contract Review, NeurIPS 2021): a JSON in
SQuAD 2.0's form, or full_contract_txt/*.txt, with master_clauses.csv beside either.

A contract is one document, named by its title, which is also the stem of its .txt. Where several files hold it, the JSON's text
counts. Each of the 41 categories is a question; the lawyers' short answer of the CSV goes before the JSON's spans.
"""

import json
import re
from typing import Any, Protocol, TypeVar

from csift.corpus.document import NO_TEXT, Document, Unusable, clean
from csift.corpus.parsers import parse, plain, suffix
from csift.corpus.tables import Parsed, csv_table, listed
from csift.schemas import SkippedDocument, SourceLabel, Style


class Named(Protocol):
    """Whatever has a document's id."""

    @property
    def id(self) -> str: ...


D = TypeVar("D", bound=Named)
DETAILS = re.compile(r"Details:\s*(.+)$", re.DOTALL)
ANSWER = re.compile(r"\s*-\s*answer$", re.IGNORECASE)
YES_NO = re.compile(r"(?:is|are|does|do|can|may|has|have|will)\b", re.IGNORECASE)
OPEN_DATE = re.compile(r"[\[\]/\s]*")  # "[]/[]/[]": the annotators' date of which nothing is known


def reads(name: str) -> bool:
    """Whether a file of the folder belongs to the layout; its PDFs and spreadsheets hold the same again."""
    file = name.rpartition("/")[2]
    return suffix(name) == ".json" or file == "master_clauses.csv" or (suffix(name) == ".txt" and "README" not in file)


def parse_cuad(name: str, content: bytes) -> Parsed:
    """The contracts or the labels of one of CUAD's files.

    Raises:
        Unusable: it is not what CUAD has under that name.
    """
    if suffix(name) == ".json":
        return _squad(name, content)
    if suffix(name) == ".csv":
        return _clauses(name, content)
    return Parsed(documents=[Document(stem(name), parse(name, content))])


def stem(name: str) -> str:
    """The contract's name: that of its file without folder and ending."""
    return re.sub(r"\.(txt|pdf)\s*$", "", name.rpartition("/")[2], flags=re.IGNORECASE).strip()


def same(name: str) -> str:
    """Equal for the spellings of one contract: CUAD's files differ in spaces, case and signs."""
    return re.sub(r"[\W_]+", "", stem(name)).casefold()


def _squad(name: str, content: bytes) -> Parsed:
    parsed = Parsed()
    try:
        contracts = json.loads(plain(content))["data"]
        for contract in contracts:
            _contract(parsed, name, contract)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unusable(
            'is not CUAD\'s JSON; it has {"data": [{"title": ..., "paragraphs": [{"context": ..., "qas": ...}]}]}'
        ) from None
    return parsed


def _contract(parsed: Parsed, name: str, contract: dict[str, Any]) -> None:
    title = stem(contract["title"])
    text = clean("\n\n".join(paragraph["context"] for paragraph in contract["paragraphs"]))
    if not text or NO_TEXT.search(text):
        reason = "holds NUL or half a surrogate pair, which are not text" if text else "is empty; fill it or remove it"
        parsed.skipped.append(SkippedDocument(document_id=f"{name}#{title}", reason=reason))
        return
    parsed.documents.append(Document(title, text))
    for paragraph in contract["paragraphs"]:
        for asked in paragraph["qas"]:
            category = asked["id"].rpartition("__")[2]
            spans = dict.fromkeys(" ".join(answer["text"].split()) for answer in asked["answers"])
            parsed.labels.append(_label(title, category, _question(category, asked["question"]), "; ".join(spans) or None))


def _question(category: str, asked: str) -> str:
    """CUAD asks to highlight parts and explains what for; the explanation is the question where it is one."""
    found = DETAILS.search(asked)
    if found is None:
        return " ".join(asked.split())
    details = " ".join(found[1].split())
    return details if "?" in details else f"What does the contract give as {category} ({details[:1].lower()}{details[1:]})?"


def _label(title: str, category: str, question: str, answer: str | None, style: Style | None = None) -> SourceLabel:
    return SourceLabel(id=f"{title}__{category}", document_id=title, question=question, answer=answer, style=style)


def _clauses(name: str, content: bytes) -> Parsed:
    """Columns `Filename`, and for each category `<Category>` with spans and `<Category>-Answer` with the short answer."""
    columns, records = csv_table(content)
    categories = [column for column in columns if ANSWER.search(column)]
    if "filename" not in {column.lower() for column in columns} or not categories:
        raise Unusable(f"has no columns `Filename` and `<Category>-Answer`, only {listed(columns)}; take CUAD's own file")
    parsed = Parsed()
    for line, row in records:
        title = stem(row["filename"])
        if not title:
            parsed.skipped.append(SkippedDocument(document_id=f"{name}:{line}", reason="names no file; fill its Filename"))
            continue
        for column in categories:
            given = " ".join(row.get(column.lower(), "").split())
            parsed.labels.append(_from_column(title, ANSWER.sub("", column), None if OPEN_DATE.fullmatch(given) else given))
    return parsed


def _from_column(title: str, category: str, answer: str | None) -> SourceLabel:
    yes_no = answer is not None and answer.casefold() in {"yes", "no"}
    question = f"Does the contract have a clause on {category}?" if yes_no else f"What does the contract give as {category}?"
    return _label(title, category, question, answer, "yes_no" if yes_no else None)


def join_documents(documents: list[tuple[str, D]]) -> list[D]:
    """One of each contract, out of (file, document): that of a JSON before that of a .txt."""
    chosen: dict[str, D] = {}
    for _, document in sorted(documents, key=lambda pair: suffix(pair[0]) != ".json"):
        chosen.setdefault(same(document.id), document)
    return list(chosen.values())


def join_labels(from_json: list[SourceLabel], from_csv: list[SourceLabel], titles: list[str]) -> list[SourceLabel]:
    """One label a contract and category: the JSON's question with the CSV's answer, where each is there."""
    names = {same(title): title for title in titles}
    joined = {_place(label): label for label in from_json}
    for label in from_csv:
        asked = joined.get(_place(label))
        if asked is None:
            title = names.get(same(label.document_id), label.document_id)
            joined[_place(label)] = label.model_copy(update={"id": f"{title}__{_category(label)}", "document_id": title})
        elif label.answer is not None and (label.style != "yes_no" or YES_NO.match(asked.question)):
            joined[_place(label)] = asked.model_copy(update={"answer": label.answer, "style": label.style})
    return list(joined.values())


def _category(label: SourceLabel) -> str:
    return label.id.rpartition("__")[2]


def _place(label: SourceLabel) -> tuple[str, str]:
    return same(label.document_id), re.sub(r"[\W_]+", "", _category(label)).casefold()
