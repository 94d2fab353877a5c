"""Issues of GitHub repositories at the door: signed deliveries, late ones, lost ones, and what becomes of the board."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import urllib.parse
import uuid
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from pydantic import SecretStr

import sources
from models.errors import SourceError
from sql.connection import Database
from tasks.ingest import ingest_board
from tasks.ingest.origins import contents, dialect_of

SECRET = SecretStr("a secret for the tests, 32 bytes")


def user(login: str) -> dict[str, Any]:
    return {
        "login": login, "id": 1, "node_id": "x", "avatar_url": "https://x/u", "type": "User", "site_admin": False,
        "url": f"https://api.github.com/users/{login}", "html_url": f"https://github.com/{login}",
    }  # fmt: skip


def issue(number: int, minute: int = 0, **more: Any) -> dict[str, Any]:
    """An issue with the fields that GitHub documents for the event `issues`."""
    api = f"https://api.github.com/repos/acme/pumps/issues/{number}"
    return {
        "url": api, "repository_url": "https://api.github.com/repos/acme/pumps", "labels_url": f"{api}/labels{{/name}}",
        "comments_url": f"{api}/comments", "events_url": f"{api}/events", "id": 1000 + number, "node_id": "x",
        "html_url": f"https://github.com/acme/pumps/issues/{number}", "number": number, "title": f"Issue {number}",
        "user": user("maria"), "labels": [], "state": "open", "locked": False, "assignee": None, "assignees": [],
        "milestone": None, "comments": 0, "created_at": "2026-03-01T09:00:00Z",
        "updated_at": f"2026-03-01T10:{minute:02}:00Z", "closed_at": None, "author_association": "OWNER",
        "active_lock_reason": None, "body": "It leaks.", "reactions": {"url": f"{api}/reactions", "total_count": 0},
        "timeline_url": f"{api}/timeline", "performed_via_github_app": None, "state_reason": None,
    } | more  # fmt: skip


def event(action: str, about: dict[str, Any], **more: Any) -> dict[str, Any]:
    repository = {"id": 5, "name": "pumps", "full_name": "acme/pumps", "private": True, "owner": user("acme")}
    return {"action": action, "issue": about, "repository": repository, "sender": user("maria"), **more}


async def send(
    door: Any, payload: Any, name: str = "issues", delivery: str | None = None, form: bool = False
) -> httpx.Response:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    body = urllib.parse.urlencode({"payload": body.decode()}).encode() if form else body
    digest = hmac.new(SECRET.get_secret_value().encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "X-Hub-Signature-256": f"sha256={digest}",
        "X-GitHub-Delivery": delivery or uuid.uuid4().hex,
        "X-GitHub-Event": name,
        "Content-Type": "application/x-www-form-urlencoded" if form else "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
    }
    answer: httpx.Response = await door.client.post("/webhooks/github", content=body, headers=headers)
    return answer


def ingest(database: Database, repository: str = "acme/pumps") -> tuple[Any, dict[str, Any]]:
    """What a run does with the board: its delta, and the items with their status by id."""
    (origin,) = sources.expand([f"github:{repository}"])
    with database.connect() as connection:
        board = sources.parse(contents(connection, origin, 1_000_000), origin.name, dialect_of(origin, None))
        delta = ingest_board(connection, board, source=origin.source(board.sha256))
        rows = connection.execute(
            "select s.ext_id, s.declared, s.removed_at is not null, i.status, s.title from item i"
            " join item_source s on s.item_id = i.id join board b on b.id = i.board_id"
            " where b.source = %s and s.ext_id is not null",
            [f"github:{repository}"],
        ).fetchall()
    return delta, {row[0]: row[1:] for row in rows}


async def test_an_issue_becomes_an_item_and_follows_it(door: Any) -> None:
    answer = await send(
        door, event("opened", issue(12, body="Blocked by #14\r\n- [ ] order\r\n- [x] pay\r\n"))
    )
    assert answer.status_code == 202, answer.text
    async with get_client() as client:
        run = await client.read_flow_run(uuid.UUID(answer.json()["flow_run_id"]))
    assert run.parameters == {"board": "github:acme/pumps"}
    await send(door, event("opened", issue(14)))
    delta, items = ingest(door.database)
    assert (delta.source, delta.added) == ("github:acme/pumps", 4)
    assert {name: row[0] for name, row in items.items()} == {"#12": "todo", "#14": "todo"}

    await send(door, event("closed", issue(14, 5, state="closed", state_reason="completed")))
    await send(
        door, event("edited", issue(12, 6, title="Replace the pump"), changes={"title": {"from": "Issue 12"}})
    )
    delta, items = ingest(door.database)
    assert (delta.added, delta.changed, delta.removed, delta.status_changed) == (0, 1, 2, 1)
    assert (items["#14"][0], items["#12"][3]) == ("done", "Replace the pump")
    assert ingest(door.database)[0].unchanged == 2


async def test_a_deleted_issue_is_removed_and_kept(door: Any) -> None:
    await send(door, event("opened", issue(1)))
    await send(door, event("opened", issue(2)))
    ingest(door.database)
    assert (await send(door, event("deleted", issue(2, 1)))).status_code == 202
    delta, items = ingest(door.database)
    assert (delta.removed, items["#2"][1:3]) == (1, (True, 6))
    late = await send(door, event("edited", issue(2, 1)))  # of the same minute, and of the one before
    assert late.json()["state"] == (await send(door, event("edited", issue(2)))).json()["state"] == "ignored"
    assert ingest(door.database)[0].unchanged == 1
    moved = event(
        "transferred", issue(1, 3), changes={"new_issue": issue(9), "new_repository": {"full_name": "a/b"}}
    )
    assert (await send(door, moved)).status_code == 202
    delta, items = ingest(door.database)
    assert delta.removed == 1
    assert all(row[1] for row in items.values())


async def test_the_latest_state_wins_in_whatever_order_it_comes(door: Any) -> None:
    states = [issue(1, 0), issue(1, 1, title="b", state="closed"), issue(1, 2, title="c")]
    for number, order in enumerate(itertools.permutations(states)):
        repository = {"repository": {"full_name": f"acme/r{number}"}}
        for about in order:
            await send(door, event("edited", about, **repository))
        _, items = ingest(door.database, f"acme/r{number}")
        assert (items["#1"][0], items["#1"][3]) == ("todo", "c"), [about["title"] for about in order]


async def test_deliveries_of_one_moment_end_in_the_latest_state(door: Any) -> None:
    answers = await asyncio.gather(
        *(send(door, event("edited", issue(1, minute, title=f"at {minute}"))) for minute in range(20))
    )
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert ingest(door.database)[1]["#1"][3] == "at 19"


async def test_the_same_delivery_counts_once(door: Any) -> None:
    first = await send(door, event("opened", issue(1)), delivery="same")
    again = await send(door, event("opened", issue(1, 9, title="other")), delivery="same")
    assert first.json() == again.json()
    assert ingest(door.database)[1]["#1"][3] == "Issue 1"


async def test_a_form_is_read_too(door: Any) -> None:
    assert (await send(door, event("opened", issue(1, title="Ünïcode & = %")), form=True)).status_code == 202
    assert ingest(door.database)[1]["#1"][3] == "Ünïcode & = %"


async def test_sub_issues_are_parts_also_after_an_edit_that_does_not_say_so(door: Any) -> None:
    def relation(action: str, minute: int) -> dict[str, Any]:
        found = event(action, {}, parent_issue=issue(1, minute), sub_issue=issue(2, minute))
        del found["issue"]
        return found

    def parent() -> str | None:
        ingest(door.database)
        with door.database.connect() as connection:
            row = connection.execute(
                "select p.ext_id from item i join item_source s on s.item_id = i.id"
                " left join item_source p on p.item_id = i.parent_id where s.ext_id = '#2'"
            ).fetchone()
        assert row is not None
        found: str | None = row[0]
        return found

    assert (await send(door, relation("sub_issue_added", 1), "sub_issues")).status_code == 202
    assert parent() == "#1"
    await send(door, event("edited", issue(2, 2, body="more")))
    assert parent() == "#1"
    await send(door, relation("parent_issue_removed", 3), "sub_issues")
    assert parent() is None


async def test_other_events_change_nothing(door: Any) -> None:
    ping = {"zen": "x", "hook_id": 1, "repository": {"full_name": "acme/pumps"}}
    assert (await send(door, ping, "ping")).json() == {"state": "ignored", "message": "pong"}
    assert (await send(door, {"ref": "refs/heads/main"}, "push")).json()["state"] == "ignored"
    pull = issue(3, pull_request={"url": "https://api.github.com/repos/acme/pumps/pulls/3"})
    assert (await send(door, event("opened", pull))).json()["state"] == "ignored"
    with pytest.raises(
        SourceError, match=r"^github:acme/pumps: no issue of this repository has come yet\. Let"
    ):
        ingest(door.database)


BAD: list[tuple[Any, str]] = [
    (b"{", "issues"),
    (b"[]", "issues"),
    (b"\xff", "issues"),
    (event("edited", issue(1) | {"number": "1"}), "issues"),
    (event("edited", issue(1, updated_at=None)), "issues"),
    (event("edited", issue(1)) | {"repository": {"full_name": "../../x"}}, "issues"),
    (event("deleted", issue(1), comment={"id": 3}), "issues"),  # a comment's, replayed under another name
    (event("edited", issue(1)), "sub_issues"),
]


async def test_what_is_no_payload_is_refused(door: Any) -> None:
    for payload, name in BAD:
        answer = await send(door, payload, name)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request"), payload
    form = await send(door, b"", form=True)
    assert form.status_code == 422


async def test_only_github_s_own_signature_counts(door: Any) -> None:
    body = json.dumps(event("opened", issue(1))).encode()
    headers = {"X-GitHub-Event": "issues", "X-GitHub-Delivery": "x"}
    for more in (
        {},
        door.token,
        {"X-Hub-Signature-256": "sha256=" + "0" * 64},
        {"X-Hub-Signature": "sha1=x"},
    ):
        answer = await door.client.post("/webhooks/github", content=body, headers=headers | more)
        assert answer.status_code == 401, answer.text
    big = b'{"x": "' + b"x" * 4_200_000 + b'"}'
    assert (await send(door, big)).status_code == 413


def listed(number: int, minute: int = 0, **more: Any) -> dict[str, Any]:
    """As `gh issue list --json ...` writes one."""
    return {
        "number": number, "title": f"Listed {number}", "body": "", "state": "OPEN", "stateReason": "", "labels": [],
        "assignees": [], "milestone": None, "updatedAt": f"2026-03-01T10:{minute:02}:00Z",
        "url": f"https://github.com/acme/pumps/issues/{number}",
    } | more  # fmt: skip


async def test_issues_from_before_the_webhook(door: Any) -> None:
    await send(door, event("edited", issue(2, 5, title="newer")))
    path = "/boards/github/acme/pumps"
    given = [listed(1), listed(2), listed(3, state="CLOSED", stateReason="NOT_PLANNED")]
    answer = await door.client.post(path, json=given, headers=door.token)
    assert answer.status_code == 202, answer.text
    assert answer.json()["board"] == "github:acme/pumps"
    _, items = ingest(door.database)
    assert {name: (row[0], row[3]) for name, row in items.items()} == {
        "#1": ("todo", "Listed 1"), "#2": ("todo", "newer"), "#3": ("skipped", "Listed 3"),
    }  # fmt: skip
    assert (await door.client.post(path, json=given[1:2], headers=door.token)).json()["state"] == "ignored"
    for content in (
        b"[]",
        b"{",
        b'[{"number": 1}]',
        json.dumps([listed(1), {"x": 1}]).encode(),
        b'[{"number": 1} x',
    ):
        bad = await door.client.post(path, content=content, headers=door.token)
        assert (bad.status_code, bad.json()["error"]["code"]) == (422, "invalid_request"), content
    assert (await door.client.post("/boards/github/acme/..", json=given, headers=door.token)).status_code in (
        400,
        404,
    )
    assert (await door.client.post(path, json=given)).status_code == 401


async def test_two_issues_say_nothing_of_each_others_repositories(door: Any) -> None:
    await send(door, event("opened", issue(1)))
    await send(door, event("opened", issue(1, title="elsewhere"), repository={"full_name": "acme/other"}))
    assert ingest(door.database)[1]["#1"][3] == "Issue 1"
    assert ingest(door.database, "acme/other")[1]["#1"][3] == "elsewhere"
