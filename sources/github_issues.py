"""GitHub issues as JSON: what `gh issue list --json ...` and the REST API write, and the payloads of webhooks.

An issue is an item with the id `#12`; the task list in its body becomes its children, and what is left of the body is
the item's. A sub-issue, or an issue that a task list names alone (`- [ ] #13`), is the child of that issue. JSON may be
one line: an item stands on the line that its issue begins on, with an ordinal of its own. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from models.board import NotItem, ParsedItem
from models.enums import Severity
from models.words import all_of, quoted, some_of
from sources import gfm
from sources.document import Document, read_document
from sources.github import REMOVALS, Issue, issue_of, objects
from sources.leftovers import account
from sources.masking import indent_of
from sources.outline import Outline

NAME = "github_issues"

_KINDS = {"epic": "epic", "feature": "feature", "story": "story", "user story": "story"}
_URL = r"https?://[^\s/]+/(?P<{0}>[\w.-]+/[\w.-]+)/(?:issues|pull)/"
_REFERENCE = rf"(?:{_URL.format('at')}|(?P<repo>[\w.-]+/[\w.-]+)?#|\bGH-)(?P<number>\d{{1,9}})\b"
_LIST = r"(?:https?://\S+/(?:issues|pull)/\d{1,9}|(?:[\w.-]+/[\w.-]+)?#\d{1,9}|GH-\d{1,9})"
_NEEDS = re.compile(
    rf"\b(?:blocked\s+by|depends\s+on|зависит\s+от|заблокировано)\b\**\s*:?\s*\**\s*"
    rf"(?P<list>{_LIST}(?:(?:\s*[,;&+]\s*|\s+(?:and|и)\s+|\s*,\s*(?:and|и)\s+){_LIST})*)",
    re.IGNORECASE,
)
_ONE = re.compile(_REFERENCE, re.ASCII)


def score(document: Document) -> float:
    """0.95 for JSON whose first object is an issue or a webhook's payload with one."""
    first = next(objects(document.raw), None)
    return 0.95 if first is not None and first[1] is not None and issue_of(first[1]) is not None else 0.0


def parse(document: Document) -> Outline:
    return _Board().read(document)


