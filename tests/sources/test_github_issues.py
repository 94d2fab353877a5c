"""GitHub issues: as `gh` writes them, as REST does, as webhooks' payloads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.board import ParsedBoard, ParsedItem
from sources import parse
from sources.github import Issue, changes_of

TIME = "2026-03-01T10:00:00Z"


def gh(number: int, title: str = "", body: str = "", **more: Any) -> dict[str, Any]:
    """As `gh issue list --json number,title,body,state,labels,assignees,updatedAt,url` writes one."""
    return {
        "assignees": [],
        "body": body,
        "labels": [],
        "number": number,
        "state": "OPEN",
        "title": title or f"Issue {number}",
        "updatedAt": TIME,
        "url": f"https://github.com/acme/pumps/issues/{number}",
    } | more


def board(*issues: dict[str, Any], indent: int | None = None) -> ParsedBoard:
    return parse(json.dumps(list(issues), indent=indent).encode(), "issues.json")


def tree(found: ParsedBoard) -> list[tuple[int, str, str, str]]:
    return [(item.depth, item.ext_id or "", item.title, str(item.status)) for item in found.items]


def item_of(found: ParsedBoard, ext_id: str) -> ParsedItem:
    return next(item for item in found.items if item.ext_id == ext_id)


BODY = """\
Blocked by #14 and #15, depends on acme/other#3.\r
\r
- [ ] order it\r
  - [x] ask for the price (depends on #14)\r
  details of the order\r
- [x] call the plumber\r
\r
```\r
- [ ] blocked by #99\r
```\r
<!-- Describe the bug: - [ ] hidden -->\r
It leaks.\r
"""


@pytest.mark.parametrize("indent", [None, 2])
def test_gh_issue_list(indent: int | None) -> None:
    found = board(
        gh(12, "Replace  the pump", BODY, assignees=[{"login": "maria"}, {"login": "otto"}], milestone={"title": "v1"}),
        gh(14, state="CLOSED", stateReason="COMPLETED"),
        gh(15, state="CLOSED", stateReason="NOT_PLANNED"),
        indent=indent,
    )  # fmt: skip
    assert found.dialect == "github_issues"
    assert tree(found) == [
        (0, "#12", "Replace the pump", "todo"),
        (1, "", "order it", "todo"),
        (2, "", "ask for the price (depends on #14)", "done"),
        (1, "", "call the plumber", "done"),
        (0, "#14", "Issue 14", "done"),
        (0, "#15", "Issue 15", "skipped"),
    ]
    pump = found.items[0]
    assert pump.needs == ["#14", "#15"]
    assert pump.labels["owner"] == "maria, otto"
    assert pump.labels["milestone"] == "v1"
    assert pump.labels["url"].endswith("/12")
    assert pump.body == (
        "Blocked by #14 and #15, depends on acme/other#3.\n\n```\n- [ ] blocked by #99\n```\nIt leaks."
    )
    assert found.items[2].needs == ["#14"]
    assert [
        (f.code, "acme/other#3" in f.message) for f in found.findings if f.code.startswith("unknown")
    ] == [("unknown_dependency", True)]
    assert len({(item.line, item.ordinal) for item in found.items}) == len(found.items)
    lines = {item.ext_id: item.line for item in found.items if item.ext_id}
    assert (
        lines == {"#12": 1, "#14": 1, "#15": 1}
        if indent is None
        else lines["#12"] < lines["#14"] < lines["#15"]
    )


def test_rest_and_pull_requests() -> None:
    rest = {
        "url": "https://api.github.com/repos/acme/pumps/issues/7",
        "repository_url": "https://api.github.com/repos/acme/pumps",
        "html_url": "https://github.com/acme/pumps/issues/7",
        "number": 7,
        "title": "An API issue",
        "user": {"login": "a"},
        "labels": [{"id": 1, "name": "P0"}, {"id": 2, "name": "in-progress"}],
        "state": "open",
        "state_reason": "reopened",
        "assignee": None,
        "assignees": [{"login": "b"}],
        "milestone": None,
        "body": None,
        "type": {"name": "Feature"},
        "parent_issue_url": "https://api.github.com/repos/acme/pumps/issues/3",
        "updated_at": TIME,
    }
    found = board(rest, rest | {"number": 8, "pull_request": {"url": "x"}}, gh(3))
    assert [
        (item.depth, item.ext_id, item.kind, item.priority, str(item.status)) for item in found.items
    ] == [
        (1, "#7", "feature", 0, "in_progress"),
        (0, "#3", "issue", 2, "todo"),
    ]
    assert found.items[0].parent_ordinal == 1
    assert [f.code for f in found.findings] == ["not_an_issue"]


@pytest.mark.parametrize(
    ("state", "reason", "labels", "expected"),
    [
        ("open", None, [], "todo"),
        ("open", "reopened", ["bug"], "todo"),
        ("open", None, ["Status: Blocked"], "blocked"),
        ("open", None, ["in progress", "blocked"], "blocked"),
        ("open", None, ["done"], "todo"),
        ("closed", None, [], "done"),
        ("closed", "completed", ["blocked"], "done"),
        ("closed", "not_planned", [], "skipped"),
        ("CLOSED", "DUPLICATE", [], "skipped"),
    ],
)
def test_states(state: str, reason: str | None, labels: list[str], expected: str) -> None:
    data = gh(1, state=state, stateReason=reason, labels=[{"name": name} for name in labels])
    assert str(board(data).items[0].status) == expected


@pytest.mark.parametrize(
    ("label", "priority"),
    [("P1", 1), ("priority: high", 1), ("priority/critical", 0), ("low priority", 3), ("prio-free", 2), ("bug", 2)],
)  # fmt: skip
def test_priorities(label: str, priority: int) -> None:
    assert board(gh(1, labels=[{"name": label}])).items[0].priority == priority


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        ("blocked by #2", ["#2"]),
        ("**Blocked by:** #2, #3 and #4.", ["#2", "#3", "#4"]),
        ("Depends on https://github.com/acme/pumps/issues/2", ["#2"]),
        ("depends on acme/pumps#2, GH-3", ["#2", "#3"]),
        ("This is not blocked by anything, see #2", []),
        ("> blocked by #2", []),
        ("    blocked by #2\n\n`code`", ["#2"]),
        ("```\nblocked by #2\n```", []),
        ("blocked by #1", []),
        ("Blocks #2", []),
    ],
)
def test_needs(body: str, needs: list[str]) -> None:
    assert board(gh(1, body=body), gh(2), gh(3), gh(4)).items[0].needs == needs


def test_an_issue_that_a_task_list_names_is_its_part() -> None:
    found = board(
        gh(1, "Epic", "- [ ] #2\n- [ ] https://github.com/acme/pumps/issues/3\n- [ ] #99\n- [ ] see #2 first\n"),
        gh(2),
        gh(3, parent={"number": 4, "url": "https://github.com/acme/pumps/issues/4"}),
        gh(4, subIssues={"nodes": [{"number": 5, "url": "https://github.com/acme/pumps/issues/5"}], "totalCount": 1}),
        gh(5),
        gh(6, parent={"number": 1, "url": "https://github.com/other/pumps/issues/1"}),
    )  # fmt: skip
    parents = {item.ext_id or item.title: (item.parent_ordinal, item.depth) for item in found.items}
    places = {item.ext_id: item.ordinal for item in found.items}
    assert parents["#2"] == (places["#1"], 1)
    assert parents["#3"] == (places["#4"], 1)  # its own word counts
    assert parents["#5"] == (places["#4"], 1)
    assert parents["#99"][1] == 1
    assert parents["see #2 first"][1] == 1
    assert parents["#6"] == (0, 0)
    assert item_of(found, "#6").parent_line is None


def test_parts_of_each_other_end_somewhere() -> None:
    found = board(gh(1, body="- [ ] #2"), gh(2, body="- [ ] #1"), gh(3, parent={"number": 3}))
    assert {item.ext_id: item.depth for item in found.items} == {"#1": 0, "#2": 1, "#3": 0}
    assert [f.code for f in found.findings] == ["parent_ring", "parent_ring"]


def test_closed_with_open_parts_and_the_other_way_round() -> None:
    found = board(gh(1, body="- [ ] a", state="CLOSED"), gh(2, body="- [x] a"))
    assert [f.code for f in found.findings] == ["done_parent_open_child", "open_parent_all_done"]


def test_pages_and_later_states() -> None:
    text = (
        json.dumps([gh(1, "old"), gh(2)])
        + "\n"
        + json.dumps([gh(1, "new", updatedAt="2026-03-02T10:00:00Z")])
    )
    found = parse(text.encode(), "issues.json")
    assert [item.title for item in found.items] == ["new", "Issue 2"]
    assert [(f.code, f.line) for f in found.findings] == [("duplicate_id", 2)]


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes() -> None:
    found = parse(json.dumps([gh(1), gh(2), gh(3)], indent=1)[:-120].encode(), "issues.json")
    assert [item.ext_id for item in found.items] == ["#1", "#2"]
    assert [f.code for f in found.findings] == ["malformed_json"]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "[ ] a task",
        "[1]",
        '[{"number": 1}]',
        '{"tasks": [{"id": 1, "title": "x", "status": "done"}]}',
        "[" * 9999,
    ],
)
def test_what_is_no_list_of_issues(text: str) -> None:
    assert parse(text.encode(), "x.json").dialect != "github_issues"


def test_no_issues_is_a_board_when_it_is_said_to_be_one() -> None:
    found = parse(b"[]", "github:acme/pumps", "github_issues")
    assert (found.dialect, found.items) == ("github_issues", [])


def payload(event: str, action: str, **parts: Any) -> dict[str, Any]:
    return {"action": action, "repository": {"full_name": "acme/pumps"}, "sender": {"login": "a"}} | parts


def rest(number: int, **more: Any) -> dict[str, Any]:
    return {"number": number, "title": "t", "state": "open", "body": "", "updated_at": TIME} | more


def test_changes_of_payloads() -> None:
    issue, other = rest(1), rest(2)
    assert [
        (i.number, gone) for i, gone in changes_of("issues", payload("issues", "edited", issue=issue))[1]
    ] == [(1, False)]
    assert changes_of("issues", payload("issues", "transferred", issue=issue))[1][0][1] is True
    assert (
        changes_of("issues", payload("issues", "opened", issue=issue | {"pull_request": {"url": "x"}}))[1]
        == []
    )
    assert changes_of("ping", {"zen": "x", "repository": {"full_name": "acme/pumps"}})[1] == []
    assert changes_of("push", {})[1] == []
    added, removed = (
        changes_of("sub_issues", payload("sub_issues", action, parent_issue=issue, sub_issue=other))[1]
        for action in ("sub_issue_added", "parent_issue_removed")
    )
    assert [(i.number, i.parent, i.knows_parent) for i, _ in added] == [(1, None, False), (2, 1, True)]
    assert [(i.number, i.parent, i.knows_parent) for i, _ in removed] == [(1, None, False), (2, None, True)]
    elsewhere = payload("sub_issues", "sub_issue_added", parent_issue=issue, sub_issue=other)
    elsewhere["parent_issue_repo"] = {"full_name": "acme/other"}
    assert [(i.number, i.parent) for i, _ in changes_of("sub_issues", elsewhere)[1]] == [(2, None)]


@pytest.mark.parametrize(
    "given",
    [
        {},
        payload("issues", "edited"),
        payload("issues", "edited", issue=rest(1, updated_at="yesterday")),
        payload("issues", "edited", issue=rest(1, updated_at="2026-03-01T10:00:00")),
        payload("issues", "edited", issue=rest(-1)),
        payload("issues", "deleted", issue=rest(1), comment={"id": 3}),
        payload("issues", "edited", issue=rest(1)) | {"repository": {"full_name": "../x"}},
        payload("issues", "edited", issue=[1]),
    ],
)
def test_payloads_that_are_none(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(?:are needed|needs number)"):
        changes_of("issues", given)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = (
    "number", "title", "state", "body", "labels", "assignees", "milestone", "type", "issueType", "updated_at",
    "updatedAt", "url", "html_url", "repository_url", "parent", "parent_issue_url", "sub_issues", "subIssues",
    "blockedBy", "pull_request", "issue", "action", "state_reason",
)  # fmt: skip


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.text(max_size=30), st.dictionaries(st.sampled_from(KEYS), JSON, max_size=5)),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_any_json_is_read_or_left_out(issues: list[tuple[int, str, dict[str, Any]]]) -> None:
    data = [gh(number, body=body) | odd for number, body, odd in issues]
    found = parse(json.dumps(data).encode(), "issues.json", "github_issues")
    assert len({(item.line, item.ordinal) for item in found.items}) == len(found.items)
    places = {(item.line, item.ordinal): item for item in found.items}
    for item in found.items:
        assert item.title.encode()
        if item.parent_line is not None:
            assert places[item.parent_line, item.parent_ordinal].depth == item.depth - 1


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8), st.integers(1, 9))
def test_what_is_kept_of_an_issue_reads_as_the_same_issue(odd: dict[str, Any], number: int) -> None:
    issue = Issue.of(rest(number) | odd)
    if issue is not None:
        again = Issue.of(json.loads(json.dumps(issue.fields())))
        assert again is not None
        assert again.fields() == issue.fields()
