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

# No word here is one of a programming language's, and a letter that one language alone has counts as a word.
_SMALL = {
    "en": "the of that this are was were which it its has have been will would can their there than they by on at to "
    "what how who why when where does did should be must before them every two once",
    "de": "der die das und ist nicht ein eine einen dem den des mit auf für von zu sind wird werden wurde auch sich "
    "nach bei welche welcher wie kann soll dass im zum zur wer warum wann er sie danach weil ß",
    "fr": "le la les des et est une dans du que qui pour sur avec sont pas au aux par ce cette quel quelle comment "
    "être il elle ne plus où pourquoi a été en son sa ses parce avant ç œ ê",
    "es": "el la los las del y que en es un una por con para se está su al son como más qué cuál cómo hay debe lo "
    "cuántos cuántas quién porque ñ ¿ ¡",
    "pt": "o os as da do das dos e que em é um uma por com para não se está sua ao são mais qual como no na há deve "
    "quem porque ã õ",
    "it": "il lo la gli dei della delle di e che è un una per con non si sono nel nella come quale più sul deve al "
    "chi perché quanto",
    "nl": "het een van en is dat niet op te zijn met voor aan er worden wordt welke hoe naar bij ook deze moet de wie",
    "pl": "jest nie się na do w z że są przez dla jak który która które oraz od po jaki należy być to i kto ile bo "
    "przed dlaczego gdy był ł ę ą ż ź ś ń",
    "tr": "bir ve bu için ile olarak da de olan hangi nasıl daha gibi kadar ne değil var sonra neden kim "
    "kaç mi mı ğ ı ş",
    "ru": "и в на не что это для по из с как он она но от к за при или уже был была есть его их который которая "
    "какой какая если после ы э ъ",
    "uk": "і в на не що це для по з як він вона але від до та або є його їх який яка якщо після чи у ї ґ",
    "bg": "и в на не че това за по от с как той тя но до се са е или който която ще да след към",
}
_WEAK = {"en": frozenset(["a", "an", "is", "in", "and", "or", "not", "for", "with", "as", "if", "from"])}
"""Small words that code has, too: they count where there are two others; in a question, which is no code, always."""
_OF_SCRIPT = {
    code: "cyrillic" if any("\u0400" <= letter <= "\u052f" for letter in words) else "latin"
    for code, words in _SMALL.items()
}
_WORDS = {code: frozenset(words.split()) for code, words in _SMALL.items()}
_LETTERS_OF = {
    code: [word for word in words if len(word) == 1 and not word.isascii()]
    for code, words in _WORDS.items()
    if _OF_SCRIPT[code] == "latin"
}
_OWNERS = {
    word: [code for code, words in _WORDS.items() if word in words]
    for word in frozenset().union(*_WORDS.values())
}
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
    own = _own_text(text, passages)
    said = language_of(own)
    if said is None:
        return None
    asked = _asked(question)
    if not asked or any(said == code or _akin(said, code) for code in asked):
        return None
    scores = _small_words(own)
    for code in asked & scores.keys():
        if scores[code] >= 3 or (said in scores and scores[said] < scores[code] + 2):
            return None  # it has both
    return Failure(
        "transport",
        "language",
        ErrorType.RULE,
        f"The answer is in another language ({said}) than the item ({', '.join(sorted(asked))}): {excerpt(text)}.",
    )


@lru_cache(maxsize=1024)
def _asked(question: str) -> frozenset[str]:
    """The languages that the item may be in, where that is certain; none where it asks for some other one."""
    if _ABOUT_LANGUAGE.search(question):
        return frozenset()
    text = _NOT_OWN.sub(" ", visible(question))
    # Of an item a few words are enough to be sure of the script, and two small words of the language.
    script = _script_of(text, fewest=6, share=0.6)
    if script is None:
        return frozenset()
    if script not in _OF_SCRIPT.values():
        return frozenset({script})
    scores = {code: score for code, score in _small_words(text, True).items() if _OF_SCRIPT[code] == script}
    best = max(scores.values())
    if best > 1:
        return frozenset(code for code, score in scores.items() if score >= best - (best > 2))
    return frozenset({script}) if script != "latin" else frozenset()


def language_of(text: str) -> str | None:
    """A code of `_SMALL`, or the name of a script where that tells it; None where it is not certain."""
    script = _script_of(text, FEWEST_LETTERS, SHARE)
    if script not in _OF_SCRIPT.values():
        return script
    scores = {code: score for code, score in _small_words(text).items() if _OF_SCRIPT[code] == script}
    best, second = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
    if scores[best] > max(2, scores[second]):
        return best
    # Cyrillic without a clear language is still no English.
    return script if script != "latin" else None


def _script_of(text: str, fewest: int, share: float) -> str | None:
    if len(text) < (fewest if text.isascii() else min(fewest, FEWEST_SYLLABLES)):
        return None
    names = ("latin",) if text.isascii() else tuple(_LETTERS)
    counts = dict.fromkeys(_LETTERS, 0) | {name: len(_LETTERS[name].findall(text)) for name in names}
    if counts["kana"] >= 3:
        counts["kana"] += counts.pop("han")
    script = max(counts, key=counts.__getitem__)
    need = min(fewest, FEWEST_SYLLABLES) if script in _SYLLABIC else fewest
    return script if counts[script] >= max(need, share * sum(counts.values())) else None


def _small_words(text: str, weak: bool = False) -> dict[str, int]:
    """How many different small words (and letters) of each language it has; the weak ones beside two others."""
    folded = text.casefold()
    words = frozenset(_WORD.findall(folded))
    found = dict.fromkeys(_SMALL, 0)
    for word in words & _OWNERS.keys():
        for code in _OWNERS[word]:
            found[code] += 1
    if not folded.isascii():
        for code, letters in _LETTERS_OF.items():
            found[code] += sum(letter in folded for letter in letters)
    for code, others in _WEAK.items():
        if weak or found[code] > 1:
            found[code] += len(words & others)
    return found


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
