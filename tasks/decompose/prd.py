"""The parts of a requirements document: what its sections ask for. Pure, no model.

A section counts by its heading, or by that of a section around it. Sections of requirements, features and user stories
give parts: each entry of their lists, or the section itself where it has none; what a section says beside its list is
told each of its parts. Background, goals, glossary, what is out of scope, open questions and the like give none
(`left_out`). Where no section is named like requirements, nothing is certain, and None is given: a model or a person
says what the parts are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from models.board import Finding
from models.enums import Severity
from tasks.decompose.plan import MAX_PARTS, split_problem
from tasks.decompose.structure import CRITERIA, LONGEST_TITLE, Outline, Step, count_words, read_outline
from tasks.ingest.rows import normalised

LONGEST_CONTEXT = 600
"""Characters that a part is told of what its section says: enough for a few sentences, and 50 parts stay small."""

SHOWN = 12  # sections that a finding names

ASKS = re.compile(
    r"require|feature|user stor|use case|capabilit|functional|deliverable|must have|should have"
    r"|could have|\bmvp\b|\bepics?\b"
    r"|in scope|tasks?\b|требовани|функци|возможност|пользовательск|истори[ия] пользовател|сценари|вимог"
    r"|можливост"
    r"|anforderung|funktion|merkmal|anwendungsf[aä]ll|exigence|fonctionnalité|récit|cas d['’]usage"
    r"|requisit|funcionalidad"
    r"|historias? de usuario|casos? de uso|funcionalidade|funzionalità|wymagani|funkcj|gereksinim|özellik"
    r"|需求|功能|用户故事|用例|要件|要求|機能|ユーザーストーリー|요구 ?사항|기능",
    re.IGNORECASE,
)
ASKS_NOT = re.compile(
    r"background|overview|introduction|summary|glossary|definition|terminolog|out[- ]of[- ]scope"
    r"|non-?goals?|not in scope"
    r"|reference|appendix|open question|risks?\b|assumption|stakeholder|metric|kpi|success criteria"
    r"|changelog|history|context"
    r"|problem|persona|timeline|milestone|roadmap|dependenc|constraint|won'?t have|future|faq|contact"
    r"|approval|sign-?off"
    r"|goals?\b|objective|purpose|vision|motivation|rationale|table of contents|revision"
    r"|введение|обзор|контекст|предпосыл|глоссари|определени|термин|вне рамок|вне скоупа|не входит"
    r"|не цел|ссылк|приложени"
    r"|риск|допущени|заинтересованн|метрик|истори[яи] изменений|цел[ьи]|проблем|вопрос|сроки|огранич"
    r"|словник|огляд|вступ"
    r"|hintergrund|überblick|einleitung|glossar|begriff|nicht im umfang|nicht-?ziele|abgrenzung|referenz"
    r"|anhang|risik|annahme"
    r"|offene fragen|ziele?\b|contexte|introduction|glossaire|hors périmètre|références|annexe|risques"
    r"|hypothèses|objectifs?"
    r"|antecedentes|introducción|glosario|fuera de alcance|referencias|anexo|riesgos|supuestos|objetivos?"
    r"|contexto|introdução|fora de escopo|referências|riscos|contesto|introduzione|fuori ambito"
    r"|riferimenti|rischi|obiettivi"
    r"|背景|概述|概要|术语|用語|非目标|範囲外|范围外|参考|附录|付録|风险|リスク|目标|目的|배경|개요|용어|참고|위험|목표",
    re.IGNORECASE,
)
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*")
_NUMBER = re.compile(r"^(?:\d+(?:\.\d+)*[.)]?|[A-Z]\.)\s+")
_NUMBERED = re.compile(
    r"^ {0,3}(?:\*\*|\[)?(?:[A-Z]{1,5}[-_]?\d+|\d+(?:\.\d+)+)(?=[\s.:\])*])(?=.*\w)", re.MULTILINE
)
_ID = re.compile(r"^(?:\*\*)?\[?([A-Z]{1,5}[-_ ]?\d+(?:\.\d+)*)\]?(?:\*\*)?\s*[:.—–-]?\s+")


@dataclass(slots=True)
class _Section:
    level: int
    title: str
    line: int  # 1-based, of its heading
    asks: bool | None  # None: nothing tells
    above: _Section | None = None
    leaf: bool = True
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines).strip("\n")


def document_split(text: str) -> dict[str, Any] | None:
    """{"subtasks": [...]} as tasks/decompose/plan.py has it, each with its `line`; None: nothing is certain."""
    sections = [section for section in _sections(text) if section.asks]
    if not sections:
        return None
    for by_entry in (True, False):  # a part a section, where a part an entry would be too many
        parts = _unique([part for section in sections for part in _parts(section, by_entry)])
        data = {"subtasks": parts}
        if len(parts) <= MAX_PARTS and split_problem(data) is None:
            return data
    return None


def left_out(text: str) -> list[tuple[str, int]]:
    """The sections, with their lines, that give no part though they say something. Not those below another of these."""
    sections = _sections(text)
    gives = [section for section in sections if section.asks]
    held = {id(each) for section in gives for each in (section, *_around(section))}
    found: dict[int, _Section] = {}
    for section in sections:
        if id(section) in held or (section.above is None and section.level == 1 and not section.leaf):
            continue  # the document's title is no section of it
        if any(id(each) in found for each in _around(section)):
            continue
        found[id(section)] = section
    return [(section.title, section.line) for section in found.values()]


def left_out_finding(text: str) -> Finding | None:
    """What a reader of the parts would miss: None where all give some, or this does not split the document."""
    sections = left_out(text)
    if not sections or document_split(text) is None:
        return None
    names = ", ".join(f"{name[:60]!r} (line {line})" for name, line in sections[:SHOWN])
    more = f" and {len(sections) - SHOWN} more" if len(sections) > SHOWN else ""
    message = (
        f"nothing of these sections becomes an item: {names}{more}. "
        "Put what is to be done there below a heading such as 'Requirements'."
    )
    return Finding("sections_left_out", Severity.INFO, sections[0][1], message)


def _around(section: _Section) -> Iterator[_Section]:
    above = section.above
    while above is not None:
        yield above
        above = above.above


def _sections(text: str) -> list[_Section]:
    found: list[_Section] = []
    around: list[_Section] = []
    fence = ""
    for number, line in enumerate(text.split("\n"), 1):
        mark = line.lstrip()[:3]
        if fence or mark in ("```", "~~~"):
            fence = ("" if mark == fence else fence) if fence else mark
            if around:
                around[-1].lines.append(line)
            continue
        heading = _HEADING.fullmatch(line)
        if heading is None:
            if around:
                around[-1].lines.append(line)
            continue
        level, title = len(heading[1]), _NUMBER.sub("", heading[2].replace("**", "")).strip()
        if around and CRITERIA.fullmatch(title.rstrip(":：")) and level > around[-1].level:
            around[-1].lines.append(line)  # criteria of the section that they stand in
            continue
        while around and around[-1].level >= level:
            around.pop()
        outer = around[-1] if around else None
        section = _Section(level, title, number, _asks(title, outer), outer)
        for above in around:
            above.leaf = False
        around.append(section)
        found.append(section)
    return found


def _asks(title: str, above: _Section | None) -> bool | None:
    inherited = above.asks if above is not None else None
    if inherited is False:
        return False
    if ASKS_NOT.search(title) and not re.search(
        r"non-functional|нефункциональн|nichtfunktional", title, re.IGNORECASE
    ):
        # "Out of scope" below "Features" is none; "History of orders" below "Features" is one.
        specific = re.search(
            r"scope|goal|рамок|question|вопрос|risk|риск|umfang|范围外|範囲外", title, re.IGNORECASE
        )
        return False if inherited is None or specific else inherited
    if ASKS.search(title):
        # The document's own title, "Product requirements of X", says nothing of the sections below it.
        return True if above is not None else None
    return inherited


def _parts(section: _Section, by_entry: bool) -> list[dict[str, Any]]:
    # "3.1. The system ..." and "FR-1: ..." on a line of their own are entries, too, without a bullet.
    outline = read_outline(_NUMBERED.sub(r"- \g<0>", section.text))
    entries = [step for step in outline.steps if count_words(step.title) >= 3] if by_entry else []
    if entries:
        if len(entries) == 1:  # else they are what the section comes to, and no single part of it
            entries[0].criteria += outline.criteria
        context = [f"Section: {section.title}", *_said(section, outline)]
        return [_named(step.part(*context), _line_of(section, step.title)) for step in entries]
    if not section.leaf or not (section.text.strip() or _is_specific(section.title)):
        return []
    body = "\n".join(line.rstrip() for line in section.lines if line.strip())
    criteria = [*outline.criteria, *(text for step in outline.steps for text in step.criteria)]
    around = "\n".join(_said(section))
    whole = Step(section.title, criteria=criteria).part(around, _without_criteria(outline, body))
    return [_named(whole, section.line)]


def _said(section: _Section, outline: Outline | None = None) -> Iterator[str]:
    """What the sections around this one say beside their lists, outermost first, and this one where it has a list."""
    said = [read_outline(each.text).prose for each in _around(section) if each.asks]
    prose = [line for lines in reversed(said) for line in lines] + (outline.prose if outline else [])
    text = "\n".join(prose)
    if text:
        yield text if len(text) <= LONGEST_CONTEXT else f"{text[: LONGEST_CONTEXT - 1].rstrip()}…"


def _is_specific(title: str) -> bool:
    """ "Requirements" with nothing below it is no requirement, "Export to CSV" is one."""
    return count_words(title) > 2 or ASKS.search(title) is None


def _without_criteria(outline: Outline, body: str) -> str:
    kept = outline.prose + [step.title for step in outline.steps] if outline.criteria else body.split("\n")
    return "\n".join(kept)[:4_000]


def _named(part: dict[str, Any], line: int) -> dict[str, Any]:
    plain = _ID.sub(r"\1 ", part["title"].replace("**", "")).strip()[:LONGEST_TITLE]
    own = {"acceptance": [plain]} if "criteria" in part else {}
    return {"body": ""} | part | own | {"title": plain, "line": line}


def _line_of(section: _Section, title: str) -> int:
    return next(
        (section.line + number for number, line in enumerate(section.lines, 1) if title[:60] in line),
        section.line,
    )


def _unique(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A requirement that is written down twice is one part, where it stands first."""
    seen: dict[str, dict[str, Any]] = {}
    for part in parts:
        seen.setdefault(normalised(part["title"]), part)
    return list(seen.values())
