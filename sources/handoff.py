"""Hand-off or focus file: the one next step, and a table of phases with the issues of each.

A phase row is an item of kind `phase`; its issues are items of kind `issue` on the same line, their `ordinal`
counting from 1. Both carry `phase` and `phase_order` labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from models.board import ParsedItem
from models.enums import Declared, Severity
from models.words import quoted
from sources.document import Document, Row, Table, heading_of
from sources.issues import read_issues
from sources.masking import BULLETS, NUMBER
from sources.naming import (
    ALL_SIGNS,
    ALL_WORDS,
    CHOICE_SIGNS,
    CHOICE_WORDS,
    COUNTED_WORDS,
    ISSUE_COLUMN,
    NEXT_STEP,
    NEXT_STEP_HEADING,
    PHASE_COLUMN,
    PHASE_SIGNS,
    PHASE_WORDS,
)
from sources.outline import Outline
from sources.structure import settle
from sources.tables import cell_mark, plain, read_tables, status_column, table_status, work_items
from sources.vocabulary import status_of
from sources.walk import Grammar, walk

NAME = "handoff"

_HEADING = re.compile(rf"\W*(?:{NEXT_STEP})(?!\w)", re.IGNORECASE)
_LEAD = re.compile(
    rf"[*_]*(?:{NEXT_STEP})(?!\w)\s*(?:[(（][^()（）]{{0,80}}[)）])?\s*[:：]?[*_]*\s*[:：]?\s*(?P<rest>.*)",
    re.IGNORECASE,
)
_NOTE = re.compile(r"[*_]\(.*\)[*_]$")
_ALTERNATIVES = re.compile(rf"\b(?:{CHOICE_WORDS})\b|{CHOICE_SIGNS}", re.IGNORECASE)
_SAID = re.compile(r"#(?P<number>\d{1,7})\*{0,2}\s+(?P<words>[^\W\d_]+(?:\s+[^\W\d_]+){0,2})")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")
_COUNT = re.compile(
    rf"(?:(?<![\w#~–—.-])(?P<count>\d{{1,4}})\s*(?:{COUNTED_WORDS})"
    rf"|(?:\b(?:{ALL_WORDS})|{ALL_SIGNS})\s*(?P<every>\d{{1,4}})(?!\d))",
    re.IGNORECASE,
)
_IN_BRACKETS = re.compile(rf"[(（]\s*(?P<count>\d{{1,4}})\s*(?:{COUNTED_WORDS})", re.IGNORECASE)
_NAME = re.compile(
    rf"(?:(?:{PHASE_WORDS})\s+)?(?P<id>(?:{PHASE_SIGNS})?\s?[\w.]{{1,12}})\s*[·—–:：|-]\s*\S", re.IGNORECASE
)
_COMMA = re.compile(r",\s*(?![^()]*\))")


def score(document: Document) -> float:
    step = NEXT_STEP_HEADING.search(document.text) is not None
    table = "#" in document.text and any(_issue_column(table) is not None for table in read_tables(document))
    return 0.92 if step and table else 0.7 if step or table else 0.0


def parse(document: Document) -> Outline:
    outline = walk(document, Grammar())
    rows: list[ParsedItem] = []
    others: list[Table] = []
    order = 0
    for table in read_tables(document):
        column = _issue_column(table)
        if column is None:
            others.append(table)
            continue
        start = len(rows)
        for row in table.rows:
            found = list(_row(document, outline, table, row, column, order))
            order += any(item.kind == "phase" for item in found)
            rows.extend(found)
        _heading_count(outline, table, rows[start:])
    outline.items.extend([*rows, *work_items(document, others)])
    blocks = list(_blocks(document))
    taken = {item.line: item for item in outline.items if item.ordinal == 0}
    steps = [
        step for step in (_next_step(document, outline, block, taken) for block in blocks) if step is not None
    ]
    for step in steps[1:]:
        message = (
            f"a next step is already on line {steps[0].line}; there can be one. Keep the one that is true."
        )
        outline.find("more_than_one_next_step", Severity.WARNING, step.line, message)
    outline.items.sort(key=lambda item: (item.line, item.ordinal))
    _said(document, outline, blocks)
    _counts(document, outline)
    settle(outline)
    return outline


# ---- the table of phases and issues


def _issue_column(table: Table) -> int | None:
    column = table.column(ISSUE_COLUMN)
    if column is None or not any(read_issues(row.cells[column]).numbers for row in table.rows):
        return None
    return column


def _row(
    document: Document, outline: Outline, table: Table, row: Row, column: int, order: int
) -> Iterator[ParsedItem]:
    """The items of one row whose issues stand in `column`; `order` is the rank of its phase."""
    status = status_column(table)
    issues = read_issues(row.cells[column])
    for refused in issues.refused:
        message = f"the issue range {refused} runs backwards or is too long; its first number was taken. Correct it."
        outline.find("range_count_mismatch", Severity.WARNING, row.line, message)
    declared = table_status(table, row.cells[status]) if status is not None else None
    others = [i for i in range(len(row.cells)) if i not in (column, status) and row.cells[i]]
    if not others and not issues.numbers:
        return
    described = [plain(row.cells[i]) for i in others]
    labels = {"section": table.section} if table.section else {}
    phase = table.column(PHASE_COLUMN)
    if column == 0:  # "# Issue | Phase | Task | Note": the row is the issue
        parts = [plain(row.cells[i]) for i in others if i != phase]
        if phase is not None and row.cells[phase]:
            labels["phase"] = plain(row.cells[phase])
        titles = [parts[0] if parts else ""] * len(issues.numbers)
        body = "\n".join(parts[1:])
        first = 0
    else:
        name = described[0] if described else row.cells[column]
        match = _NAME.match(name)
        labels |= {"phase": match["id"] if match else name[:80], "phase_order": str(order)}
        body = "\n".join(described[1:])
        yield ParsedItem(
            line=row.line,
            title=name,
            kind="phase",
            status=declared or Declared.TODO,
            ext_id=match["id"] if match else None,
            body=body,
            labels=dict(labels),
            explicit_status=declared is not None,
            mark=cell_mark(document, row, status),
        )
        parts = _COMMA.split(body) if body and len(described) == 2 else []
        # as many parts in the description as issues in the list: they are named in order
        titles = (
            [part.strip() for part in parts]
            if len(parts) == len(issues.numbers)
            else [""] * len(issues.numbers)
        )
        first = 1
    for ordinal, (number, title) in enumerate(zip(issues.numbers, titles, strict=True), first):
        closed = number in issues.closed
        yield ParsedItem(
            line=row.line,
            ordinal=ordinal,
            parent_line=row.line if ordinal else None,
            title=title or f"Issue #{number}" + (f" of {labels['phase']}" if "phase" in labels else ""),
            kind="issue",
            status=Declared.DONE if closed else declared or Declared.TODO,
            ext_id=f"#{number}",
            body=body,
            labels=dict(labels),
            explicit_status=closed or declared is not None,
            # the row's status is that of its phase; of an issue only where the row is one issue
            mark=cell_mark(document, row, status) if column == 0 and len(issues.numbers) == 1 else None,
        )


def _heading_count(outline: Outline, table: Table, rows: list[ParsedItem]) -> None:
    stated = _IN_BRACKETS.search(table.section)
    distinct = {item.ext_id for item in rows if item.kind == "issue"}
    if stated and int(stated[1]) != len(distinct):
        message = f"the heading {table.section[:80]!r} says {stated[1]}, the table lists {len(distinct)}. Correct one."
        outline.find("range_count_mismatch", Severity.WARNING, table.line, message)


# ---- the next step


def _blocks(document: Document) -> Iterator[range]:
    """Line numbers below each "next step" heading, up to a rule or the next heading."""
    start = 0
    for number, line in enumerate([*document.live, "---"], 1):
        text = line.strip()
        heading = heading_of(line) if text.startswith("#") else None
        if start and (heading or (len(text) > 2 and not text.strip("-*_ "))):
            yield range(start, number)
            start = 0
        if heading and _HEADING.match(heading[1]):
            start = number + 1


def _next_step(
    document: Document, outline: Outline, block: range, taken: dict[int, ParsedItem]
) -> ParsedItem | None:
    """The block's step: the paragraph that is called so, else its first checkbox, else its first paragraph."""
    lines = [(n, document.live[n - 1].strip()) for n in block]
    lines = [(n, "" if _NOTE.match(text) else text) for n, text in lines]
    lead = next((i for i, (n, text) in enumerate(lines) if n not in taken and _LEAD.match(text)), None)
    boxes = [taken[n] for n in block if n in taken and taken[n].kind == "task" and taken[n].status.is_open]
    if lead is None and boxes:
        boxes[0].kind = "next_step"
        if len([item for item in boxes if item.parent_line is None]) > 1:
            _several(outline, boxes[0].line, f"{len(boxes)} open checkboxes")
        return boxes[0]
    if lead is None:
        lead = next((i for i, (n, text) in enumerate(lines) if text and n not in taken), None)
        if lead is None:
            return None
    line, text = lines[lead]
    match = _LEAD.match(text)
    parts = [match["rest"] if match else text]
    options: list[str] = []
    for number, following in lines[lead + 1 :]:
        option = re.match(rf"(?:[{re.escape(BULLETS)}]|{NUMBER})\s+(.*)", following)
        if number in taken or (not following and (parts[-1] or options)):
            break
        if option:
            options.append(option[1])
        elif following:
            parts.append(following)
    whole = "\n".join(filter(None, [*parts, *options]))
    if not whole:
        return None
    sentence = re.split(r"(?<=[.!?])\s|;", " ".join(filter(None, parts)) or options[0])[0]
    item = ParsedItem(
        line=line,
        title=sentence.replace("**", "").strip(" *_")[:300] or whole[:300],
        kind="next_step",
        body=whole,
        labels={"issues": ", ".join(f"#{n}" for n in read_issues(whole).numbers)} if "#" in whole else {},
        explicit_status=False,
    )
    outline.items.append(item)
    taken[line] = item
    if len(options) > 1:
        _several(outline, line, f"{len(options)} options, first {quoted(options[0])}")
    elif choice := _ALTERNATIVES.search(whole):
        _several(outline, line, f"alternatives ({whole[max(0, choice.start() - 40) : choice.end() + 60]!r})")
    return item


