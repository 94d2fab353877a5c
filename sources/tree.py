"""What is odd about a tree of dotted ids: levels and numbers that are not there, questions beside their gate, parents
that are said to be untouched. Only what is worth a look: one finding for each cause, however many lines have it."""

from __future__ import annotations

from collections import defaultdict

from models.board import ParsedItem
from models.enums import Declared, Severity
from models.words import some_of
from sources.document import Document
from sources.outline import Outline
from sources.structure import ancestors_of, children_of, is_gate, name_of

_SHOWN = 4


def look_over(document: Document, outline: Outline) -> None:
    """Add the findings of a board whose ids make a tree, after its parents are settled."""
    first = {item.ext_id: item for item in reversed(outline.items) if item.ext_id}
    missing = _missing_levels(outline, first)
    _missing_numbers(outline, first, missing)
    if any("[~]" in line or "[/]" in line for line in document.raw):
        _begun(outline)
    _outside_gates(outline)


def _listed(items: list[ParsedItem]) -> str:
    names = [name_of(item) for item in items[:_SHOWN]]
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(names) + more


def _missing_levels(outline: Outline, first: dict[str, ParsedItem]) -> set[str]:
    """Items whose id skips a level: PHC-4.1.1.1 stands under PHC-4.1, and there is no PHC-4.1.1."""
    skipping: dict[str, list[ParsedItem]] = defaultdict(list)
    owners: dict[str, ParsedItem] = {}
    for item in outline.items:
        if item.ext_id is None or first[item.ext_id] is not item:
            continue
        above = list(ancestors_of(item.ext_id))
        owner = next((first[name] for name in above if name in first), None)
        if owner is not None and above[0] not in first:
            skipping[above[0]].append(item)
            owners[above[0]] = owner
    for name, items in skipping.items():
        message = (
            f"{name} is not on the board: {_listed(items)} went to {name_of(owners[name])}. "
            f"Add {name}, or correct the id{'s' if len(items) > 1 else ''}."
        )
        outline.find("missing_level", Severity.INFO, items[0].line, message)
    return set(skipping)


def _missing_numbers(outline: Outline, first: dict[str, ParsedItem], levels: set[str]) -> None:
    """Siblings that count 1, 3: what became of 2? Copied ids count where the copies stand."""
    series: dict[tuple[int, str], dict[int, ParsedItem]] = defaultdict(dict)
    for item in outline.items:
        if item.ext_id is None or item.parent_line is None:
            continue
        prefix, _, last = item.ext_id.rpartition(".")
        copied = first[item.ext_id] is not item
        if last.isdecimal() and len(last) < 4 and (copied or prefix in first):
            series[item.parent_line, f"{prefix}."].setdefault(int(last), item)
    for (_, prefix), members in series.items():
        numbers = sorted(members)
        highest = members[numbers[-1]]
        copies = first.get(highest.ext_id or "") is not highest
        gaps = [
            number
            for number in range(min(1, numbers[0]), numbers[-1])
            if number not in members
            and (name := f"{prefix}{number}") not in levels
            and (copies or name not in first)
        ]
        if not gaps or len(gaps) > 2 * len(numbers):  # not counted one by one
            continue
        after = members[next(number for number in numbers if number > gaps[0])]
        names = ", ".join(f"{prefix}{number}" for number in gaps[:_SHOWN])
        more = f" and {len(gaps) - _SHOWN} more" if len(gaps) > _SHOWN else ""
        message = f"the numbers below line {after.parent_line} leave out {names}{more}. Was something lost?"
        outline.find("missing_number", Severity.INFO, after.line, message)


def _begun(outline: Outline) -> None:
    """A parent that is not begun, by its mark, and has children that are done and others that are not, on a board that
    has a mark for what is begun, if only in its legend. Of a branch only the topmost is told."""
    children = children_of(outline.items)
    told: set[int | None] = set()
    for parent in sorted(outline.items, key=lambda item: item.depth):
        if parent.parent_line in told:
            told.add(parent.line)
            continue
        below = [child for child in children.get(parent.line, ()) if child.explicit_status]
        done = sum(child.status is Declared.DONE for child in below)
        if parent.status is Declared.TODO and done and any(child.status.is_open for child in below):
            message = (
                f"{name_of(parent)} is todo, but {some_of(done, len(below), 'child', 'children')} done. "
                "Mark it as in progress, `[~]`."
            )
            outline.find("open_parent_some_done", Severity.INFO, parent.line, message)
            told.add(parent.line)


def _outside_gates(outline: Outline) -> None:
    """Questions that stand among the work, on a board that has nodes for them: more than one in a place, or one right
    below an epic or feature. A single one among the steps of a task is that task's own."""
    by_line = {item.line: item for item in outline.items}
    if not any(map(is_gate, outline.items)):
        return
    under = _under_gates(outline)
    outside: dict[int, list[ParsedItem]] = defaultdict(list)
    for item in outline.items:
        talk = item.kind in ("consult", "reflect")
        if talk and item.parent_line is not None and not under[item.line]:
            outside[item.parent_line].append(item)
    for line, items in outside.items():
        parent = by_line[line]
        if len(items) < 2 and parent.kind not in ("epic", "feature"):
            continue
        message = (
            f"{_listed(items)}: a question among the work of {name_of(parent)}, outside a gate, so nothing waits for "
            f"the answer. Put it below {parent.ext_id or 'it'}.GOV."
        )
        outline.find("question_outside_gate", Severity.INFO, items[0].line, message)


def _under_gates(outline: Outline) -> dict[int, bool]:
    """Of each line, whether a gate is above it. Every item is visited once, however deep the board is."""
    by_line = {item.line: item for item in outline.items}
    known: dict[int, bool] = {}
    for item in outline.items:
        path: list[int] = []
        at: ParsedItem | None = item
        while at is not None and at.line not in known and not is_gate(at):
            path.append(at.line)
            at = by_line.get(at.parent_line) if at.parent_line is not None else None
        found = at is not None and (is_gate(at) or known[at.line])
        known.update(dict.fromkeys(path, found))
        known.setdefault(item.line, found)
    return known
