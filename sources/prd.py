"""Product requirements and specifications: free text that says what is to be built.

It holds no items. Its sections become items when it is run: the decomposer makes them, by the text's structure.
"""

from __future__ import annotations

import re

from models.enums import Severity
from sources.document import Document
from sources.gfm import CHECKBOX
from sources.leftovers import account
from sources.walk import Outline

NAME = "prd"

_TITLE = re.compile(
    r"^\W*(?-i:PRD)(?=\s*(?:[:—–|(-]|for\b|v?\d|$))|\b(?-i:PRD)\W*$|\bproduct\s+requirements?\b|"
    r"\brequirements?\s+(?:document|specification)|\b(?:functional|business)\s+requirements?\b|"
    r"\b(?:software|system|functional|product|technical|feature)\s+(?:specification|spec)\b|"
    r"\bтехническо(?:е|му|го)\s+задани|(?<!\w)ТЗ(?!\w)|\bтехзадани|\bтребования\s+к\s+продукту|"
    r"\bспецификаци[яию]\s+требовани|\bтехнічн(?:е|ого)\s+завдання|\bвимоги\s+до\s+продукту|"
    r"\bLastenheft|\bPflichtenheft|\bAnforderungs(?:dokument|spezifikation|katalog)|\bProduktanforderung|"
    r"\bcahier\s+des\s+charges|\bspécifications?\s+(?:fonctionnelles?|techniques?|produit)|\bexpression\s+de[s]?\s+besoins?|"
    r"\b(?:documento|especificaci[oó]n(?:es)?|especificaç(?:ão|ões))\s+de\s+(?:los\s+)?requisitos|\brequisitos\s+d[eo]l?\s+produ[ct]+o|"
    r"\bpliego\s+de\s+condiciones|\bcaderno\s+de\s+encargos|\b(?:documento|specifica)\s+dei\s+requisiti|\bcapitolato\b|"
    r"\bprogramma\s+van\s+eisen|\bdokument\s+wymagań|\bspecyfikacja\s+wymagań|\bwymagania\s+produktu|"
    r"\b(?:ürün\s+)?gereksinim(?:leri)?\s+(?:belgesi|dokümanı|şartnamesi)|\bteknik\s+şartname|"
    r"需求(?:文档|文書|说明书?|規格書?|规格说明书?)|产品需求|要件定義|要求仕様|要求定義|仕様書|요구\s?사항\s?(?:정의서|명세서|문서)|기획서",
    re.IGNORECASE,
)
_FILE = re.compile(
    r"(?:.*[\s._-])?(?:prd|srs|product[\s._-]?requirements?|requirements?[\s._-](?:spec(?:ification)?|doc(?:ument)?)|"
    r"lastenheft|pflichtenheft|cahier[\s._-]des[\s._-]charges|тз|техзадание|техническое[\s._-]задание)"
    r"(?:[\s._-].*)?\.(?:md|markdown|txt)",
    re.IGNORECASE,
)
_LOOKED_AT = 40  # lines, for a title that is no heading


def score(document: Document) -> float:
    """0.3 where its title or its file's name says so; any dialect that sees items in it goes first."""
    if not (_TITLE.search(_title(document)[:300]) or _FILE.fullmatch(document.name[:200])):
        return 0.0
    return 0.0 if CHECKBOX.search(document.text) else 0.3


def parse(document: Document) -> Outline:
    outline = Outline()
    account(document, outline, document.masked, "text")
    message = (
        "a requirements document: it has no items of its own, its sections become items when it is run. "
        "Write checkboxes to say yourself what they are."
    )
    outline.find("prd_sections", Severity.INFO, 1, message)
    return outline


def _title(document: Document) -> str:
    """The document's title, else its first line of text."""
    return document.title or next((line for line in document.live[:_LOOKED_AT] if line.strip()), "")
