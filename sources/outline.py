"""What a dialect makes of a text: its items, what looks like one and is none, and what is odd; and which items of it
only show how one is written."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field

from models.board import Finding, NotItem, ParsedItem
from models.enums import Declared, Severity
from models.words import quoted
from sources.naming import LEGEND_ALONE, is_template
from sources.reading import lost

_PLACEHOLDER = re.compile(r"(?:\w+ )?(?:XXX|NNN|<[^>]+>|…|\.\.\.)(?:[.\s-]|$)")
_PLACE = re.compile(r"\b(?:XXX|NNN)\b|<[\w -]{1,40}>")
_PLACEHOLDER_ALONE = re.compile(r"(?:XXX|NNN)(?:[.-][\w.]*)?|<[^<>]+>|…|\.\.\.")


@dataclass(slots=True)
class Section:
    line: int
    level: int
    title: str
    first: int  # index of its first item


@dataclass(slots=True)
class Outline:
    items: list[ParsedItem] = field(default_factory=list)
    indents: dict[int, int] = field(default_factory=dict)  # by line
    findings: list[Finding] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    not_items: list[NotItem] = field(default_factory=list)

    def find(self, code: str, severity: Severity, line: int, message: str) -> None:
        self.findings.append(Finding(code, severity, line, message))


def drop_templates(outline: Outline) -> None:
    """Items of a section that shows how an item is written are not work. The section must say so twice: by its
    heading and by a placeholder such as XXX in an item. Elsewhere an item that is a placeholder goes alone."""
    firsts = [section.first for section in outline.sections] + [len(outline.items)]
    keep = [item for item in outline.items[: firsts[0]] if not _placeholder(item, outline)]
    level = 0  # of the heading whose sections are being dropped; 0 for none
    legends = {line for line, reason in outline.not_items if reason == "legend"}
    ends = [*(section.line for section in outline.sections[1:]), sys.maxsize][: len(outline.sections)]
    for section, end, last in zip(outline.sections, firsts[1:], ends, strict=True):
        items = outline.items[section.first : end]
        if level and section.level <= level:
            level = 0
        if not level and is_template(section.title) and any(map(_holds_a_place, items)):
            level = section.level
        said = sum(section.line < line < last for line in legends)
        if not level and _explains(section, items, said):
            outline.not_items.extend(NotItem(item.line, "legend") for item in items)
        elif not level:
            keep.extend(item for item in items if not _placeholder(item, outline))
        elif items:
            outline.not_items.extend(NotItem(item.line, "template") for item in items)
            message = (
                f"the section {section.title[:80]!r} shows how items are written: its {len(items)} checkbox line(s) "
                "are not items. Rename the section if they are work."
            )
            outline.find("template_section", Severity.INFO, section.line, message)
    if len(keep) < len(outline.items):
        depths: dict[int | None, int] = {None: -1}
        for item in keep:
            item.parent_line = item.parent_line if item.parent_line in depths else None
            item.depth = depths[item.line] = depths[item.parent_line] + 1
        outline.items = keep


def _holds_a_place(item: ParsedItem) -> bool:
    return bool(_PLACEHOLDER.match(item.ext_id or item.title) or _PLACE.search(item.title))


def _explains(section: Section, items: list[ParsedItem], said: int) -> bool:
    """A legend in other words than a status: it names each state once, and says nothing below it. `said`: how many
    of its lines were known for a legend by their words."""
    return (
        bool(items)
        and (said > 0 or len(items) > 1)
        and len(items) <= len(Declared)
        and len({item.status for item in items}) == len(items)
        and LEGEND_ALONE.whole(section.title)
        and all(item.parent_line is None and not item.body for item in items)
    )


def drop_lost(outline: Outline) -> None:
    """Items whose wording became question marks are no text to work on (the finding encoding_loss names their lines);
    what stands below them goes to what stands above them."""
    gone = {(item.line, item.ordinal): item for item in outline.items if lost(item.title)}
    if not gone:
        return
    depths: dict[tuple[int, int], int] = {}
    keep = [item for item in outline.items if (item.line, item.ordinal) not in gone]
    for item in keep:
        while item.parent_line is not None and (above := gone.get((item.parent_line, item.parent_ordinal))):
            item.parent_line, item.parent_ordinal = above.parent_line, above.parent_ordinal
    parents = {(item.line, item.ordinal): item for item in keep}
    for item in keep:
        path = [item]
        while (at := path[-1]).parent_line is not None and (at.line, at.ordinal) not in depths:
            path.append(parents[at.parent_line, at.parent_ordinal])
        depth = depths.get((path[-1].line, path[-1].ordinal), 0)
        for step, at in enumerate(reversed(path)):
            at.depth = depths[at.line, at.ordinal] = depth + step
    outline.items = keep
    lines = {line for line, _ in gone}
    outline.findings = [finding for finding in outline.findings if finding.line not in lines]
    outline.not_items += [NotItem(line, "lost") for line in lines]


def _placeholder(item: ParsedItem, outline: Outline) -> bool:
    name = item.ext_id or item.title
    if not _PLACEHOLDER_ALONE.fullmatch(name):
        return False
    message = f"{quoted(name)} is a placeholder, so it is no item. Give it a real id or title if it is work."
    outline.find("placeholder_item", Severity.INFO, item.line, message)
    outline.not_items.append(NotItem(item.line, "placeholder"))
    return True
