"""The batch APIs of the providers: one contract for all of them, and what each says in its own way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import pytest_asyncio

from backends.registry import make
from backends.simulator import Simulator, running
from backends.testing import BATCH_CHECKS, Case, Check
from models.calls import (
    Batches,
    BatchReply,
    BatchState,
    BatchStatus,
    HasBatches,
    ModelAnswer,
    ModelCallError,
    ModelRequest,
)
from models.endpoint import Endpoint
from models.enums import BackendName, ErrorType

from .conftest import http, in_seconds, make_request
from .recording import Recorder, recording

KINDS = [BackendName.ANTHROPIC, BackendName.GEMINI, BackendName.OPENAI]
PATHS = {BackendName.ANTHROPIC: "", BackendName.GEMINI: "/v1beta", BackendName.OPENAI: "/v1"}
SINCE = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def batching_process() -> Iterator[Simulator]:
    with running(batch_seconds=0.1) as simulator:
        yield simulator


@pytest_asyncio.fixture(params=KINDS)
async def case(request: pytest.FixtureRequest, batching_process: Simulator) -> AsyncIterator[Case]:
    batching_process.reset()
    url = batching_process.url + PATHS[request.param]
    backend = make(Endpoint(backend=request.param, url=url, model="sim:small"))
    yield Case(backend, "sim:small")
    await backend.close()


def batches_of(backend: Any) -> Batches:
    assert isinstance(backend, HasBatches)
    return backend.batches


@pytest.mark.parametrize("check", BATCH_CHECKS, ids=lambda check: check.__name__)
async def test_contract(case: Case, check: Check) -> None:
    await check(case)


@pytest.mark.parametrize("kind", sorted(set(BackendName) - set(KINDS)))
def test_who_has_none(kind: BackendName) -> None:
    with pytest.raises(ValueError, match="has no batch API"):
        Endpoint(backend=kind, url="http://x", batches=True)


async def ended(batches: Batches, members: list[ModelRequest], label: str) -> list[BatchReply]:
    id = await batches.submit(members, in_seconds(20), label=label)
    while (await batches.poll(id, in_seconds(20))).status is BatchStatus.RUNNING:
        pass  # each poll is a request
    return [reply for _, reply in await batches.results(id, members, in_seconds(20), label=label)]


def kind_of(reply: BatchReply) -> ErrorType | None:
    return reply.error_type if isinstance(reply, ModelCallError) else None


FAULTS: dict[str, ErrorType | None] = {
    "ok": None,
    "error500": ErrorType.SERVER_ERROR,
    "error503": ErrorType.OVERLOADED,
    "rate_limited": ErrorType.RATE_LIMITED,
    "out_of_memory": ErrorType.OUT_OF_MEMORY,
    "empty": ErrorType.EMPTY,
    "refusal": ErrorType.REFUSED,
    "truncated": ErrorType.TRUNCATED,
    "unfinished": ErrorType.SERVER_ERROR,
    "wrong_model": ErrorType.MODEL_MISSING,
    "no_image": ErrorType.EMPTY,
    "cut_prompt": ErrorType.CONTEXT_TOO_LONG,
    "hang": ErrorType.TIMEOUT,  # it expired
}
EXCEPT = {(BackendName.GEMINI, "hang"): ErrorType.SERVER_ERROR}  # it has no word for it


async def test_each_member_has_its_own_end(case: Case, batching_process: Simulator) -> None:
    """Errors of members are those of calls, and what came of one is never taken for another's."""
    batching_process.script([*FAULTS, "ok"])
    members = [
        case.request(item_id=n, system=f"item {n} " + "read all of this " * 100)
        for n in range(1, len(FAULTS) + 2)
    ]
    found = await ended(batches_of(case.backend), members, "faults-1")
    expected = [EXCEPT.get((BackendName(case.backend.name), name), kind) for name, kind in FAULTS.items()]
    assert [kind_of(reply) for reply in found] == [*expected, None]
    good = [reply for reply in found if isinstance(reply, ModelAnswer)]
    assert len(good) == 2
    assert all(reply.simulated and reply.model == "sim:small" and reply.prompt_tokens for reply in good)
    truncated = found[list(FAULTS).index("truncated")]
    assert isinstance(truncated, ModelCallError)
    assert truncated.partial is not None
    assert truncated.partial.text
    assert batching_process.stats()["batch"]["requests"] == len(members)
    assert batching_process.stats()["requests"] == 0


