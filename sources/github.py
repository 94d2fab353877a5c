"""What GitHub says of an issue, in the three forms it does: the REST API, a webhook's payload, `gh --json`. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from models.enums import Declared
from sources.vocabulary import priority_of

FULL_NAME = re.compile(r"(?!\.{1,2}/)[\w.-]{1,100}/(?!\.{1,2}$)[\w.-]{1,100}", re.ASCII)
"""A repository: owner/name."""
REMOVALS = frozenset({"deleted", "transferred"})
"""Actions of the event `issues` after which the issue is no longer in its repository."""
LONGEST_BODY = 262_144
"""Characters read of a body. GitHub takes 65,536; another server may not count."""

_CLOSED = {"not_planned": Declared.SKIPPED, "duplicate": Declared.SKIPPED}  # every other reason: done
_STATUS_LABEL = re.compile(r"(?:(?:status|state)\s*[:/=]\s*)?(?P<words>.+)", re.IGNORECASE)
_STATUSES = {
    **dict.fromkeys(("blocked", "on hold", "waiting", "заблокировано"), Declared.BLOCKED),
    **dict.fromkeys(
        ("in progress", "wip", "doing", "started", "in review", "в работе"), Declared.IN_PROGRESS
    ),
}
_PRIORITY_LABEL = re.compile(
    r"(?P<level>P[0-4])|(?:priority|prio|приоритет)\s*[:/= -]\s*(?P<after>.+)|(?P<before>\S+) (?:priority|приоритет)",
    re.IGNORECASE,
)
_REPOSITORY = re.compile(
    r"https?://[^\s/]+/(?:api/v3/)?(?:repos/)?(?P<name>[\w.-]+/[\w.-]+)(?:/(?:issues|pull)/\d+)?/?", re.ASCII
)
_BETWEEN = re.compile(r"[\s\[\],]*")


@dataclass(frozen=True, slots=True)
class Issue:
    """What Penstock takes of an issue.

    `parent` None: it has none; `knows_parent` False: nothing is said of it. So with the lists: None is nothing said.
    """

    number: int
    title: str
    body: str = ""
    closed: bool = False
    reason: str = ""
    labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    milestone: str = ""
    type: str = ""
    url: str = ""
    updated_at: str = ""
    parent: int | None = None
    knows_parent: bool = False
    sub_issues: tuple[int, ...] | None = None
    blocked_by: tuple[int, ...] | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Issue | None:
        """Read one as REST, webhooks or `gh --json` write it; None for what is no issue (a pull request is none)."""
        number, state = data.get("number"), _text(data, "state").lower()
        if type(number) is not int or not 0 < number < 2**53 or not isinstance(data.get("title"), str):
            return None
        if state not in ("open", "closed") or data.get("pull_request"):
            return None
        url = _text(data, "html_url", "url")
        own = repository_of(_text(data, "repository_url") or url)
        parents = _numbers([data["parent"]], own) if data.get("parent") else []
        if parent_url := _text(data, "parent_issue_url"):
            parents = _numbers([{"number": parent_url.rpartition("/")[2], "url": parent_url}], own)
        return cls(
            number=number,
            title=" ".join(_text(data, "title").split()),
            body=_text(data, "body").replace("\r\n", "\n").replace("\r", "\n")[:LONGEST_BODY],
            closed=state == "closed",
            reason=_text(data, "state_reason", "stateReason").lower(),
            labels=_names(data.get("labels"), "name"),
            assignees=_names(data.get("assignees"), "login"),
            milestone=next(iter(_names([data.get("milestone")], "title")), ""),
            type=next(iter(_names([data.get("type") or data.get("issueType")], "name")), ""),
            url=url,
            updated_at=_text(data, "updated_at", "updatedAt"),
            parent=parents[0] if parents else None,
            knows_parent="parent" in data or "parent_issue_url" in data,
            sub_issues=_relation(data, own, "sub_issues", "subIssues"),
            blocked_by=_relation(data, own, "blocked_by", "blockedBy"),
        )

    def fields(self) -> dict[str, Any]:
        """It as JSON that `of` reads again. Without the time of its update: that alone changes no item. What nothing
        was said of is left out, so that an earlier word on it stands."""
        found: dict[str, Any] = {
            "number": self.number,
            "title": self.title,
            "body": self.body,
            "state": "closed" if self.closed else "open",
            "state_reason": self.reason,
            "labels": list(self.labels),
            "assignees": list(self.assignees),
            "milestone": self.milestone,
            "type": self.type,
            "html_url": self.url,
        }
        if self.knows_parent:
            found["parent"] = self.parent
        if self.sub_issues is not None:
            found["sub_issues"] = list(self.sub_issues)
        if self.blocked_by is not None:
            found["blocked_by"] = list(self.blocked_by)
        return found

    @property
    def id(self) -> str:
        return f"#{self.number}"

    @property
    def repository(self) -> str:
        return repository_of(self.url)

    @property
    def time(self) -> datetime | None:
        """When it was updated, None where that is not said as GitHub says it."""
        try:
            found = datetime.fromisoformat(self.updated_at)
        except ValueError:
            return None
        return found if found.tzinfo is not None else None

    @property
    def status(self) -> Declared:
        if self.closed:
            return _CLOSED.get(self.reason, Declared.DONE)
        words = (_STATUS_LABEL.fullmatch(re.sub(r"[\s_-]+", " ", label.strip())) for label in self.labels)
        found = {_STATUSES.get(match["words"].lower()) for match in words if match}
        return next(
            (each for each in (Declared.BLOCKED, Declared.IN_PROGRESS) if each in found), Declared.TODO
        )

    @property
    def priority(self) -> int:
        for label in self.labels:
            if match := _PRIORITY_LABEL.fullmatch(label.strip()):
                level = priority_of(match["level"] or match["after"] or match["before"])
                if level is not None:
                    return level
        return 2


def changes_of(event: str, payload: Mapping[str, Any]) -> tuple[str, list[tuple[Issue, bool]]]:
    """What a webhook's payload says: the repository, and issues in their new state, each with whether it is gone.

    No issues for an event that is not about them. Raises ValueError for a payload that is not as GitHub documents it.
    """
    name = _text(_inner(payload, "repository"), "full_name")
    if event not in ("issues", "sub_issues"):
        return name, []
    action = _text(payload, "action")
    # The event's name is not signed: a comment's payload has an issue and an action, too.
    if not FULL_NAME.fullmatch(name) or not action or "comment" in payload:
        raise ValueError(f"it is no payload of the event {event}: action and repository.full_name are needed")
    if event == "issues":
        issue = _dated(payload, "issue")
        return name, [] if issue is None else [(issue, action in REMOVALS)]
    parent, child = _dated(payload, "parent_issue"), _dated(payload, "sub_issue")
    if parent is None or child is None:
        return name, []
    here = [
        _text(_inner(payload, f"{part}_repo"), "full_name") in ("", name)
        for part in ("parent_issue", "sub_issue")
    ]
    of = parent.number if here[0] and action.endswith("_added") else None
    child = replace(child, parent=of, knows_parent=True)
    return name, [(issue, False) for issue, known in zip((parent, child), here, strict=True) if known]


def _inner(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = payload.get(name)
    return inner if isinstance(inner, dict) else {}


def _dated(payload: Mapping[str, Any], name: str) -> Issue | None:
    """The issue of a payload, None for a pull request. Raises ValueError without the time of its update."""
    data = _inner(payload, name)
    if data.get("pull_request"):
        return None
    issue = Issue.of(data)
    if issue is None or issue.time is None:
        raise ValueError(f"{name} needs number, title, state and updated_at")
    return issue


def issue_of(data: Mapping[str, Any]) -> Issue | None:
    """The issue that an object is, or that a webhook's payload is about."""
    inner = data.get("issue")
    return Issue.of(inner if isinstance(inner, dict) and "action" in data else data)


