"""Is the answer in the language of its item? Said only where both are certain; else nothing is said.

A language is told by its script, and among languages of one script by its commonest small words, several different
ones of which must be there. Code, quotations, links and what stands in the passages word for word are left out first:
to quote a source in its own language is right. Where the item speaks of a language or of translating, any will do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from models.calls import Passage
from models.enums import ErrorType
from models.verdict import Failure
from tasks.foreign import excerpt, one_line, visible

FEWEST_LETTERS = 24
FEWEST_SYLLABLES = 10
"""Of an answer's own text; in scripts whose letters are syllables or words. A shorter one may be names alone."""
SHARE = 0.8
"""Of its letters, in one script, for an answer to be of that script."""

_SCRIPTS = {
    "latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff",
    "cyrillic": "\u0400-\u052f",
    "greek": "\u0370-\u03ff",
    "hebrew": "\u0590-\u05ff",
    "arabic": "\u0600-\u06ff\u0750-\u077f",
    "devanagari": "\u0900-\u097f",
    "thai": "\u0e00-\u0e7f",
    "kana": "\u3040-\u30ff",
    "hangul": "\uac00-\ud7af\u1100-\u11ff",
    "han": "\u3400-\u9fff",
}
_LETTERS = {name: re.compile(f"[{letters}]") for name, letters in _SCRIPTS.items()}
_SYLLABIC = frozenset({"kana", "hangul", "han", "thai"})

# No word here is one of a programming language's: code has none of them, or not three.
_SMALL = {
    "en": "the of that this are was were which it its has have been will would can their there than they by on at to "
    "what how does should",
    "de": "der die das und ist nicht ein eine einen dem den des mit auf für von zu sind wird werden wurde auch sich "
    "nach bei welche welcher wie kann soll dass im zum zur",
    "fr": "le la les des et est une dans du que qui pour sur avec sont pas au aux par ce cette quel quelle comment "
    "être il elle ne plus où",
    "es": "el la los las del y que en es un una por con para se está su al son como más qué cuál cómo hay debe lo",
    "pt": "o os as da do das dos e que em é um uma por com para não se está sua ao são mais qual como no na há deve",
    "it": "il lo la gli dei della delle di e che è un una per con non si sono nel nella come quale più sul deve al",
    "nl": "het een van en is dat niet op te zijn met voor aan er worden wordt welke hoe naar bij ook deze moet de",
    "pl": "jest nie się na do w z że są przez dla jak który która które oraz od po jaki należy być to i",
    "tr": "bir ve bu için ile olarak da de olan hangi nasıl daha gibi kadar ne değil var sonra",
    "ru": "и в на не что это для по из с как он она но от к за при или уже был была есть его их который которая "
    "какой какая если после",
    "uk": "і в на не що це для по з як він вона але від до та або є його їх який яка якщо після чи у",
    "bg": "и в на не че това за по от с как той тя но до се са е или който която ще да след към",
}
_OF_SCRIPT = {
    code: "cyrillic" if any("\u0400" <= letter <= "\u052f" for letter in words) else "latin"
    for code, words in _SMALL.items()
}
_WORDS = {code: frozenset(words.split()) for code, words in _SMALL.items()}
_WORD = re.compile(r"[^\W\d_]+")