def _several(outline: Outline, line: int, what: str) -> None:
    message = f"one next step is asked for, but the block offers {what}. Decide for one and write that."
    outline.find("more_than_one_next_step", Severity.WARNING, line, message)


# ---- what the text says of issues


def _said(document: Document, outline: Outline, blocks: list[range]) -> None:
    """ "#56 is partly done" in the next-step block is what the board declares of issue #56."""
    issues = {item.ext_id: item for item in outline.items if item.kind == "issue"}
    for block in blocks:
        for number in block:
            for match in _SAID.finditer(document.live[number - 1]):
                item = issues.get(f"#{match['number']}")
                status = status_of(match["words"])
                if item is not None and not item.explicit_status and status not in (None, Declared.TODO):
                    item.status = status
                    item.explicit_status = True
                    item.labels["status_line"] = str(number)


def _counts(document: Document, outline: Outline) -> None:
    """ "all 20 became issues #55–73": the range has 19 numbers."""
    for number, line in enumerate(document.live, 1):
        if "#" not in line or not any(mark in line for mark in "-–—") or len(line) > 5000:
            continue
        for sentence in _SENTENCE.split(line):
            issues = read_issues(sentence)
            stated = {int(match["count"] or match["every"]) for match in _COUNT.finditer(sentence)}
            if issues.ranges and not issues.refused and stated and len(issues.numbers) not in stated:
                first, last = issues.ranges[0]
                message = (
                    f"the text says {', '.join(map(str, sorted(stated)))}, but #{first}–{last} and what is listed "
                    f"with it are {len(issues.numbers)} numbers. Correct the count or the list."
                )
                outline.find("range_count_mismatch", Severity.WARNING, number, message)