def objects(lines: Sequence[str]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The objects of JSON lists, or one after the other, each with the line it begins on; None where the text is no
    JSON any more. Lists may follow one another, as `gh api --paginate` writes them. Nothing for a text of another kind.
    """
    if not next((line for line in lines if line.strip()), "").lstrip().startswith(("[", "{")):
        return
    text = "\n".join(lines)
    decoder = json.JSONDecoder()
    line, counted, at = 1, 0, 0
    while (begin := _BETWEEN.match(text, at)) is not None and begin.end() < len(text):
        at = begin.end()
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            value = None
        yield line, value if isinstance(value, dict) else None
        if not isinstance(value, dict):
            return


def _text(data: Mapping[str, Any], *names: str) -> str:
    return next((_plain(value) for name in names if isinstance(value := data.get(name), str)), "")


def _plain(value: str) -> str:
    """Without what JSON can say and neither UTF-8 nor Postgres can hold: lone surrogates, NUL."""
    return value.replace("\0", "").encode("utf-8", "replace").decode()


def _names(values: object, key: str) -> tuple[str, ...]:
    """Names out of a list of names or of objects that have one."""
    if not isinstance(values, list):
        return ()
    found = (value.get(key) if isinstance(value, dict) else value for value in values)
    return tuple(_plain(name) for name in found if isinstance(name, str) and name)


def _relation(data: Mapping[str, Any], repository: str, *names: str) -> tuple[int, ...] | None:
    said = [data[name] for name in names if isinstance(data.get(name), (list, dict))]
    return tuple(_numbers(said[0], repository)) if said else None


def _numbers(values: object, repository: str) -> list[int]:
    """Numbers of issues of this repository out of a list, or a page of GraphQL, of numbers or issues."""
    if isinstance(values, dict):
        values = values.get("nodes")
    found: list[int] = []
    for value in values if isinstance(values, list) else ():
        url = _text(value, "html_url", "url") if isinstance(value, dict) else ""
        number = value.get("number") if isinstance(value, dict) else value
        if isinstance(number, str) and number.isdecimal() and len(number) < 16:
            number = int(number)
        if type(number) is int and number > 0 and repository_of(url).lower() in ("", repository.lower()):
            found.append(number)
    return found


def repository_of(url: str) -> str:
    match = _REPOSITORY.fullmatch(url)
    return match["name"] if match else ""
