"""The text of one file of each format, and what is said of a file that has none."""

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from docx import Document as Word
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from csift.corpus.document import Unusable
from csift.corpus.parsers import MAX_UNPACKED, PARSERS, parse
from csift.corpus.tables import MAX_LISTED, Parsed, parse_csv, parse_jsonl


def pdf_of(*pages: str) -> bytes:
    """A PDF with a page for each text; a page without one is blank, as of a scanner."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in pages:
        lines = b" T* ".join(b"(" + line.encode("latin-1") + b") Tj" for line in text.split("\n"))
        stream = b"BT /F1 12 Tf 14 TL 72 720 Td " + lines + b" ET" if text else b""
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        objects.append(page % len(objects))
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), b" ".join(kids))
    made, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (size, len(made))
    return made + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table) + trailer


def endless_pdf() -> bytes:
    """A page whose contents draw one word a million times: small as a file, hours of reading."""
    drawn = zlib.compress(b"BT /F1 12 Tf 72 720 Td " + b"(word) Tj " * 3_000_000 + b" ET", 9)
    page = pdf_of("PLACE")
    begin, end = page.index(b"<< /Length"), page.index(b"endstream")
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\n" % (len(drawn), drawn)
    return page[:begin] + stream + page[end:]


def encrypted_pdf(password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_of("Secret terms."))))
    writer.encrypt(password, "owner", algorithm="AES-256")
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def docx_of(fill: Callable[..., None]) -> bytes:
    document = Word()
    fill(document)
    made = io.BytesIO()
    document.save(made)
    return made.getvalue()


def zip_bomb(size: int) -> bytes:
    """A .docx whose body unpacks to so many zeros."""
    made = io.BytesIO(docx_of(lambda document: document.add_paragraph("Harmless.")))
    with (
        zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("word/media/image1.png", "w") as member,
    ):
        block = b"\0" * 2**20
        for _ in range(size // len(block)):
            member.write(block)
    return made.getvalue()


# --- what is read ---------------------------------------------------------------------------------------------------------


def test_text_loses_its_mark_its_windows_lines_and_needless_space() -> None:
    assert parse("a.TXT", b"\xef\xbb\xbfone  \r\n\r\n\r\n\r\ntwo\t\n") == "one\n\ntwo"


def test_a_page_is_read_as_it_is_shown() -> None:
    page = """<html><head><title>Orrin</title><style>p { color: red }</style><script>var a = "stolen";</script></head>
    <body><h1>Orrin <em>pump</em></h1><p>It   weighs
    29&nbsp;kg.<br>It is blue.</p><div hidden>hidden one</div><p style="DISPLAY : none">hidden two</p>
    <span aria-hidden="true">hidden three</span><!-- a comment --><noscript>no script</noscript>
    <h3>Parts</h3><ul><li>pipe</li><li>valve <b>A</b></li></ul>
    <table><tr><th>Part</th><th>Weight</th></tr><tr><td>pipe</td><td>2 kg</td></tr></table>
    <pre>a
  b</pre></body></html>"""
    assert parse("a.html", page.encode()) == (
        "# Orrin pump\n\nIt weighs 29 kg.\nIt is blue.\n\n### Parts\n\n- pipe\n- valve A\n\nPart | Weight\npipe | 2 kg\n\na\nb"
    )


def test_what_a_page_says_of_its_own_kind_is_no_text() -> None:
    assert parse("a.html", b"<!DOCTYPE html><!-- draft --><p>Blue.") == "Blue."


def test_a_page_without_a_heading_has_its_title_as_one() -> None:
    assert parse("a.htm", b"<title>Orrin\n pump</title><p>Blue.") == "# Orrin pump\n\nBlue."


def test_a_page_names_its_own_encoding() -> None:
    assert parse("a.html", '<meta charset="iso-8859-1"><p>na\u00efve'.encode("latin-1")) == "na\u00efve"


def test_pages_of_a_pdf_follow_each_other() -> None:
    assert (
        parse("a.pdf", pdf_of("First page.\nIts second line.", "", "Third page."))
        == "First page.\nIts second line.\n\nThird page."
    )


def test_a_pdf_that_is_locked_against_printing_only_is_read() -> None:
    assert parse("a.pdf", encrypted_pdf("")) == "Secret terms."


def test_a_word_document_keeps_headings_lists_and_tables_in_their_order() -> None:
    def fill(document: Any) -> None:
        document.add_heading("Orrin", 0)
        document.add_heading("Safety", 2)
        document.add_paragraph("Hot tip.")
        table = document.add_table(2, 2)
        for cell, text in zip((cell for row in table.rows for cell in row.cells), ("Part", "Weight", "0", "0"), strict=True):
            cell.text = text
        document.add_paragraph("pipe", "List Bullet")
        document.add_paragraph("valve", "List Bullet")
        document.add_paragraph("The end.")

    assert parse("a.docx", docx_of(fill)) == (
        "# Orrin\n\n## Safety\n\nHot tip.\n\nPart | Weight\n0 | 0\n\n- pipe\n- valve\n\nThe end."
    )


# --- what is not ----------------------------------------------------------------------------------------------------------

WHOLE = pdf_of("A page.")
BAD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "binary": ("x.txt", lambda: b"MZ\x00\x01", "is a binary file, not text; convert it"),
    "UTF-16": ("x.txt", lambda: "text".encode("utf-16"), "is UTF-16, not UTF-8"),
    "not UTF-8": ("x.md", lambda: "naïve".encode("latin-1"), "is not UTF-8 (byte 2); convert it, for instance with iconv"),
    "empty": ("x.md", lambda: b"", "is empty; fill it or remove it"),
    "only spaces": ("x.txt", lambda: b" \n\t\n", "is empty; fill it or remove it"),
    "only scripts": ("x.html", lambda: b"<body><script>document.write('a')</script><p hidden>b</p>", "no text beside scripts"),
    "no page": ("x.html", lambda: b"", "no text beside scripts"),
    "no PDF": ("x.pdf", lambda: b"not a PDF at all", "is a broken PDF"),
    "empty PDF": ("x.pdf", lambda: b"", "is a broken PDF"),
    "cut PDF": ("x.pdf", lambda: WHOLE[: len(WHOLE) // 3], "is a broken PDF"),
    "locked PDF": ("x.pdf", lambda: encrypted_pdf("hunter2"), "is an encrypted PDF; save it without its password"),
    "scanned PDF": ("x.pdf", lambda: pdf_of("", ""), "is a PDF without text, perhaps scanned; run OCR over it first"),
    "no zip": ("x.docx", lambda: b"PK\x03\x04 and no more", "is a broken .docx"),
    "another zip": ("x.docx", lambda: _zip({"a.txt": b"a"}), "is a broken .docx"),
    "old Word": ("x.docx", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "an old or password-protected Word file"),
    "no words": ("x.docx", lambda: docx_of(lambda document: None), "is a .docx without text"),
    "zip bomb": ("x.docx", lambda: zip_bomb(2**30), "unpacks to more than 100 MB; it is damaged or a zip bomb"),
}


def _zip(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


@pytest.mark.parametrize("case", BAD)
def test_a_file_without_usable_text_is_told_in_one_line(case: str) -> None:
    name, make, words = BAD[case]
    with pytest.raises(Unusable) as caught:
        parse(name, make())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_zip_that_lies_about_its_size_is_broken() -> None:
    content = bytearray(zip_bomb(MAX_UNPACKED + 2**20))
    true = (MAX_UNPACKED + 2**20).to_bytes(4, "little")
    assert content.count(true) >= 1
    with pytest.raises(Unusable, match="broken"):
        parse("x.docx", bytes(content.replace(true, (1000).to_bytes(4, "little"))))


def test_entities_of_a_word_document_are_not_expanded() -> None:
    bomb = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
    body = f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY e0 "boom">{bomb}]>'
    good = docx_of(lambda document: document.add_paragraph("PLACE"))
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(made, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            if member.filename == "word/document.xml":
                content = body.encode() + content.split(b"?>", 1)[1].replace(b"PLACE", b"&e9;")
            target.writestr(member.filename, content)
    with pytest.raises(Unusable, match=r"docx"):
        parse("x.docx", made.getvalue())


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=400), st.sampled_from([b"", b"%PDF-1.4\n", b"PK\x03\x04", b"<p>"]))
def test_no_bytes_whatever_end_the_ingest(ending: str, content: bytes, start: bytes) -> None:
    try:
        assert parse(f"x{ending}", start + content).strip()
    except Unusable as problem:
        assert "\n" not in str(problem)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, len(WHOLE)), st.binary(max_size=20))
def test_nor_does_a_damaged_pdf(place: int, noise: bytes) -> None:
    try:
        assert parse("x.pdf", WHOLE[:place] + noise + WHOLE[place + len(noise) :])
    except Unusable as problem:
        assert "\n" not in str(problem)


# --- rows -----------------------------------------------------------------------------------------------------------------


def texts(parsed: Parsed) -> dict[str, str]:
    return {document.id: document.text for document in parsed.documents}


def test_json_lines_are_documents() -> None:
    rows = [{"id": "a", "text": "one\u2028two\u0085three\u000bfour"}, {"id": 7, "text": "second row", "title": "Seven"}]
    parsed = parse_jsonl("r.jsonl", "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode())
    assert texts(parsed) == {"r.jsonl#a": "one\u2028two\u0085three\u000bfour", "r.jsonl#7": "# Seven\n\nsecond row"}
    assert (parsed.labels, parsed.skipped) == ([], [])


@pytest.mark.parametrize("key", ["document", "context"])
def test_questions_on_one_text_share_its_document(key: str) -> None:
    rows = [
        {"id": "q1", key: "It weighs 29 kg.", "question": "How heavy?", "answer": "29 kg"},
        {"id": "q2", key: "It weighs 29 kg.", "question": "Which colour?", "answer": None},
        {"id": "q3", key: "It is blue.", "question": "Which colour?", "answer": "blue"},
    ]
    parsed = parse_jsonl("r.jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert texts(parsed) == {"r.jsonl#q1": "It weighs 29 kg.", "r.jsonl#q3": "It is blue."}
    assert [(label.document_id, label.question, label.answer) for label in parsed.labels] == [
        ("r.jsonl#q1", "How heavy?", "29 kg"),
        ("r.jsonl#q1", "Which colour?", None),
        ("r.jsonl#q3", "Which colour?", "blue"),
    ]
    assert len({label.id for label in parsed.labels}) == 3


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_holds_documents_and_questions(delimiter: str) -> None:
    rows = [
        ["Title", "Document", "Question", "Answer", "ID", "More"],
        ["Orrin", '"It weighs 29 kg,\nor ""so""."', "How heavy?", "29 kg", "orrin", "x"],
        ["Orrin", '"It weighs 29 kg,\nor ""so""."', "Which colour?", "", "other", ""],
        ["", "Plain.", "", "", "", ""],
    ]
    parsed = parse_csv("t.csv", "\r\n".join(delimiter.join(row) for row in rows).encode("utf-8-sig"))
    (named, text), (unnamed, plain) = texts(parsed).items()
    assert (named, text) == ("t.csv#orrin", '# Orrin\n\nIt weighs 29 kg,\nor "so".')
    assert unnamed.startswith("t.csv#") and plain == "Plain."
    assert [(label.question, label.answer) for label in parsed.labels] == [("How heavy?", "29 kg"), ("Which colour?", None)]
    assert parsed.skipped == []


def test_a_cell_may_hold_a_long_document() -> None:
    parsed = parse_csv("t.csv", ("document\n" + "long " * 100_000).encode())
    assert len(parsed.documents[0].text) == 499_999


def test_rows_put_before_others_leave_ids_as_they_are() -> None:
    before = parse_csv("t.csv", b"document,question,answer\nOne.,What?,one\n")
    after = parse_csv("t.csv", b"document,question,answer\nZero.,Why?,zero\nOne.,What?,one\n")
    assert before.documents[0].id in texts(after)
    assert before.labels[0].id in {label.id for label in after.labels}


BAD_ROWS = {
    "not JSON": ('{"id":', "is not JSON"),
    "no text": ('{"id": "a"}', "is not a document"),
    "no id": ('{"text": "a"}', "is not a document"),
    "text is null": ('{"id": "a", "text": null}', "is not a document"),
    "a list": ("[1]", "is not a document"),
    "no answer": ('{"context": "a", "question": "b"}', "is not a document"),
    "an empty row": ('{"id": "a", "text": " "}', "is empty"),
    "NUL": (r'{"id": "a", "text": "b\u0000"}', "not text"),
    "half a pair": (r'{"id": "a", "text": "\ud83d"}', "not text"),
    "half a pair in an answer": (r'{"context": "a", "question": "b", "answer": "\ud83d"}', "not text"),
    "same id": ('{"id": "fine", "text": "c"}', "repeats the id r.jsonl#fine; give each document its own"),
    "same text": ('{"id": "other", "text": "Fine."}', "repeats the text of r.jsonl#fine"),
    "a nest": ("[" * 100_000, "is not JSON"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_listed_and_the_others_go_on(case: str) -> None:
    line, words = BAD_ROWS[case]
    parsed = parse_jsonl("r.jsonl", f'{{"id": "fine", "text": "Fine."}}\n{line}\n{{"id": "too", "text": "Too."}}'.encode())
    assert list(texts(parsed)) == ["r.jsonl#fine", "r.jsonl#too"]
    assert [(entry.document_id, words in entry.reason) for entry in parsed.skipped] == [("r.jsonl:2", True)], parsed.skipped


def test_thousands_of_bad_rows_are_not_listed_one_by_one() -> None:
    parsed = parse_jsonl("r.jsonl", b'{"id": 1, "text": "Fine."}\n' + b"{}\n" * 5000)
    assert len(parsed.skipped) == MAX_LISTED + 1
    assert "4899 more rows" in parsed.skipped[-1].reason


BAD_TABLES = {
    "other columns": (b"name,text\na,b\n", "has no column `document` with the texts, only name, text; rename"),
    "empty": (b"", "is empty"),
    "too many cells": (b"document\nIt is blue, red\n", "more cells in line 2 than columns; put texts with commas in quotes"),
    "an open quote": (b'document\n"It is blue\n', "is no CSV at line"),
    "not UTF-8": (b"document\n\xff\n", "is not UTF-8 (byte 9)"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_table_that_cannot_be_used_is_told_in_one_line(case: str) -> None:
    content, words = BAD_TABLES[case]
    with pytest.raises(Unusable) as caught:
        parse_csv("t.csv", content)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