async def test_a_member_that_the_server_does_not_understand(case: Case) -> None:
    members = [case.request(item_id=1), case.request(item_id=2, prompt="x" * 40_000)]
    found = await ended(batches_of(case.backend), members, "long-1")
    assert [kind_of(reply) for reply in found] == [None, ErrorType.CONTEXT_TOO_LONG]


async def test_a_rehearsal_is_held_once_and_tells_what_is_wrong(
    case: Case, batching_process: Simulator
) -> None:
    batches = batches_of(case.backend)
    for _ in range(3):
        await batches.rehearse(case.request(), in_seconds(20))
    assert batching_process.stats()["requests"] == 1
    with pytest.raises(ModelCallError) as caught:
        await batches.rehearse(make_request("nope"), in_seconds(20))
    assert caught.value.error_type is ErrorType.MODEL_MISSING
    batching_process.script(["error503"])
    with pytest.raises(ModelCallError):
        await batches.rehearse(case.request(schema={"type": "object"}), in_seconds(20))
    await batches.rehearse(case.request(schema={"type": "object"}), in_seconds(20))
    assert batching_process.stats()["requests"] == 3


# --- what a server may say ----------------------------------------------------------------------------------


def reply(page: Any, status: int = 200, *headers: str) -> bytes:
    body = page if isinstance(page, bytes) else orjson.dumps(page)
    return http(status, body, "Content-Type: application/json", *headers)


def lines(*pages: Any) -> bytes:
    return b"".join(orjson.dumps(page) + b"\n" for page in pages)


async def asked(kind: BackendName, *replies: bytes, call: Any) -> tuple[Any, Recorder]:
    async with recording(*replies) as recorder:
        backend = make(Endpoint(backend=kind, url=recorder.url, model="m"))
        try:
            return await call(batches_of(backend)), recorder
        finally:
            await backend.close()


def message(text: str) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return {"type": "message", "model": "m", "content": content, "stop_reason": "end_turn"}


def completion(text: str) -> dict[str, Any]:
    return {"model": "m", "choices": [{"message": {"content": text}, "finish_reason": "stop"}]}


async def test_results_in_any_order_with_missing_foreign_and_repeated_ones() -> None:
    members = [make_request("m", item_id=n) for n in (7, 8, 9)]

    def line(key: str, text: str) -> dict[str, Any]:
        return {"custom_id": key, "result": {"type": "succeeded", "message": message(text)}}

    body = lines(
        line("l-9", "nine"), line("other-8", "no"), line("l-70", "no"), line("l-7", "seven"), line("l-7", "x")
    )
    found, recorder = await asked(
        BackendName.ANTHROPIC,
        reply(body),
        call=lambda batches: batches.results("b/1", members, in_seconds(5), label="l"),
    )
    assert [item for item, _ in found] == [7, 8, 9]
    texts = [each.text if isinstance(each, ModelAnswer) else each.error_type for _, each in found]
    assert texts == ["seven", ErrorType.SERVER_ERROR, "nine"]
    assert recorder.asked[0].path == "/v1/messages/batches/b%2F1/results"


@pytest.mark.parametrize("kind", [BackendName.ANTHROPIC, BackendName.OPENAI])
@pytest.mark.parametrize("how", ["shorter than it said", "in the middle of a line"])
async def test_a_download_that_was_cut_is_no_result(kind: BackendName, how: str) -> None:
    """Else what was not read would count as missing, and be paid for again."""
    good = {
        BackendName.ANTHROPIC: {"custom_id": "l-1", "result": {"type": "succeeded", "message": message("a")}},
        BackendName.OPENAI: {"custom_id": "l-1", "response": {"status_code": 200, "body": completion("a")}},
    }[kind]
    body = lines(good, good)
    whole = reply(body)
    cut = whole[:-30] if how == "shorter than it said" else reply(body[:-30])
    pages = (
        [reply({"id": "b", "status": "completed", "output_file_id": "f"})]
        if kind is BackendName.OPENAI
        else []
    )
    with pytest.raises(ModelCallError) as caught:
        await asked(
            kind,
            *pages,
            cut,
            call=lambda batches: batches.results("b", [make_request("m")], in_seconds(5), label="l"),
        )
    assert caught.value.error_type in (ErrorType.CONNECTION, ErrorType.SERVER_ERROR)
    assert not caught.value.error_type.charged