class _Board:
    def __init__(self) -> None:
        self.outline = Outline()
        self.issues: dict[int, tuple[Issue, ParsedItem]] = {}
        self.parents: dict[int, ParsedItem] = {}  # by id() of the item
        self.children: dict[int, list[ParsedItem]] = defaultdict(list)  # the same the other way round

    def read(self, document: Document) -> Outline:
        for issue, line in self._latest(document):
            last = self.outline.items[-1] if self.outline.items else None
            ordinal = last.ordinal + 1 if last is not None and last.line == line else 0
            item = _item(issue, line, ordinal)
            self.issues[issue.number] = issue, item
            self.outline.items.append(item)
            self._body(issue, item)
        self._track()
        self._place_sub_issues()
        for item in self.outline.items:
            self._depth(item)
        self._contradictions()
        self._unknown_needs()
        document.title = ""
        document.findings.clear()  # both are about Markdown
        account(document, self.outline, {}, "code")
        return self.outline

    def _latest(self, document: Document) -> Iterator[tuple[Issue, int]]:
        """The latest state of each issue in the text, in its order."""
        found: dict[int, tuple[Issue, int]] = {}
        gone: set[int] = set()
        left_out = 0
        first = next((line.strip() for line in document.raw if line.strip()), "")
        if not first.startswith(("[", "{")):
            message = (
                "this is no JSON with issues. Give what `gh issue list --json ...` or the REST API writes."
            )
            self.outline.find("malformed_json", Severity.ERROR, 1, message)
        for line, data in objects(document.raw):
            issue = issue_of(data) if data is not None else None
            if data is None:
                message = (
                    "the JSON is wrong or breaks off here; nothing below was read. Export the issues again."
                )
                self.outline.find("malformed_json", Severity.ERROR, line, message)
            elif issue is None:
                left_out += 1
            else:
                earlier, first_line = found.get(issue.number, (issue, line))
                if issue.number in found and "issue" not in data:
                    message = (
                        f"{issue.id} is here twice, first on line {first_line}; the later state was taken."
                    )
                    self.outline.find("duplicate_id", Severity.INFO, line, message)
                if issue.updated_at >= earlier.updated_at:
                    found[issue.number] = issue, first_line
                if "issue" in data and str(data.get("action")) in REMOVALS:
                    gone.add(issue.number)
        if left_out:
            message = (
                f"{left_out} entries were left out: pull requests, or without a number, a title and a state."
            )
            self.outline.find("not_an_issue", Severity.INFO, 0, message)
        return (each for number, each in found.items() if number not in gone)

    def _body(self, issue: Issue, item: ParsedItem) -> None:
        """The task list of its body becomes children, the rest is its own text."""
        document = read_document(issue.body)
        outline = gfm.parse(document)
        item.body, prose = _prose(document, {child.line for child in outline.items})
        needs, foreign = _needs_in(prose, issue.repository)
        item.needs = [
            f"#{n}" for n in dict.fromkeys([*(issue.blocked_by or ()), *needs]) if n != issue.number
        ]
        for name in foreign:
            message = (
                f"{issue.id} waits for {name}, which is in another repository: that is not waited for here."
            )
            self.outline.find("unknown_dependency", Severity.WARNING, item.line, message)
        by_line: dict[int | None, ParsedItem] = {}
        for ordinal, child in enumerate(outline.items, item.ordinal + 1):
            parent = by_line.get(child.parent_line, item)
            by_line[child.line] = child
            child.line, child.ordinal = item.line, ordinal
            child.mark = None  # a place inside a JSON string is none that could be written to
            child.needs = [need for need in child.needs if need.startswith("#")]
            self._put(child, parent)
            self.outline.items.append(child)
        for finding in outline.findings:
            if finding.code == "unknown_dependency":
                continue  # said below of what is no issue at all
            message = f"{issue.id}, line {finding.line} of its text: {finding.message}"
            self.outline.find(finding.code, finding.severity, item.line, message)
        self.outline.not_items += [NotItem(item.line, each.reason) for each in outline.not_items]

    def _track(self) -> None:
        """`- [ ] #13` in the task list of an issue says that 13 is part of it, where 13 is known."""
        gone: set[int] = set()
        for issue, item in self.issues.values():
            pending = list(self.children[id(item)])
            while pending:
                line = pending.pop()
                pending += self.children[id(line)]
                number = _alone(line.title, issue.repository)
                known = self.issues.get(number) if number is not None else None
                if known is None or known[1] is item or self.children[id(line)]:
                    continue
                gone.add(id(line))
                self.children[id(self.parents[id(line)])].remove(line)
                if not known[0].knows_parent or known[0].parent is None:
                    self._adopt(known[1], item)
        self.outline.items = [item for item in self.outline.items if id(item) not in gone]

    def _place_sub_issues(self) -> None:
        for issue, item in self.issues.values():
            for number in issue.sub_issues or ():
                if number in self.issues:
                    self._adopt(self.issues[number][1], item)
            if issue.parent is not None and issue.parent in self.issues:
                self._adopt(item, self.issues[issue.parent][1])

    def _adopt(self, item: ParsedItem, parent: ParsedItem) -> None:
        """Put an issue under another one, unless that one is below it already."""
        at: ParsedItem | None = parent
        while at is not None and at is not item:
            at = self.parents.get(id(at))
        if at is item:
            message = f"{item.ext_id} and {parent.ext_id} are said to be parts of each other; the second was left out."
            self.outline.find("parent_ring", Severity.WARNING, item.line, message)
            return
        if (before := self.parents.get(id(item))) is not None:
            self.children[id(before)].remove(item)
        self._put(item, parent)

    def _put(self, item: ParsedItem, parent: ParsedItem) -> None:
        self.parents[id(item)] = parent
        self.children[id(parent)].append(item)

    def _depth(self, item: ParsedItem) -> None:
        """Its parent's place and its own depth; rings were refused, so this ends."""
        item.depth, at = 0, item
        while (above := self.parents.get(id(at))) is not None:
            item.depth, at = item.depth + 1, above
        if (parent := self.parents.get(id(item))) is not None:
            item.parent_line, item.parent_ordinal = parent.line, parent.ordinal
        else:
            item.parent_line, item.parent_ordinal = None, 0

    def _contradictions(self) -> None:
        for _, item in self.issues.values():
            below = self.children[id(item)]
            still_open = [child for child in below if child.status.is_open]
            if still_open and not item.status.is_open:
                first = still_open[0].ext_id or quoted(still_open[0].title)
                message = (
                    f"{item.ext_id} is closed, but {some_of(len(still_open), len(below), 'part')} open"
                    f"{', first' if len(still_open) > 1 else ':'} {first}. Close them or reopen it."
                )
                self.outline.find("done_parent_open_child", Severity.WARNING, item.line, message)
            elif below and not still_open and item.status.is_open:
                message = (
                    f"{item.ext_id} is open, but {all_of(len(below), 'part')} closed. "
                    "Close it, or write what is left."
                )
                self.outline.find("open_parent_all_done", Severity.INFO, item.line, message)

    def _unknown_needs(self) -> None:
        known = {item.ext_id for _, item in self.issues.values()}
        for item in self.outline.items:
            for need in item.needs:
                if need not in known:
                    name = item.ext_id or quoted(item.title)
                    message = (
                        f"{name} depends on {need}, which is not among these issues. Is the number right?"
                    )
                    self.outline.find("unknown_dependency", Severity.WARNING, item.line, message)


