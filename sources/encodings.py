"""Which encoding bytes are in that are no UTF-8 and say nothing of it themselves. Pure.

A board is short, and statistics alone err on short texts: so a reading must first be one that people write (words of
one script and sane case, no signs inside of them), and of those that are left `chardet` says which reads most like a
language. Where two that differ are close, nothing is certain, and nothing is guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

LATIN = ("cp1252", "cp1250", "iso8859-2", "cp1254")
CYRILLIC = ("cp1251", "koi8-r", "koi8-u", "cp866")
OTHERS = ("cp1253", "cp1255")  # Greek, Hebrew
JAPANESE = ("shift_jis", "euc-jp")
WIDE = (*JAPANESE, "gb18030", "big5", "euc-kr")

CLOSE = 1.12
"""A reading this much likelier than the next different one is taken."""
CLOSE_ALONE = 1.6
"""The same, where all that is known is one letter: "niño" is not "nińo"."""
USUAL = {"cp1252": 1.3}
"""What most texts are in counts more: "naïve" is rather French than Czech. Not with the letters of Icelandic, in whose
places Turkish has its own."""
FEW = 4
"""Fewer Chinese, Japanese or Korean signs than this say nothing where two encodings give some."""
UNLIKE_ANY = 0.1
"""What chardet says of its answer where the text is like none that it knows."""
UNCOMMON = 0.4
"""Cyrillic text has more common letters than this; "яю" is bytes of something else."""
SAMPLE = 65_536
"""Bytes of lines that are not ASCII: enough to know by."""

_COMMON = frozenset("оеаинтсрвлкмдпу")  # four of five letters of Russian text
_WORD = re.compile(r"[^\W\d_]+")
_HIGH = re.compile(r"[^\x00-\x7f]")
_SIGNS = frozenset("–—‘’“”„«»‹›…•·°§№£€©®™±×÷¿¡ªº´µ¶†‡‰¢¥¬¦½¼¾²³¹\xa0")
_ACCENTS = frozenset("άέήίόύώΐΰϊϋΆΈΉΊΌΎΏ")  # no Greek text of small letters is without one
_STRAY = re.compile(
    r"(?<![a-z])[a-z](?=[\u3000-\uffef])|(?<=[\u3000-\uffef])[a-z](?![a-z])"
)  # "草速y" was "Żółty"
_ICELANDIC = frozenset("ÐÝÞðýþ")
_INSIDE = frozenset("’‘-–—·")  # signs that stand between letters
_CJK = re.compile(
    r"[\u2014\u2018\u2019\u201c\u201d\u2026\u00b7\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef]"
)


@dataclass(frozen=True, slots=True)
class Guess:
    """`text` is None where it is not certain; `encoding` is then the likeliest."""

    encoding: str
    text: str | None


def guess(data: bytes) -> Guess | None:
    """The reading of bytes that are not UTF-8; None where no encoding gives one."""
    sample = _sample(data)
    if _partly_utf8(data):
        return None  # two encodings in one file: reading all of it as either would garble the rest
    readings = {
        name: text for name in (*LATIN, *CYRILLIC, *OTHERS, *WIDE) if (text := _reading(sample, name))
    }
    ranked = list(_ranked(sample, readings))
    if not ranked:
        return Guess(next(iter(readings)), None) if readings else None
    weight, name, text = ranked[0]
    other = next((one for one in ranked if one[2] != text), None)
    if (
        name in WIDE
        and len(_HIGH.findall(text)) < FEW
        and any(one[1] in WIDE for one in ranked if one[2] != text)
    ):
        return Guess(name, None)
    if name in CYRILLIC:
        name = max((one for one in CYRILLIC if one in readings), key=lambda one: _russian(readings[one]))
        if _russian(readings[name]) < UNCOMMON:
            return Guess(name, None)
    elif other is not None and weight < other[0] * (CLOSE if len(_HIGH.findall(text)) > 1 else CLOSE_ALONE):
        return Guess(name, None)
    try:
        return Guess(name, data.decode(name))
    except UnicodeDecodeError:
        return None  # beyond the sample it is something else


def _partly_utf8(data: bytes) -> bool:
    """Is there a line of letters beyond ASCII that is UTF-8 by itself? Other encodings make none: two such letters in
    a row, and nothing else, happen once in thousands of lines."""
    for line in data[:SAMPLE].splitlines() + data[-SAMPLE:].splitlines():
        if line.isascii():
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError:
            continue
        if sum(sign.isalpha() and not sign.isascii() for sign in text) > 2:
            return True
    return False


def wide_encoding(data: bytes) -> str | None:
    """utf-16-le or utf-16-be for text of it without a byte order mark, where that is certain.

    Line ends, spaces and ASCII have a zero byte on one side only, and all of it has to be text: bytes of a program are
    neither.
    """
    head = data[:SAMPLE]
    zeros = head[1::2].count(0), head[0::2].count(0)  # little, big endian
    if len(data) % 2 or min(zeros) or max(zeros) < 4 or max(zeros) * 20 < len(head):
        return None
    name = "utf-16-le" if zeros[0] else "utf-16-be"
    try:
        text = data.decode(name)
    except UnicodeDecodeError:
        return None
    signs = set(text)
    odd = any(unicodedata.category(sign) in ("Cc", "Cn", "Co") for sign in signs.difference("\t\n\r\f"))
    return None if odd or signs.isdisjoint(" \n") else name


def _sample(data: bytes) -> bytes:
    lines: list[bytes] = []
    size = 0
    for line in data.splitlines(keepends=True):
        if not line.isascii():
            lines.append(line[:SAMPLE])
            size += len(line)
            if size > SAMPLE:
                break
    return b"".join(lines)


def _reading(sample: bytes, name: str) -> str | None:
    try:
        text = sample.decode(name)
    except UnicodeDecodeError:
        return None
    sane = _is_cjk(text, name) if name in WIDE else _is_written(text, latin=name in LATIN)
    return text if sane else None


def _ranked(sample: bytes, readings: dict[str, str]) -> Iterator[tuple[float, str, str]]:
    """(weight, encoding, text), the likeliest first."""
    if len(set(readings.values())) < 2:
        yield from ((1.0, name, text) for name, text in readings.items())
        return
    from chardet import detect_all  # 30 ms, for the rare board that needs it

    names = {text: name for name, text in reversed(readings.items())}
    weights: dict[str, float] = {}
    answers = detect_all(
        sample,
        ignore_threshold=True,
        include_encodings=list(readings),
        compat_names=False,
        prefer_superset=False,
        no_match_encoding=next(iter(readings)),
    )
    if len(answers) == 1 and answers[0]["confidence"] == UNLIKE_ANY:
        return
    for found in answers:
        try:
            text = sample.decode(str(found["encoding"]))
        except (LookupError, UnicodeDecodeError):
            continue
        if text in names:  # chardet may answer with a relative of what it was asked about
            usual = USUAL.get(names[text], 1.0) if _ICELANDIC.isdisjoint(text) else 1.0
            weight = found["confidence"] * usual
            weights[text] = max(weight, weights.get(text, 0.0))
    for text in sorted(weights, key=lambda text: -weights[text]):
        yield weights[text], names[text], text


def _is_written(text: str, *, latin: bool) -> bool:
    """Is this text of an alphabet as people write it?"""
    letters = foreign = alone = 0
    for match in _WORD.finditer(text):
        word = match.group()
        if word.isascii():
            continue
        high = sum(1 for sign in word if not sign.isascii() and sign not in "ªº")
        if not latin and high != len(word):
            return False  # "café" is no word of two alphabets
        if latin and any("LATIN" not in unicodedata.name(sign, "") for sign in word if sign not in "µªº"):
            return False
        if any(a.islower() and b.isupper() for a, b in pairwise(word)):
            return False
        if len(word) > 1:
            letters, foreign = letters + len(word), foreign + high
        else:
            alone += 1
    if latin and foreign * 5 > letters * 3:
        return False  # nearly every letter has an accent: it is another alphabet
    if not latin and foreign < alone:
        return False  # an "à" alone is no word of another alphabet
    small = [sign for sign in text if "α" <= sign <= "ω" or sign in _ACCENTS]
    if sum(map(str.islower, small)) > 5 and not _ACCENTS.intersection(small):
        return False
    return all(map(_is_sign, _HIGH.finditer(text)))


def _is_sign(match: re.Match[str]) -> bool:
    """A letter, or a sign that people type where it stands: not between two letters."""
    sign = match.group()
    if unicodedata.category(sign)[0] in "LM":
        return True
    before, after = (
        match.string[match.start() - 1 : match.start()],
        match.string[match.end() : match.end() + 1],
    )
    return sign in _SIGNS and (sign in _INSIDE or not (before.isalpha() and after.isalpha()))


def _is_cjk(text: str, name: str) -> bool:
    """Nothing but what texts of that encoding's language are made of, and more than one sign of it."""
    high = _HIGH.findall(text)
    if len(high) < 2 or not all(map(_CJK.match, high)) or _STRAY.search(text):
        return False
    kana = sum("\u3041" <= sign <= "\u30fa" for sign in high)
    hangul = sum("\uac00" <= sign <= "\ud7a3" for sign in high)
    if name == "euc-kr":
        return not kana and 2 * hangul >= len(high)
    return not hangul and (not kana or name in JAPANESE)


def _russian(text: str) -> float:
    """How much the letters are those that are common in Russian."""
    letters = [sign.lower() for sign in text if not sign.isascii() and sign.isalpha()]
    return sum(1 for sign in letters if sign in _COMMON) / len(letters) if letters else 0.0