@pytest.mark.parametrize(
    ("kind", "page", "expected"),
    [
        (BackendName.OPENAI, {"status": "validating"}, BatchState(BatchStatus.RUNNING)),
        (BackendName.OPENAI, {"status": "finalizing"}, BatchState(BatchStatus.RUNNING)),
        (BackendName.OPENAI, {"status": "expired"}, BatchState(BatchStatus.EXPIRED)),
        (
            BackendName.OPENAI,
            {"status": "failed", "errors": {"data": [{"message": "Enqueued token limit reached"}]}},
            BatchState(BatchStatus.FAILED, detail="Enqueued token limit reached"),
        ),
        (BackendName.GEMINI, {"metadata": {"state": "BATCH_STATE_PENDING"}}, BatchState(BatchStatus.RUNNING)),
        (BackendName.GEMINI, {"metadata": {"state": "BATCH_STATE_EXPIRED"}}, BatchState(BatchStatus.EXPIRED)),
        (BackendName.GEMINI, {"metadata": {"state": "JOB_STATE_SUCCEEDED"}}, BatchState(BatchStatus.ENDED)),
        (
            BackendName.GEMINI,
            {"done": True, "error": {"code": 13, "message": "internal"}, "metadata": {}},
            BatchState(BatchStatus.FAILED, detail="internal"),
        ),
        (
            BackendName.ANTHROPIC,
            {"processing_status": "canceling", "request_counts": {"processing": 2, "succeeded": 1}},
            BatchState(BatchStatus.RUNNING, 3, 1),
        ),
    ],
)
async def test_states(kind: BackendName, page: Any, expected: BatchState) -> None:
    state, _ = await asked(kind, reply(page), call=lambda batches: batches.poll("b", in_seconds(5)))
    assert state == expected


async def test_the_provider_says_when_to_ask_again() -> None:
    page = {"processing_status": "in_progress", "request_counts": {"processing": 2}}
    state, _ = await asked(
        BackendName.ANTHROPIC,
        reply(page, 200, "Retry-After: 120"),
        call=lambda batches: batches.poll("b", in_seconds(5)),
    )
    assert state.check_in == 120


async def test_an_expired_and_a_cancelled_line_of_openai() -> None:
    members = [make_request("m", item_id=n) for n in (1, 2, 3, 4)]
    errors = [
        {
            "custom_id": f"l-{n}",
            "response": None,
            "error": {"code": code, "message": "late"} if code else None,
        }
        for n, code in ((1, "batch_expired"), (2, "batch_cancelled"), (3, "odd"), (4, ""))
    ]
    found, _ = await asked(
        BackendName.OPENAI,
        reply({"status": "expired", "error_file_id": "f"}),
        reply(lines(*errors)),
        call=lambda batches: batches.results("b", members, in_seconds(5), label="l"),
    )
    assert [each.error_type for _, each in found] == [
        ErrorType.TIMEOUT,
        ErrorType.UNAVAILABLE,
        ErrorType.SERVER_ERROR,
        ErrorType.SERVER_ERROR,
    ]


async def test_the_numbers_of_google_are_words() -> None:
    members = [make_request("m", item_id=n) for n in (1, 2, 3)]
    inside = [
        {"metadata": {"key": "l-1"}, "error": {"code": 8, "message": "quota"}},
        {"metadata": {"key": "l-2"}, "error": {"code": 3, "message": "odd"}},
        {"metadata": {"key": "l-3"}},
    ]
    page = {"done": True, "metadata": {"output": {"inlinedResponses": {"inlinedResponses": inside}}}}
    found, _ = await asked(
        BackendName.GEMINI,
        reply(page),
        call=lambda batches: batches.results("b", members, in_seconds(5), label="l"),
    )
    assert [each.error_type for _, each in found] == [
        ErrorType.RATE_LIMITED,
        ErrorType.MALFORMED,
        ErrorType.SERVER_ERROR,
    ]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_batch_without_an_id_and_one_that_is_refused(kind: BackendName) -> None:
    def submit(batches: Batches) -> Any:
        return batches.submit([make_request("m")], in_seconds(5), label="l")

    with pytest.raises(ModelCallError, match="no id") as caught:
        await asked(kind, reply({}), call=submit)
    assert caught.value.error_type is ErrorType.SERVER_ERROR
    with pytest.raises(ModelCallError) as caught:
        await asked(kind, reply({"error": {"message": "slow down"}}, 429, "Retry-After: 7"), call=submit)
    assert (caught.value.error_type, caught.value.retry_after) == (ErrorType.RATE_LIMITED, 7)


