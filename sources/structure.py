"""What an outline's items are to one another: parents, depths, gates, and where the board contradicts itself."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from models.board import ParsedItem
from models.enums import Declared, Severity
from models.words import all_of, quoted, some_of
from sources.outline import Outline
from sources.vocabulary import latin_id

MOST_CHARACTERS = 20_000
"""Of an item's text. More is no task but a document, and no prompt has room for it beside its sources."""

GATES = frozenset({"GOV", "DISCOVERY"})
"""Last part of the id of a node that must be settled before its siblings may start."""

_SUFFIX = re.compile(r"(.*\d[a-zа-я])\d+$|(.*\d)[a-zа-я]$", re.IGNORECASE)


def settle(outline: Outline, *, by_id: bool = False) -> None:
    """Give every item its parent and depth, make gates needs, and add the findings that need the whole board.

    With `by_id` the dotted ids say who is whose parent and the indent only where they do not.
    """
    normalise_ids(outline)
    first = _first_by_id(outline)
    _indent_jumps(outline)
    if by_id:
        _parents_by_id(outline, first)
        _cut_cycles(outline)
    _depths(outline)
    _parent_findings(outline)
    if by_id:
        _gates(outline, children_of(outline.items))
    _needs(outline, first)
    _sibling_indents(outline)
    _oversized(outline)


def children_of(items: list[ParsedItem]) -> dict[int | None, list[ParsedItem]]:
    children: dict[int | None, list[ParsedItem]] = defaultdict(list)
    for item in items:
        children[item.parent_line].append(item)
    return children


def ancestors_of(ext_id: str) -> Iterator[str]:
    """Ids that would be parents of this one, nearest first: of PHC-1.2a1 PHC-1.2a, PHC-1.2, PHC-1."""
    while True:
        if match := _SUFFIX.match(ext_id):
            ext_id = match[1] or match[2]
        elif "." in ext_id:
            ext_id = ext_id.rpartition(".")[0]
        else:
            return
        yield ext_id


def name_of(item: ParsedItem) -> str:
    return f"{item.ext_id or quoted(item.title)} (line {item.line})"


def normalise_ids(outline: Outline) -> None:
    for item in outline.items:
        if item.ext_id and not item.ext_id.isascii() and (latin := latin_id(item.ext_id)) != item.ext_id:
            message = (
                f"the id {item.ext_id} has Cyrillic letters that look Latin; read as {latin}. Retype it."
            )
            outline.find("homoglyph_id", Severity.INFO, item.line, message)
            item.ext_id = latin
        if item.needs:
            item.needs = list(dict.fromkeys(map(latin_id, item.needs)))


def _first_by_id(outline: Outline) -> dict[str, ParsedItem]:
    first: dict[str, ParsedItem] = {}
    for item in outline.items:
        if item.ext_id is None:
            continue
        other = first.setdefault(item.ext_id, item)
        if other is not item:
            message = (
                f"the id {item.ext_id} is already on line {other.line} ({quoted(other.title)}); here it is "
                f"{quoted(item.title)}. Both are kept as items; give one of them its own id."
            )
            outline.find("duplicate_id", Severity.WARNING, item.line, message)
    return first


def _parents_by_id(outline: Outline, first: dict[str, ParsedItem]) -> None:
    by_line = {item.line: item for item in outline.items}
    for item in outline.items:
        if item.ext_id is None:
            continue
        above = by_line.get(item.parent_line) if item.parent_line is not None else None
        owner = next((first[name] for name in ancestors_of(item.ext_id) if name in first), None)
        if owner is item:
            continue
        misplaced = (
            above is not None
            and above.ext_id is not None
            and above.ext_id != (owner.ext_id if owner else None)
            and above.ext_id not in set(ancestors_of(item.ext_id))
        )
        duplicate = first[item.ext_id] is not item  # a copied id says nothing of where the copy belongs
        if misplaced and above is not None:
            parent = above if duplicate or owner is None else owner
            place = f"the id says {name_of(owner)}" if owner else "the id does not begin with that one"
            message = (
                f"{item.ext_id} is indented under {name_of(above)}, but {place}; "
                f"it was put under {name_of(parent)}. Move the line or correct the id."
            )
            outline.find("parent_mismatch", Severity.WARNING, item.line, message)
        if owner is not None and not duplicate:
            item.parent_line = owner.line


