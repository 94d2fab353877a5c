"""The door over real HTTP, a real database and a real Prefect server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from pydantic import SecretStr

from deployments.runs import keep_going, look_once, start_delivery
from deployments.server import Orchestrator
from interfaces.http import create_app
from models.errors import OrchestratorError
from models.settings import Settings
from sql.connection import Database
from tasks.upkeep import Delivery, record_delivery, unsettled_deliveries

SECRET = SecretStr("a secret for the tests, 32 bytes")
Served = Any  # what the fixture `door` of conftest.py gives


def signed(body: bytes, delivery: str) -> dict[str, str]:
    digest = hmac.new(SECRET.get_secret_value().encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}", "X-GitHub-Delivery": delivery}


async def deliver(door: Served, content: Any, delivery: str | None = None) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = signed(body, delivery or uuid.uuid4().hex)
    answer: httpx.Response = await door.client.post("/webhooks/board", content=body, headers=headers)
    return answer


async def parameters(run: str) -> dict[str, Any]:
    async with get_client() as client:
        found = await client.read_flow_run(uuid.UUID(run))
        return found.parameters


def refused(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    return str(answer.json()["error"]["message"])


async def test_it_lives_and_is_ready(door: Served) -> None:
    for path in ("/health", "/ready"):
        answer = await door.client.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "server" not in answer.headers


async def test_it_is_not_ready_without_its_schema(
    door_settings: Settings, empty_database: Database, prefect_server: Orchestrator
) -> None:
    app = create_app(door_settings, empty_database, SECRET, upkeep=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        assert (await client.get("/health")).status_code == 200
        assert "The database does not work" in refused(await client.get("/ready"), 503, "not_ready")


async def test_the_rest_asks_for_the_token(door: Served) -> None:
    for method, path in (
        ("GET", "/status"),
        ("GET", "/reviews"),
        ("POST", "/reviews/1"),
        ("POST", "/boards"),
    ):
        for headers in ({}, {"Authorization": "Bearer guess"}):
            refused(await door.client.request(method, path, headers=headers), 401, "not_authorised")


async def test_status_says_what_runs(door: Served) -> None:
    found = (await door.client.get("/status", headers=door.token)).json()
    assert {pool["name"] for pool in found["pools"]} >= {"cpu", "ollama", "extractive"}
    assert found["reviews"] == 0
    assert set(found["items"]) >= {"ready", "waiting", "done"}
    assert SECRET.get_secret_value() not in json.dumps(found)


async def test_unknown_paths_and_foreign_hosts(door: Served) -> None:
    refused(await door.client.get("/docs"), 404, "not_found")
    refused(await door.client.get("/webhooks/board"), 405, "method_not_allowed")
    for host, status in {
        "evil.example": 400,
        "127.0.0.1.evil.example": 400,
        "localhost:1": 200,
        "[::1]:1": 200,
    }.items():
        answer = await door.client.get("/health", headers={"Host": host})
        assert answer.status_code == status, host


@pytest.mark.parametrize(
    ("listens", "asked", "status"),
    [
        ("0.0.0.0", "penstock.example", 200),
        ("::", "penstock.example", 200),
        ("::1", "[::1]:4270", 200),
        ("::1", "penstock.example", 400),
        ("192.0.2.1", "192.0.2.1:4270", 200),
        ("192.0.2.1", "penstock.example", 400),
    ],
)
async def test_a_host_is_known_by_what_is_listened_on(
    home: Path, database: Database, listens: str, asked: str, status: int
) -> None:
    app = create_app(Settings(home=home, host=listens), database, SECRET, upkeep=False)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        assert (await client.get("/health", headers={"Host": asked})).status_code == status


async def test_a_signed_delivery_starts_a_run(door: Served) -> None:
    (door.boards / "plan.md").write_text("- [ ] a\n")
    answer = await deliver(door, {"board": "plan.md"})
    assert answer.status_code == 202
    assert await parameters(answer.json()["flow_run_id"]) == {"board": str(door.boards / "plan.md")}


async def test_content_is_stored_and_run(door: Served) -> None:
    answer = await deliver(door, {"board": "Новый план", "text": "- [ ] a\n", "sender": {"ignored": 1}})
    stored = door.settings.home / "inbox" / "Новый план.md"
    assert stored.read_text() == "- [ ] a\n"
    assert await parameters(answer.json()["flow_run_id"]) == {"board": str(stored)}


async def test_the_same_delivery_is_one_run_however_it_comes(door: Served) -> None:
    delivery = uuid.uuid4().hex
    answers = await asyncio.gather(
        *(deliver(door, {"board": "p", "text": "- [ ] a\n"}, delivery) for _ in range(16))
    )
    answers.append(await deliver(door, {"board": "p", "text": "- [ ] a\n"}, delivery))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["flow_run_id"] for answer in answers}) == 1


async def test_a_replay_changes_no_board(door: Served) -> None:
    first = await deliver(door, {"board": "p", "text": "one"}, "same")
    second = await deliver(door, {"board": "p", "text": "two"}, "same")
    assert first.json()["flow_run_id"] == second.json()["flow_run_id"]
    assert (door.settings.home / "inbox" / "p.md").read_text() == "one"


async def test_a_wrong_signature_stores_nothing(door: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = b'{"board": "p", "text": "secret words"}'
    headers = signed(body + b" ", "d")
    refused(await door.client.post("/webhooks/board", content=body, headers=headers), 401, "bad_signature")
    assert list((door.settings.home / "inbox").iterdir()) == []
    assert "secret words" not in caplog.text
    assert headers["X-Hub-Signature-256"] not in caplog.text


BAD: list[tuple[Any, int, str]] = [
    (b"{", 422, "invalid_request"),
    (b"[]", 422, "invalid_request"),
    ({"board": 3}, 422, "invalid_request"),
    ({"text": "x"}, 422, "invalid_request"),
    ({"board": "", "text": "x"}, 422, "invalid_request"),
    ({"board": "p", "text": ""}, 422, "invalid_request"),
    ({"board": "../../etc/passwd"}, 404, "no_such_board"),
    ({"board": "/etc/passwd"}, 404, "no_such_board"),
    ({"board": "../p", "text": "x"}, 400, "bad_name"),
    ({"board": "a\u0000b"}, 400, "bad_path"),
    (b'{"board": "p", "text": "' + b"x" * 1_100_000 + b'"}', 413, "too_large"),
]


async def test_bad_deliveries_are_refused(door: Served) -> None:
    for content, status, code in BAD:
        refused(await deliver(door, content), status, code)
    assert list((door.settings.home / "inbox").iterdir()) == []


async def test_too_much_is_refused_while_it_comes(door: Served) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 100_000
            yield b"x" * 100_000

    # Without a length: counted as it comes. The client may see the answer or a closed connection.
    with contextlib.suppress(httpx.TransportError):
        answer = await door.client.post("/boards?name=p", content=body(), headers=door.token)
        refused(answer, 413, "too_large")
    assert sent < 50_000_000
    url = door.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /boards?name=p HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: {door.token['Authorization']}\r\n"
    writer.write(f"{head}Content-Length: 99999999999\r\n\r\n".encode())
    async with asyncio.timeout(10):
        said = (await reader.read()).decode()  # to its end: the door closes, and waits for no body
    writer.close()
    await writer.wait_closed()
    assert said.startswith("HTTP/1.1 413")
    assert "too_large" in said
    assert list((door.settings.home / "inbox").iterdir()) == []


async def test_a_request_of_two_lengths_is_refused_and_ends_the_connection(door: Served) -> None:
    url = door.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    first = f"POST /boards?name=p HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: {door.token['Authorization']}\r\n"
    hidden = f"GET /health HTTP/1.1\r\nHost: {url.host}\r\n\r\n"
    writer.write(f"{first}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}".encode())
    async with asyncio.timeout(10):
        said = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    assert said.startswith("HTTP/1.1 400")
    assert said.count("HTTP/1.1 ") == 1


async def test_a_decision_is_read_after_the_token_and_under_a_cap(door: Served) -> None:
    url = door.client.base_url
    for token, status in (("", 401), (f"Authorization: {door.token['Authorization']}\r\n", 413)):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = f"POST /reviews/1 HTTP/1.1\r\nHost: {url.host}\r\n{token}"
        writer.write(
            f"{head}Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{{".encode()
        )
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(f"HTTP/1.1 {status}".encode())
        writer.close()
        await writer.wait_closed()
    nested = b'{"decision": ' + b"[" * 1_000_000
    refused(await door.client.post("/reviews/1", content=nested, headers=door.token), 422, "invalid_request")


async def test_an_upload_raw_and_as_a_form(door: Served) -> None:
    raw = await door.client.post("/boards?name=raw.md", content=b"- [ ] a\n", headers=door.token)
    form = await door.client.post(
        "/boards", files={"file": ("form.md", b"- [ ] b\n")}, data={"note": "x"}, headers=door.token
    )
    for answer, name, text in ((raw, "raw.md", "- [ ] a\n"), (form, "form.md", "- [ ] b\n")):
        assert answer.status_code == 202, answer.text
        path = door.settings.home / "inbox" / name
        assert path.read_text() == text
        assert await parameters(answer.json()["flow_run_id"]) == {"board": str(path)}


async def test_an_upload_with_a_key_is_one_run(door: Served) -> None:
    headers = {**door.token, "Idempotency-Key": uuid.uuid4().hex}
    answers = [
        await door.client.post("/boards?name=a.md", content=text, headers=headers)
        for text in (b"one", b"two")
    ]
    assert answers[0].json()["flow_run_id"] == answers[1].json()["flow_run_id"]
    assert (door.settings.home / "inbox" / "a.md").read_text() == "one"


async def test_bad_uploads_are_refused(door: Served) -> None:
    async def post(path: str, **given: Any) -> httpx.Response:
        headers = {**door.token, **given.pop("headers", {})}
        answer: httpx.Response = await door.client.post(path, headers=headers, **given)
        return answer

    refused(await post("/boards", content=b"x"), 400, "bad_name")
    refused(await post("/boards?name=../x", content=b"x"), 400, "bad_name")
    refused(await post("/boards?name=x", content=b""), 400, "empty")
    refused(await post("/boards", files={"file": ("../../x", b"x")}), 400, "bad_name")
    refused(await post("/boards", files={"file": ("x.md", b"x" * 2_000_001)}), 413, "too_large")
    refused(await post("/boards", files={"file": ("x.md", b"x" * 4_000_000)}), 413, "too_large")
    two = [("file", ("a.md", b"x")), ("file", ("b.md", b"x"))]
    refused(await post("/boards", files=two), 400, "bad_form")
    form = {"Content-Type": "multipart/form-data"}
    refused(await post("/boards", content=b"x", headers=form), 400, "bad_form")
    refused(
        await post("/boards?name=x", content=b"x", headers={"Idempotency-Key": "x" * 201}),
        400,
        "bad_delivery_id",
    )
    assert list((door.settings.home / "inbox").iterdir()) == []


async def waiting_item(database: Database) -> int:
    connection = await database.aconnect(autocommit=True)
    async with connection:
        cursor = await connection.execute(
            "with b as (insert into board (source, dialect, encoding, sha256)"
            "           values ('p.md', 'gfm', 'utf-8', 'x') returning id),"
            " i as (insert into item (board_id, key, position, status, recipe)"
            "       select id, gen_random_uuid(), 0, 3, 'answer' from b returning id)"
            " insert into review (subject, kind, item_id, title, reason, error_type, proposal)"
            " select 'item:' || id, 'item', id, 'A question', 'no evidence', 'no_evidence', 'maybe' from i returning id"
        )
        row = await cursor.fetchone()
        assert row is not None
        await connection.execute(
            "insert into item_source (item_id, kind, title, line, declared, content_hash)"
            " select item_id, 'task', title, 1, 'todo', 'x' from review"
        )
        return int(row[0])


async def test_a_review_is_shown_and_decided(door: Served) -> None:
    review = await waiting_item(door.database)
    (shown,) = (await door.client.get("/reviews", headers=door.token)).json()["reviews"]
    assert (shown["id"], shown["title"], shown["proposal"]) == (review, "A question", "maybe")

    async def decide(content: Any, number: int = review) -> httpx.Response:
        answer: httpx.Response = await door.client.post(
            f"/reviews/{number}", json=content, headers=door.token
        )
        return answer

    refused(await decide({"decision": "perhaps"}), 422, "invalid_request")
    refused(await decide({"decision": "edit"}), 400, "bad_input")
    refused(await decide({"decision": "accept"}, 12345), 400, "bad_input")
    done = await decide({"decision": "edit", "text": "so it is", "by": "me"})
    assert done.status_code == 200, done.text
    assert done.json()["decision"] == "edit"
    assert (await door.client.get("/reviews", headers=door.token)).json() == {"reviews": []}
    assert "decided before" in refused(await decide({"decision": "accept"}), 400, "bad_input")


async def runs_of(deployment: str) -> set[str]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    async with get_client() as client:
        found = await client.read_deployment_by_name(deployment)
        own = DeploymentFilter(id=DeploymentFilterId(any_=[found.id]))
        return {str(run.id) for run in await client.read_flow_runs(deployment_filter=own)}


async def test_a_decided_item_goes_on_by_itself(door: Served) -> None:
    review = await waiting_item(door.database)
    answer = await door.client.post(f"/reviews/{review}", json={"decision": "retry"}, headers=door.token)
    assert answer.json()["released"] == 1
    before = await runs_of("execute/extractive")
    async with get_client() as client:
        try:
            (line,) = await look_once(client, door.database, door.settings)
            assert "execute/extractive" in line
            assert await look_once(client, door.database, door.settings) == []  # one is due: no second
            (new,) = await runs_of("execute/extractive") - before
            assert new in line
        finally:
            for run in await runs_of("execute/extractive") - before:
                await client.delete_flow_run(uuid.UUID(run))


async def test_a_delivery_of_a_process_that_died_is_started_later(door: Served) -> None:
    connection = await door.database.aconnect(autocommit=True)
    async with connection, get_client() as client:
        died = await record_delivery(connection, Delivery("github:died", {"board": "x.md"}), "github")
        await connection.execute("update delivery set received_at = now() - interval '1 minute'")
        (line,) = await look_once(client, door.database, door.settings)
        assert "github:died" in line
        assert await unsettled_deliveries(connection) == []
        run = await start_delivery(client, door.database, died)  # had it not died after all: the same run
        assert run in line
        # One that can't be started is said, and keeps nothing from the others.
        for name, given in (("a", {"nonsense": 1}), ("b", {"board": "y.md"})):
            await record_delivery(connection, Delivery(f"github:{name}", given), "github")
        await connection.execute("update delivery set received_at = now() - interval '1 minute'")
        with pytest.raises(OrchestratorError, match="could be started"):
            await look_once(client, door.database, door.settings)
        assert [each.id for each in await unsettled_deliveries(connection)] == ["github:a"]


async def test_upkeep_outlives_a_server_that_is_away(
    door_settings: Settings,
    database: Database,
    prefect_server: Orchestrator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "penstock.upkeep")
    gone = Database({**database._parameters, "dbname": "nowhere"})
    async with get_client() as client:
        quick = door_settings.model_copy(update={"drain_interval": 0.01})
        task = asyncio.create_task(keep_going(client, gone, quick))
        while "nowhere" not in caplog.text:
            await asyncio.sleep(0.01)
            assert not task.done()
        await asyncio.sleep(0.1)
        assert not task.done()
        assert caplog.text.count("Upkeep:") == 1  # said once
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_accepted_delivery_waits_for_the_server(
    door: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployments import runs

    async def away(*_: Any, **__: Any) -> str:
        raise OrchestratorError("The Prefect server is away.")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "start_run", away)
        answer = await deliver(door, {"board": "p", "text": "x"}, "waits")
    assert answer.status_code == 202
    assert answer.json()["flow_run_id"] is None
    again = await deliver(door, {"board": "p", "text": "x"}, "waits")
    assert again.json()["flow_run_id"] is not None


def test_the_inbox_is_where_it_is_said(door_settings: Settings) -> None:
    assert (door_settings.home / "inbox").is_dir()
    assert Path(door_settings.home / "inbox").stat().st_mode & 0o777 == 0o700