async def test_what_openai_is_sent() -> None:
    _, recorder = await asked(
        BackendName.OPENAI,
        reply({"id": "file-1"}),
        reply({"id": "batch-1"}),
        call=lambda batches: batches.submit(
            [make_request("m", item_id=5, prompt="Ждать\ud800")], in_seconds(5), label="l-x"
        ),
    )
    upload, batch = recorder.asked
    assert upload.path == "/files"
    assert upload.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="purpose"\r\n\r\nbatch\r\n' in upload.raw
    sent = orjson.loads(next(line for line in upload.raw.splitlines() if line.startswith(b'{"custom_id"')))
    assert (sent["custom_id"], sent["url"]) == ("l-x-5", "/v1/chat/completions")
    assert not {"stream", "stream_options"} & set(sent["body"])
    assert sent["body"]["max_tokens"] == 1024
    assert batch.body == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"penstock": "l-x"},
    }


async def test_a_label_is_looked_for_page_by_page_and_not_in_older_batches() -> None:
    def find(batches: Batches) -> Any:
        return batches.find("mine", in_seconds(5), size=1, since=SINCE)

    now, old = int(SINCE.timestamp()) + 5, int(SINCE.timestamp()) - 3600
    first = {"data": [{"id": "a", "created_at": now, "metadata": None}], "has_more": True}
    second = {"data": [{"id": "b", "created_at": now, "metadata": {"penstock": "mine"}}], "has_more": True}
    found, recorder = await asked(BackendName.OPENAI, reply(first), reply(second), call=find)
    assert (found, recorder.asked[1].path) == ("b", "/batches?limit=100&after=a")
    first["data"][0]["created_at"] = old  # type: ignore[index]
    assert (await asked(BackendName.OPENAI, reply(first), reply(second), call=find))[0] is None
    pages = [
        {"operations": [{"name": "batches/a", "metadata": {"displayName": "x"}}], "nextPageToken": "t=/"},
        {"operations": [{"name": "batches/b", "metadata": {"displayName": "mine"}}]},
    ]
    found, recorder = await asked(BackendName.GEMINI, *map(reply, pages), call=find)
    assert (found, recorder.asked[1].path) == ("b", "/batches?pageSize=100&pageToken=t%3D%2F")


async def test_anthropic_has_no_label_so_size_time_and_results_tell() -> None:
    def entry(
        id: str, count: int, status: str = "in_progress", at: str = "2026-10-01T00:00:05Z"
    ) -> dict[str, Any]:
        counts = {"processing": count} if status == "in_progress" else {"succeeded": count}
        return {"id": id, "processing_status": status, "request_counts": counts, "created_at": at}

    def find(*known: str) -> Any:
        return lambda batches: batches.find("mine", in_seconds(5), size=2, since=SINCE, known=known)

    running = {
        "data": [
            entry("new", 2),
            entry("other", 3),
            entry("first", 2),
            entry("old", 2, at="2026-09-30T00:00:00Z"),
        ]
    }
    kind = BackendName.ANTHROPIC
    assert (await asked(kind, reply(running), call=find()))[0] == "first"
    assert (await asked(kind, reply(running), call=find("first")))[0] == "new"
    assert (await asked(kind, reply(running), call=find("first", "new")))[0] is None
    done = {"data": [entry("a", 2, "ended"), entry("b", 2, "ended")], "has_more": False}
    found, _ = await asked(
        kind,
        reply(done),
        reply(lines({"custom_id": "theirs-1"})),
        reply(lines({"custom_id": "mine-1"})),
        call=find(),
    )
    assert found == "b"
