"""Keys come from settings and the environment, are sent where they belong, and are shown nowhere."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from backends.registry import make
from models.calls import ModelAnswer, ModelCallError
from models.endpoint import Endpoint
from models.errors import SettingsError
from models.settings import Settings

from .conftest import http, in_seconds, make_request
from .queueing import SPEC
from .recording import recording

KEY, TEAM = "sk-very-secret", "team-secret"
KINDS: dict[str, dict[str, Any]] = {
    "ollama": {},
    "openai": {},
    "mlx": {},
    "anthropic": {},
    "gemini": {},
    "poll": {
        "poll": SPEC | {"submit": {"method": "POST", "url": "/c?k={api_key}", "body": {"k": "{api_key}"}}}
    },
}
SAID = {
    "an error": http(401, f'{{"error": {{"message": "the key {KEY} is wrong"}}}}', f"x-request-id: {KEY}"),
    "an error in a page": http(200, f'{{"error": "no {KEY}"}}', "Content-Type: application/json"),
    "no JSON": http(200, f"<html>{KEY}</html>"),
    "a strange page": http(
        200, f'{{"model": "{KEY}", "error": {{"details": "{KEY}"}}}}', "Content-Type: application/json"
    ),
    "an event": http(
        200, f'data: {{"error": {{"message": "no {KEY}"}}}}\n\n', "Content-Type: text/event-stream"
    ),
    "a broken head": b"HTTP/1.1 200 OK\r\n" + KEY.encode() + b"\r\n\r\n",
}
UNQUOTED = "a broken head"
"""Of what is no HTTP nothing is said again."""


def partial_of(found: object) -> object:
    return found.partial if isinstance(found, ModelCallError) else found


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_is_not_in_what_is_shown(kind: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with recording(SAID[said]) as server:
        given = {
            "backend": kind,
            "url": server.url,
            "api_key": KEY,
            "headers": {"X-Team": TEAM},
            **KINDS[kind],
        }
        endpoint = Endpoint.model_validate(given)
        backend = make(endpoint)
        probe = await backend.probe(in_seconds(5))
        found: Any
        try:
            found = await backend.answer(make_request("m"), in_seconds(5))
        except ModelCallError as error:
            found = error
        await backend.close()
    sent = server.asked[-1]
    assert ("***" in f"{found} {partial_of(found)} {probe}") is (said != UNQUOTED)
    assert KEY in f"{sent.headers} {sent.path} {sent.raw.decode()}"
    assert sent.headers["x-team"] == TEAM
    partial = partial_of(found)
    shown = [repr(endpoint), str(endpoint), endpoint.model_dump_json(), repr(backend), repr(probe)]
    shown += [
        str(found),
        repr(found),
        repr(found.__cause__ if isinstance(found, Exception) else ""),
        repr(partial),
    ]
    shown += [repr(Settings(endpoints=[endpoint])), caplog.text]
    for text in shown:
        assert KEY not in text
        assert TEAM not in text


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini"])
async def test_a_key_of_the_environment(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    async with recording(http(401, "{}")) as server:
        given = {"backend": kind, "url": server.url, "api_key_env": "MY_KEY"}
        endpoint = Endpoint.model_validate(given)
        backend = make(endpoint)
        await backend.probe(in_seconds(5))
        await backend.close()
    assert KEY in str(server.asked[0].headers)
    assert KEY not in repr(endpoint) + endpoint.model_dump_json()


@pytest.mark.parametrize("value", [None, "", "a b", "line\nbreak", "ключ"])
def test_a_key_of_the_environment_that_is_none(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    endpoint = Endpoint(backend="openai", url="http://127.0.0.1:1/v1", api_key_env="MY_KEY")
    with pytest.raises(SettingsError, match="MY_KEY") as caught:
        make(endpoint)
    assert not value or value not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("X Y", "v"), ("", "v"), ("X-é", "v"), ("X", "a\r\nY: b"), ("X", " leading-blank"), ("X", "é")],
)
def test_a_header_that_can_not_be_one_is_refused_unseen(name: str, value: str) -> None:
    given = {"backend": "openai", "url": "http://127.0.0.1:1/v1", "headers": {name: value}}
    with pytest.raises(SettingsError) as caught:
        make(Endpoint.model_validate(given))
    assert value == "v" or value not in str(caught.value)


async def test_an_answer_keeps_no_header_but_ids_and_limits() -> None:
    page = b'{"model": "m", "choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}'
    reply = http(
        200, page, "Content-Type: application/json", "Set-Cookie: a=b", f"X-Echo: {KEY}", "X-Request-Id: 7"
    )
    async with recording(reply) as server:
        backend = make(Endpoint.model_validate({"backend": "openai", "url": server.url, "api_key": KEY}))
        answer = await backend.answer(make_request("m"), in_seconds(5))
        await backend.close()
    assert isinstance(answer, ModelAnswer)
    assert answer.headers == {"x-request-id": "7"}