def _cut_cycles(outline: Outline) -> None:
    """A parent by id may be below its child and a parent by indent is above it, so the two can make a ring."""
    by_line = {item.line: item for item in outline.items}
    safe: set[int] = set()
    for item in outline.items:
        path: dict[int, None] = {}
        at: ParsedItem | None = item
        while at is not None and at.line not in safe and at.line not in path:
            path[at.line] = None
            at = by_line.get(at.parent_line) if at.parent_line is not None else None
        if at is not None and at.line in path:
            message = f"{name_of(at)} is its own ancestor by ids and indents; it was put at the top. Correct the id."
            outline.find("parent_mismatch", Severity.WARNING, at.line, message)
            at.parent_line = None
        safe.update(path)


def _depths(outline: Outline) -> None:
    parents = {(item.line, item.ordinal): _place_of_parent(item) for item in outline.items}
    depths: dict[tuple[int, int], int] = {}
    for item in outline.items:
        path: list[tuple[int, int]] = []
        place: tuple[int, int] | None = (item.line, item.ordinal)
        while place is not None and place not in depths:
            path.append(place)
            place = parents.get(place)
        depth = -1 if place is None else depths[place]
        for place in reversed(path):
            depth += 1
            depths[place] = depth
        item.depth = depths[item.line, item.ordinal]


def _place_of_parent(item: ParsedItem) -> tuple[int, int] | None:
    return None if item.parent_line is None else (item.parent_line, item.parent_ordinal)


def _indent_jumps(outline: Outline) -> None:
    indents = [outline.indents.get(item.line, 0) for item in outline.items if item.kind != "step"]
    lines = [item.line for item in outline.items if item.kind != "step"]
    steps = [b - a for a, b in pairwise(indents) if b > a]
    if not steps:
        return
    unit = min(Counter(steps).most_common(), key=lambda pair: (-pair[1], pair[0]))[0]
    for line, before, after in zip(lines[1:], indents, indents[1:], strict=False):
        if 2 * (after - before) > 3 * unit:
            message = f"the indent goes from {before} to {after} columns, the board's step is {unit}. Check the parent."
            outline.find("indent_jump", Severity.INFO, line, message)


def _parent_findings(outline: Outline) -> None:
    children: dict[tuple[int, int] | None, list[ParsedItem]] = defaultdict(list)
    for item in outline.items:
        children[_place_of_parent(item)].append(item)
    for parent in outline.items:
        below = children.get((parent.line, parent.ordinal)) if parent.explicit_status else None
        below = [child for child in below or () if child.explicit_status]
        if not below:
            continue
        still_open = [child for child in below if child.status.is_open]
        if not parent.status.is_open and still_open:
            message = (
                f"{name_of(parent)} is {parent.status}, but "
                f"{some_of(len(still_open), len(below), 'child', 'children')} open"
                f"{', first' if len(still_open) > 1 else ':'} {name_of(still_open[0])}. Close them or reopen it."
            )
            outline.find("done_parent_open_child", Severity.WARNING, parent.line, message)
        elif parent.status.is_open and not still_open:
            message = (
                f"{name_of(parent)} is {parent.status}, but {all_of(len(below), 'child', 'children')} closed. "
                "Close it, or write what is left."
            )
            outline.find("open_parent_all_done", Severity.INFO, parent.line, message)


