"""From the bytes of one file to its text: plain text, HTML, PDF, Word. Headings become lines that open with #, so that chunks
get titles."""

import logging
import re
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from io import BytesIO
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from csift.corpus.document import NO_TEXT, Unusable, clean

MAX_UNPACKED = 100 * 2**20  # bytes; what a .docx may hold when it is unpacked
OWN_VERSION = 2  # raise when csift itself makes other documents or labels of the same bytes

HEADINGS = {f"h{level}": level for level in range(1, 7)}
UNSEEN = ["script", "style", "noscript", "template", "svg", "iframe", "object", "canvas", "select", "button", "dialog"]
BLOCKS = [
    *("address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl", "dt", "figcaption", "figure", "footer"),
    *("form", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "ul"),
]
ITEMS = {"li", "td", "th"}
HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


def parse(name: str, content: bytes) -> str:
    """The cleaned text of a file whose ending is in PARSERS.

    Raises:
        Unusable: the file is broken, locked, empty, too large once unpacked, or holds no text.
    """
    text = clean(PARSERS[suffix(name)](content))
    if not text:
        raise Unusable("is empty; fill it or remove it")
    return text


def suffix(name: str) -> str:
    """The ending of a file's name, in lower case."""
    return PurePosixPath(name).suffix.lower()


@cache
def parser_version(ending: str) -> str:
    """What the text of such a file depends on beside its bytes."""
    return ",".join([str(OWN_VERSION), *(f"{library}-{version(library)}" for library in LIBRARIES.get(ending, ()))])


def plain(content: bytes) -> str:
    """UTF-8 text. Raises Unusable when it is binary or in another encoding; names the byte."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unusable("is UTF-16, not UTF-8; convert it, for instance with iconv")
    if b"\x00" in content:
        raise Unusable("is a binary file, not text; convert it or remove it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable(f"is not UTF-8 (byte {error.start}); convert it, for instance with iconv") from None


def html(content: bytes) -> str:
    """What a reader of the page sees; scripts, styles and hidden parts are left out. The page says its own encoding."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(content, "lxml")
    if soup.contains_replacement_characters:
        raise Unusable("is not in the encoding that it names; convert it to UTF-8")
    title = " ".join(soup.title.get_text(" ").split()) if soup.title else ""
    for tag in soup.find_all([*UNSEEN, "head"]) + [tag for tag in soup.find_all(True) if _hidden(tag)]:
        if not tag.decomposed:
            tag.decompose()
    if not soup.get_text(strip=True):
        raise Unusable("holds no text beside scripts and hidden parts; save the page as it is shown")
    text = "\n".join(line.strip(" \t") for line in "".join(_shown(soup)).split("\n"))
    return NO_TEXT.sub("", f"# {title}\n\n{text}" if title and soup.find("h1") is None else text)


def _hidden(tag: Any) -> bool:
    return tag.has_attr("hidden") or tag.get("aria-hidden") == "true" or bool(HIDDEN.search(str(tag.get("style", ""))))


def _shown(soup: Any) -> Iterator[str]:
    """The words of a page, with line ends and heading marks in place of tags. In one go, without recursion: pages may be nested
    as deeply and be as long as they like."""
    from bs4 import CData, NavigableString, Tag

    left: list[tuple[Any, bool, bool]] = [(soup, False, False)]  # with whether it is in an item or cell, and in <pre>
    while left:
        node, inside, as_is = left.pop()
        if type(node) is str:
            yield node
        elif type(node) in {NavigableString, CData}:
            yield str(node) if as_is else re.sub(r"\s+", " ", node)  # as browsers show it
        elif isinstance(node, Tag) and node.name in HEADINGS:
            words = " ".join(node.get_text(" ").split())
            yield f"\n\n{'#' * HEADINGS[node.name]} {words}\n\n" if words else "\n\n"
        elif isinstance(node, Tag):
            before, after = _around(node, inside)
            yield before
            left.append((after, inside, as_is))
            inside, as_is = inside or node.name in ITEMS, as_is or node.name == "pre"
            left.extend((child, inside, as_is) for child in reversed(node.contents))


