"""Services that queue: submitted once, asked until ready, fetched from where it is allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from backends.pointers import find, holds
from backends.poll import PollBackend
from backends.registry import make
from backends.simulator import Simulator
from models.calls import Image, ModelAnswer, ModelCallError
from models.endpoint import Endpoint
from models.enums import ErrorType, TimeoutKind
from models.errors import SettingsError

from .conftest import in_seconds, make_request
from .queueing import PNG, SPEC, Queue, page, queue
from .recording import recording


@asynccontextmanager
async def asking(
    simulator: Simulator, values: dict[str, Any] | None = None, **spec: Any
) -> AsyncIterator[tuple[PollBackend, Queue]]:
    async with queue(simulator.openai_url) as service:
        backend = made(service.url, values, **spec)
        try:
            yield backend, service
        finally:
            await backend.close()


def made(url: str, values: dict[str, Any] | None = None, **spec: Any) -> PollBackend:
    given = {"backend": "poll", "url": url, "poll": SPEC | spec} | (values or {})
    backend = make(Endpoint.model_validate(given))
    assert isinstance(backend, PollBackend)
    return backend


async def outcome(backend: PollBackend, seconds: float = 10, **changes: Any) -> ModelAnswer | ModelCallError:
    try:
        return await backend.answer(make_request(**changes), in_seconds(seconds))
    except ModelCallError as error:
        return error


async def failed(backend: PollBackend, seconds: float = 10, **changes: Any) -> ModelCallError:
    error = await outcome(backend, seconds, **changes)
    assert isinstance(error, ModelCallError), error
    return error


NOT_YET = page({"action": "reconnect"})


async def test_asked_until_it_is_ready(simulator: Simulator) -> None:
    async with asking(simulator) as (backend, service):
        service.pages = [NOT_YET] * 5
        answer = await outcome(backend)
    assert isinstance(answer, ModelAnswer), answer
    assert "02:30" in answer.text
    assert service.submitted == 1
    assert service.polls >= 6
    assert orjson.loads(service.bodies[0])["limit"] == 1024  # a number stays one


async def test_questions_that_get_lost_are_asked_again_and_the_job_is_not(simulator: Simulator) -> None:
    async with asking(simulator) as (backend, service):
        busy = page({"error": "busy"}, "application/json", 503, "Retry-After: 0")
        service.pages = [None, busy, NOT_YET, None]
        answer = await outcome(backend)
        assert isinstance(answer, ModelAnswer), answer
        service.pages = [busy] * 4
        error = await failed(backend)
    assert error.error_type is ErrorType.OVERLOADED
    assert service.submitted == 2


async def test_a_submission_that_fails_is_not_repeated() -> None:
    async with recording(page({"error": "x"}, "application/json", 503)) as server:
        backend = made(server.url)
        error = await failed(backend)
        await backend.close()
    assert error.error_type is ErrorType.OVERLOADED
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"error": "LIMIT reached for today"}, ErrorType.RATE_LIMITED),
        ({"error": "face_not_detected"}, ErrorType.REFUSED),
        ({"error": {"code": 7}}, ErrorType.SERVER_ERROR),
        ({"action": "dance"}, ErrorType.SERVER_ERROR),
        ({"success": 1}, ErrorType.SERVER_ERROR),  # 1 is not true
        ({"success": True}, ErrorType.EMPTY),
        ({"success": True, "data": {"text": 7}}, ErrorType.EMPTY),
    ],
)
async def test_what_a_poll_may_say(simulator: Simulator, reply: Any, kind: ErrorType) -> None:
    async with asking(simulator) as (backend, service):
        service.pages = [NOT_YET, page(reply)]
        error = await failed(backend)
    assert error.error_type is kind
    assert backend.url in str(error)


async def test_nothing_is_asked_that_the_deadline_leaves_no_time_for(simulator: Simulator) -> None:
    async with asking(simulator, interval=30) as (backend, service):
        error = await failed(backend, seconds=5)
    assert (error.error_type, error.timeout) == (ErrorType.TIMEOUT, TimeoutKind.TOTAL)
    assert service.polls == 0


async def test_asked_a_number_of_times_and_no_more(simulator: Simulator) -> None:
    async with asking(simulator, max_polls=3) as (backend, service):
        service.pages = [NOT_YET] * 9
        error = await failed(backend)
    assert error.error_type is ErrorType.TIMEOUT
    assert "3 times" in str(error)
    assert service.polls == 3


async def test_pauses_are_as_long_as_they_are_declared_or_asked_for(simulator: Simulator) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with queue(simulator.openai_url) as service:
        spec = SPEC | {"interval": 2.0}
        endpoint = Endpoint.model_validate({"backend": "poll", "url": service.url, "poll": spec})
        backend = PollBackend(endpoint, pause=pause)
        busy = page({"error": "busy"}, "application/json", 429, "Retry-After: 7")
        done = page({"success": True, "data": {"text": "yes"}})
        service.pages = [NOT_YET, busy, NOT_YET, done]
        answer = await outcome(backend, seconds=600)
        await backend.close()
    assert isinstance(answer, ModelAnswer), answer
    assert pauses == [2.0, 2.0, 7.0, 2.0]


async def test_a_picture_is_fetched(simulator: Simulator) -> None:
    async with asking(simulator, result="/data/picture", fetch={"url": "{result}"}) as (backend, _):
        answer = await outcome(backend)
    assert isinstance(answer, ModelAnswer), answer
    assert answer.images == (Image("image/png", PNG),)
    assert answer.text == ""


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_result_elsewhere_is_fetched_only_from_where_it_may_be_and_without_the_key(
    simulator: Simulator, allowed: bool
) -> None:
    async with recording(page(b"found", "text/plain")) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost") + "/a?b=c"
        spec = {
            "result": "/data/url",
            "fetch": {"url": "{result}"},
            "fetch_hosts": ["localhost"] if allowed else [],
        }
        values = {"api_key": "sk-q", "headers": {"x-team": "secret-team"}}
        async with asking(simulator, values, **spec) as (backend, service):
            service.pages = [page({"success": True, "data": {"url": elsewhere}})]
            found = await outcome(backend)
    assert service.headers[0]["authorization"] == "Bearer sk-q"
    if not allowed:
        assert isinstance(found, ModelCallError)
        assert "fetch_hosts" in str(found)
        assert other.asked == []
        return
    assert isinstance(found, ModelAnswer), found
    assert found.text == "found"
    (asked,) = other.asked
    assert asked.path == "/a?b=c"
    assert not {"authorization", "x-team"} & set(asked.headers)


@pytest.mark.parametrize("result", ["file:///etc/passwd", "http://[", "//other.example/x"])
async def test_a_result_that_is_no_place_is_not_fetched(simulator: Simulator, result: str) -> None:
    async with asking(simulator, result="/data/url", fetch={"url": "{result}"}) as (backend, service):
        service.pages = [page({"success": True, "data": {"url": result}})]
        error = await failed(backend)
    assert error.error_type is ErrorType.SERVER_ERROR


async def test_forms_and_files(simulator: Simulator) -> None:
    body = {"text": "{prompt}", "photo": "{image}", "key": "{api_key}"}
    picture = Image("image/jpeg", b"\xff\xd8 jpeg")
    for form in ("form", "multipart"):
        submit = {"method": "POST", "url": "/create", "body": body, "format": form}
        async with asking(simulator, {"api_key": "sk-q"}, submit=submit) as (backend, service):
            await outcome(backend, prompt="an é & more", images=(picture,))
        sent = service.bodies[0]
        assert b"sk-q" in sent
        assert "authorization" not in service.headers[0]  # it stands where the settings put it
        if form == "multipart":
            assert b'name="photo"; filename="image.jpeg"' in sent
            assert picture.data in sent
        else:
            assert b"text=an+%C3%A9+%26+more" in sent


async def test_what_stands_in_a_url_can_not_leave_its_place(simulator: Simulator) -> None:
    submit = {"method": "POST", "url": "/create?m={model}", "body": {"text": "{prompt}"}}
    async with asking(simulator, submit=submit) as (backend, service):
        await outcome(backend, model="../x?y=z&id=1#")
    assert service.headers[0][":path"] == "/create?m=..%2Fx%3Fy%3Dz%26id%3D1%23"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"poll": {"url": "/result"}}, r"needs \{id\}"),
        ({"poll": {"url": "/{job}"}}, r"\{job\} .* not known"),
        ({"id": "data"}, "no JSON pointer"),
        ({"success": {}}, "ready"),
    ],
)
def test_a_description_that_can_not_work(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        made("http://127.0.0.1:1", **spec)


def test_pointers() -> None:
    data = {"a": [{"b/c": 1}, {"~": "x"}], "": 2, "n": None}
    assert find(data, "") == data
    assert find(data, "/a/0/b~1c") == 1
    assert find(data, "/a/-1/~0") == "x"
    assert find(data, "/") == 2
    for missing in ("/a/7", "/a/x", "/a/0/b/c", "/n/x", "/z", "/a/-2"):
        assert find(data, missing) is None
    assert holds(data, {"/a/0/b~1c": [True]}) is False
    assert holds(data, {"/n": ["*"]}) is False
    assert holds(data, {"/z": [1], "/a": ["*"]}) is True