_NOT_OWN = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`|https?://\S+|\[\[[^\[\]\n]*\]\]|«[^«»]*»|„[^„“”]*[“”]|“[^“”]*”"
    r"|\"[^\"\n]*\"|「[^「」]*」|^[ \t]*>[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
_ABOUT_LANGUAGE = re.compile(
    r"translat|locali[sz]|bilingual|\b(?:english|russian|german|french|spanish|italian|portuguese|dutch|polish|turkish"
    r"|ukrainian|bulgarian|chinese|japanese|korean|arabic|hebrew|greek|hindi|thai|latin|language|i18n|l10n)\b"
    r"|перев[её]д|перевод|переве|переклад|англий|англій|русск|російськ|немецк|французск|испанск|китайск|японск|язык"
    r"|мов(?:а|и|у|ою)\b|übersetz|englisch|deutsch|russisch|französisch|spanisch|sprach|tradu|anglais|français"
    r"|allemand|russe|espagnol|langue|inglés|español|alemán|francés|idioma|lengua|inglês|português|língua|inglese"
    r"|tedesco|italiano|lingua|vertaal|engels|nederlands|taal\b|tłumacz|angielsk|polsk|język|çevir|ingilizce|türkçe|\bdil(?:e|de|i|ler)?\b"
    r"|翻[译譯訳]|[英中日俄法德]文|[英中日俄法德]语|[英中日]語|語言|语言|言語|번역|영어|한국어|언어",
    re.IGNORECASE,
)


def check_language(text: str, question: str, passages: Sequence[Passage] = ()) -> Failure | None:
    """Is the answer certainly in another language than its item?"""
    asked = _asked(question)
    if asked is None:
        return None
    own = _own_text(text, passages)
    said = language_of(own)
    if said is None or said == asked or _akin(said, asked):
        return None
    if asked in _WORDS and _small_words(own)[asked] >= 3:
        return None  # it has both
    return Failure(
        "transport",
        "language",
        ErrorType.RULE,
        f"The answer is in another language ({said}) than the item ({asked}): {excerpt(text)}.",
    )


@lru_cache(maxsize=1024)
def _asked(question: str) -> str | None:
    """The item's language, where it is certain and the item asks for no other one."""
    if _ABOUT_LANGUAGE.search(question):
        return None
    # Of an item a few words are enough to be sure of the script, and two small words of the language.
    return language_of(_NOT_OWN.sub(" ", visible(question)), fewest=6, small=2, share=0.6)


def language_of(
    text: str, *, fewest: int = FEWEST_LETTERS, small: int = 3, share: float = SHARE
) -> str | None:
    """A code of `_SMALL`, or the name of a script where that tells it; None where it is not certain."""
    names = ("latin",) if text.isascii() else tuple(_LETTERS)
    counts = dict.fromkeys(_LETTERS, 0) | {name: len(_LETTERS[name].findall(text)) for name in names}
    if counts["kana"] >= 3:
        counts["kana"] += counts.pop("han")
    script = max(counts, key=counts.__getitem__)
    total = sum(counts.values())
    need = min(fewest, FEWEST_SYLLABLES) if script in _SYLLABIC else fewest
    if counts[script] < need or counts[script] < share * total:
        return None
    if script not in _OF_SCRIPT.values():
        return script
    scores = {code: score for code, score in _small_words(text).items() if _OF_SCRIPT[code] == script}
    best, second = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
    if scores[best] >= small and scores[best] > scores[second]:
        return best
    # Cyrillic without a clear language is still no English.
    return script if script != "latin" else None


def _small_words(text: str) -> dict[str, int]:
    """How many different small words of each language it has."""
    words = frozenset(_WORD.findall(text.casefold()))
    return {code: len(words & small) for code, small in _WORDS.items()}


def _akin(said: str, asked: str) -> bool:
    """Near enough that only a person could tell: one is the script of the other, or both are neighbours."""
    if said == _OF_SCRIPT.get(asked) or asked == _OF_SCRIPT.get(said):
        return True
    return {said, asked} in (
        {"es", "pt"},
        {"es", "it"},
        {"pt", "it"},
        {"ru", "uk"},
        {"ru", "bg"},
        {"uk", "bg"},
    )


def _own_text(text: str, passages: Sequence[Passage]) -> str:
    """Without code, quotations and links, and without lines and sentences that stand in a passage."""
    own = _NOT_OWN.sub(" ", visible(text))
    if not passages or not own.strip():
        return own
    given = " ".join(one_line(passage.text) for passage in passages)
    return " ".join(part for part in _PARTS.split(own) if one_line(part).rstrip(".!?。") not in given)


_PARTS = re.compile(r"\n|(?<=[.!?])\s|(?<=[。！？])|\s(?=\[[^\]\n]*\])|(?<=\])\s|(?<=:)\s")