def _around(tag: Any, inside: bool) -> tuple[str, str]:
    """What stands for a tag before and after its words; `inside` an item or a cell there are no empty lines."""
    if tag.name == "br":
        return "\n", ""
    if tag.name == "li":
        return "\n- ", ""
    if tag.name in {"td", "th"}:
        return "", " | " if tag.find_next_sibling(["td", "th"]) else ""
    if tag.name == "tr":
        return "", "\n"
    gap = "" if tag.name not in BLOCKS else "\n" if inside else "\n\n"
    return gap, gap


def pdf(content: bytes) -> str:
    """The text of a PDF, page after page, as pypdf reads it. Raises Unusable when it is locked, broken or scanned."""
    from pypdf.errors import DependencyError

    try:
        text = "\n".join(_pages(content))
    except Unusable:
        raise
    except DependencyError:
        raise Unusable("is an encrypted PDF; save it without encryption") from None
    except Exception as error:  # noqa: BLE001 - on broken files pypdf raises its own and whatever Python's lookups raise
        raise Unusable(f"is a broken PDF ({_short(error)}); print it to a new PDF") from None
    if not text.strip():
        raise Unusable("is a PDF without text, perhaps scanned; run OCR over it first")
    return NO_TEXT.sub("", text)


def _pages(content: bytes) -> Iterator[str]:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it writes a line for each fault that it mends
    reader = PdfReader(BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):  # many are locked against printing only, with an empty password
        raise Unusable("is an encrypted PDF; save it without its password")
    yield from (page.extract_text() for page in reader.pages)


def docx(content: bytes) -> str:
    """Paragraphs, lists and tables of a Word document in reading order. Raises Unusable when it is broken or a zip bomb."""
    from docx import Document as Word

    if content.startswith(b"\xd0\xcf\x11\xe0"):  # the container of old Word files, and of locked new ones
        raise Unusable("is an old or password-protected Word file; save it as an open .docx")
    try:
        _check_unpacked(content)
        blocks = list(Word(BytesIO(content)).iter_inner_content())
        text = "\n\n".join("\n".join(part) for _, part in groupby((_block(block) for block in blocks), _is_item))
    except Unusable:
        raise
    except Exception as error:  # noqa: BLE001 - zipfile, lxml and python-docx each have their own kinds
        raise Unusable(f"is a broken .docx ({_short(error)}); save it again in Word") from None
    if not text.strip():
        raise Unusable("is a .docx without text; fill it or remove it")
    return NO_TEXT.sub("", text)


def _check_unpacked(content: bytes) -> None:
    """Reads every member through, because the sizes that a zip declares can lie. At most a block is in memory."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        total = sum(member.file_size for member in archive.infolist())
        if total <= MAX_UNPACKED:
            total = sum(_unpacked(archive, member) for member in archive.infolist())
    if total > MAX_UNPACKED:
        raise Unusable(f"unpacks to more than {MAX_UNPACKED // 2**20} MB; it is damaged or a zip bomb")


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    with archive.open(member) as stream:
        return sum(len(block) for block in iter(lambda: stream.read(2**16), b""))


def _block(block: Any) -> str:
    if not hasattr(block, "text"):  # a table
        return "\n".join(_row(row) for row in block.rows)
    style = (block.style.name if block.style is not None else None) or ""
    words = block.text.strip()
    if words and (style == "Title" or re.fullmatch(r"Heading [1-9]", style)):
        level = 1 if style == "Title" else min(int(style[-1]), 6)
        return f"{'#' * level} {' '.join(words.split())}"
    return f"- {words}" if words and style.startswith("List") else words


def _row(row: Any) -> str:
    """Cells beside each other; a merged cell is there once."""
    once = [next(cells) for _, cells in groupby(row.cells, key=lambda cell: cell._tc)]
    return " | ".join(" ".join(cell.text.split()) for cell in once)


def _is_item(text: str) -> bool | str:
    return text.startswith("- ") or text


def _short(error: Exception) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return "".join(first.split("\x00"))[:80]


PARSERS: dict[str, Callable[[bytes], str]] = {
    ".txt": plain,
    ".md": plain,
    ".html": html,
    ".htm": html,
    ".pdf": pdf,
    ".docx": docx,
}
LIBRARIES = {
    ".html": ("beautifulsoup4", "lxml"),
    ".htm": ("beautifulsoup4", "lxml"),
    ".pdf": ("pypdf",),
    ".docx": ("python-docx", "lxml"),
}