def _item(issue: Issue, line: int, ordinal: int) -> ParsedItem:
    labels = {
        "owner": ", ".join(issue.assignees),
        "milestone": issue.milestone,
        "labels": ", ".join(issue.labels),
        "type": issue.type,
        "url": issue.url,
    }
    return ParsedItem(
        line=line,
        ordinal=ordinal,
        title=issue.title or issue.id,
        kind=_KINDS.get(issue.type.lower(), "issue"),
        status=issue.status,
        ext_id=issue.id,
        priority=issue.priority,
        labels={name: value for name, value in labels.items() if value},
    )


def _prose(document: Document, items: set[int]) -> tuple[str, str]:
    """A body without its task list and comments; and the same without code and quotes, where words are somebody's."""
    kept: list[str] = []
    said: list[str] = []
    below: int | None = None  # the indent of the item above
    for number, (raw, live) in enumerate(zip(document.raw, document.live, strict=True), 1):
        indent = indent_of(raw[: len(raw) - len(raw.lstrip())])
        if number in items:
            below = indent if below is None else min(below, indent)
            continue
        if below is not None and (not raw.strip() or indent > below):
            continue
        below = None
        reason = document.masked.get(number)
        if reason != "comment":
            kept.append(raw if reason else live)
            said.append(live)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in kept)).strip(), "\n".join(said)


def _needs_in(text: str, repository: str) -> tuple[list[int], list[str]]:
    """Numbers of issues of this repository, and names of others', after "blocked by" or "depends on"."""
    own: list[int] = []
    foreign: list[str] = []
    for match in _NEEDS.finditer(text):
        for one in _ONE.finditer(match["list"]):
            where = one["at"] or one["repo"]
            if where and where.lower() != repository.lower():
                foreign.append(f"{where}#{one['number']}")
            else:
                own.append(int(one["number"]))
    return own, foreign


def _alone(title: str, repository: str) -> int | None:
    """The number of the issue of this repository that a line is about and says nothing else of."""
    match = _ONE.fullmatch(title.strip())
    if match is None:
        return None
    where = match["at"] or match["repo"]
    return int(match["number"]) if not where or where.lower() == repository.lower() else None
