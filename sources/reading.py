"""From bytes to text with true line numbers, whatever editor wrote them. Pure."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from models.board import Finding
from models.enums import Severity
from models.errors import SourceError
from models.words import quoted
from sources.encodings import guess, wide_encoding

DEFAULT_MAX_BYTES = 20 * 1024 * 1024
MOST_LINES = 20
"""Line numbers that one finding lists."""


@dataclass(slots=True)
class Decoded:
    """`text` has "\\n" line ends only, no byte order mark and no NUL."""

    text: str
    encoding: str
    findings: list[Finding] = field(default_factory=list)


_MARKS = (  # the longer first: the UTF-32 mark begins with the UTF-16 one
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = (
    b"%PDF-",
    b"PK\x03\x04",
    b"\x89PNG",
    b"GIF8",
    b"\xff\xd8\xff",
    b"\x1f\x8b",
    b"\x7fELF",
    b"SQLite format 3",
)
_SNIFF = 8192  # git's own window for "is this binary?"
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
_MARKER = re.compile(r"\s*(?:(?:[-*+•–]|\d{1,9}[.)])\s+)?(?:[\[［].?[\]］]\s*)?")


def decode(data: bytes, source: str, max_bytes: int = DEFAULT_MAX_BYTES) -> Decoded:
    """Text of a board, whatever editor wrote it.

    UTF-8 with or without byte order mark; UTF-16 and UTF-32 with one; else, where it is certain, UTF-16 without one or
    the encoding of a language (sources.encodings), with the finding `encoding_fallback`; else UTF-8 with replacement
    characters (finding `encoding_loss`). Raises SourceError for more than `max_bytes` bytes and for a file that is
    not text.
    """
    if len(data) > max_bytes:
        raise too_large(source, len(data), max_bytes)
    findings: list[Finding] = []
    encoding = declared_encoding(data)
    if encoding == "utf-8" and b"\x00" in data[:_SNIFF] and (wide := wide_encoding(data)) is not None:
        encoding = wide
        message = f"{wide} without a byte order mark, read as that. Save the file as UTF-8."
        findings.append(Finding("encoding_fallback", Severity.WARNING, 1, message))
    elif encoding in ("utf-8", "utf-8-sig"):
        refuse_binary(data, source)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        text, encoding, finding = _fallback(data, encoding, error)
        findings.append(finding)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        count = text.count("\x00")
        text = text.replace("\x00", "\ufffd")
        findings.append(_loss(line, f"{count} NUL character(s) were replaced by U+FFFD"))
    elif "\ufffd" in text and not findings:
        line = text.count("\n", 0, text.index("\ufffd")) + 1
        findings.append(
            _loss(line, f"{text.count(chr(0xFFFD))} replacement character(s) U+FFFD are in the file itself")
        )
    findings.extend(_question_marks(text))
    return Decoded(text, encoding, findings)


def declared_encoding(head: bytes) -> str:
    """What a byte order mark says of a text that begins so; UTF-8 without one."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")


def too_large(source: str, size: int, limit: int) -> SourceError:
    return SourceError(
        f"{source}: {size:,} bytes or more, the limit is {limit:,}. "
        "Split the file, or raise max_source_bytes (PENSTOCK_MAX_SOURCE_BYTES)."
    )


def refuse_binary(data: bytes, source: str) -> None:
    """Raises SourceError when the first bytes are not those of a text."""
    head = data[:_SNIFF]
    control = len(head) - len(head.translate(None, _CONTROL))
    if b"\x00" in head or head.startswith(_MAGIC) or control * 20 > len(head):
        raise SourceError(
            f"{source}: not a text file (it begins with {bytes(head[:8]).hex(' ')}). "
            "Give a text file; UTF-16 text needs its byte order mark."
        )


def _fallback(data: bytes, encoding: str, error: UnicodeDecodeError) -> tuple[str, str, Finding]:
    """What to read from bytes that are not as declared: an 8-bit encoding if it fits, else with holes."""
    line = data.count(b"\n", 0, error.start) + 1
    replaced = data.decode(encoding, errors="replace")
    likely = ""
    if encoding == "utf-8":
        holes = replaced.count("\ufffd")
        kept = sum(1 for _ in re.finditer(r"[^\x00-\x7f\ufffd]", replaced))
        found = guess(data) if holes > kept else None
        if found is not None and found.text is not None:
            message = f"not UTF-8 (byte 0x{data[error.start]:02x}); read as {found.encoding}. Save the file as UTF-8."
            return found.text, found.encoding, Finding("encoding_fallback", Severity.WARNING, line, message)
        if found is not None:
            likely = f". It may be {found.encoding}, which is not certain: try `iconv -f {found.encoding} -t utf-8`"
    count = replaced.count("\ufffd")
    first = f"0x{data[error.start]:02x}"
    message = f"{count} byte sequence(s) are not {encoding} (first: {first}) and became U+FFFD{likely}"
    return replaced, encoding, _loss(line, message)


def _loss(line: int, what: str) -> Finding:
    message = f"{what}: text was lost. Restore the file from its history and save it as UTF-8."
    return Finding("encoding_loss", Severity.ERROR, line, message)


_NO_WORDING = re.compile(r"\?|EP|FEAT|US|T|[\w.#-]*\d[\w.#-]*")
_LOST_WORDS = re.compile(
    r"(?<!\?)\?{3,}+[ .,:()]{1,4}\?{2}|(?<![^\s(])\?{5,}+(?=[\s,.:;)])[^?]{0,60}[\s(]\?{3,}+(?=[\s,.:;)]|$)"
)


def lost(text: str) -> bool:
    """Was a text's wording replaced by question marks or U+FFFD? "Why???" is a question, "?????? ???" was Cyrillic.

    Ids and types (`FEAT PHC-1.2 ? ????????`) are no wording: they were ASCII, and tell nothing of the rest.
    """
    words = [word for word in text.split() if not _NO_WORDING.fullmatch(word)]
    gone = sum(1 for word in words if len(word) > 1 and not word.strip("?\ufffd.,:;()-—*_`"))
    return 2 * gone > sum(
        1 for word in words if any(sign.isalpha() or sign in "?\ufffd" for sign in word)
    ) and (gone > 1 or "????" in text or "\ufffd\ufffd\ufffd" in text)


def _question_marks(text: str) -> Iterator[Finding]:
    """An editor that can't write Cyrillic leaves "?????? ????": say so once, don't take it for text."""
    if "????" not in text:
        return
    found = [
        (number, line)
        for number, line in enumerate(text.split("\n"), 1)
        if "??" in line and (_LOST_WORDS.search(line) or lost(line[_marker_end(line) :]))
    ]
    if found:
        lines = ", ".join(str(number) for number, _ in found[:MOST_LINES]) + (
            ", ..." if len(found) > MOST_LINES else ""
        )
        number, first = found[0]
        yield _loss(
            number,
            f"{len(found)} line(s) hold words of question marks and are not read as items: {lines} "
            f"(first: {quoted(first.strip())})",
        )


def _marker_end(line: str) -> int:
    match = _MARKER.match(line)
    return match.end() if match else 0