def _sibling_indents(outline: Outline) -> None:
    """Children of one parent that stand at different columns: one of them may be meant for another parent. A gate may
    stand beside the branch it belongs to."""
    reported = {finding.line for finding in outline.findings if finding.code == "parent_mismatch"}
    first: dict[tuple[int, str], ParsedItem] = {}
    seen: set[int] = set()
    for item in outline.items:
        if (
            item.parent_line is None
            or item.ordinal
            or item.kind == "step"
            or is_gate(item)
            or item.line not in outline.indents
        ):
            continue
        other = first.setdefault((item.parent_line, item.labels.get("section", "")), item)
        indent, before = outline.indents[item.line], outline.indents[other.line]
        if indent == before or item.parent_line in seen or item.line in reported or other.line in reported:
            continue
        seen.add(item.parent_line)
        message = (
            f"{name_of(item)} is indented by {indent} columns and its sibling {name_of(other)} by {before}; both "
            f"were read below line {item.parent_line}. Indent them alike, or correct the parent."
        )
        outline.find("sibling_indent", Severity.INFO, item.line, message)


def _oversized(outline: Outline) -> None:
    for item in outline.items:
        size = len(item.title) + len(item.body)
        if size > MOST_CHARACTERS:
            message = (
                f"{name_of(item)} has {size:,} characters of text; more than {MOST_CHARACTERS:,} is too much for one "
                "prompt. Split it, or put the text into a document of its own."
            )
            outline.find("oversized", Severity.INFO, item.line, message)


def is_gate(item: ParsedItem) -> bool:
    return item.ext_id is not None and item.ext_id.rpartition(".")[2].upper() in GATES


def _gates(outline: Outline, children: dict[int | None, list[ParsedItem]]) -> None:
    """The siblings of a governance node need it: of the branch's own ("PHC-1.GOV" in PHC-1), and of the nearest
    one above that belongs to no branch of the board. What was begun before its gate is settled is a violation;
    only the topmost item of a branch is reported."""
    owners = {item.line: item.ext_id for item in outline.items}
    gated: dict[int, ParsedItem] = {}
    for parent, siblings in children.items():
        gates = [item for item in siblings if is_gate(item)] if parent is not None else []
        if parent is None or not gates:
            continue
        branch = f"{owners[parent]}."
        own = {
            gate.ext_id: gate
            for gate in reversed(gates)
            if (gate.ext_id or "").rpartition(".")[0] + "." == branch
        }
        stray: ParsedItem | None = None
        for item in siblings:
            if is_gate(item):
                item.labels["gate"] = "true"
                stray = stray if item.ext_id in own else item
                continue
            for gate in filter(None, (*own.values(), stray)):
                item.needs.append(gate.ext_id or f"line:{gate.line}")
                if gate.status.is_open:
                    gated[item.line] = gate
    by_line = {item.line: item for item in outline.items}
    pending = [(by_line[line], gate) for line, gate in gated.items()]
    seen: set[int] = set()
    while pending:
        item, gate = pending.pop()
        if item.line in seen:
            continue
        seen.add(item.line)
        if item.status in (Declared.DONE, Declared.IN_PROGRESS, Declared.PARTIAL):
            message = (
                f"{name_of(item)} is {item.status}, but its gate {name_of(gate)} is {gate.status}. "
                "Settle the gate first, or close it if its questions are answered."
            )
            outline.find("gate_violation", Severity.WARNING, item.line, message)
        else:
            pending.extend((child, gate) for child in children.get(item.line, ()) if not is_gate(child))


def _needs(outline: Outline, first: dict[str, ParsedItem]) -> None:
    lines = {f"line:{item.line}" for item in outline.items}
    for item in outline.items:
        if not item.needs:
            continue
        item.needs = [need for need in dict.fromkeys(item.needs) if need != item.ext_id]
        for need in item.needs:
            if need not in first and need not in lines:
                message = f"{name_of(item)} depends on {need}, which is not on this board. Correct the id."
                outline.find("unknown_dependency", Severity.WARNING, item.line, message)
