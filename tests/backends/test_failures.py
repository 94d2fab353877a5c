"""What refusals mean: the tables of docs/protocols.md against the code, and how long servers want to be left alone."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import failures
from backends.anthropic import AnthropicBackend
from backends.gemini import GeminiBackend
from backends.openai import OpenAIBackend
from models.endpoint import Endpoint
from models.enums import RULES, ErrorType, Step, TimeoutKind

DOCS = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text("utf-8")
PROTOCOLS = {"openai": OpenAIBackend, "anthropic": AnthropicBackend, "gemini": GeminiBackend}


def test_every_error_type_has_its_rule_and_the_document_shows_it() -> None:
    assert set(RULES) == set(ErrorType)
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]+|—) \| (yes|no) \| (yes|no) \|$", DOCS, re.MULTILINE)
    assert [row[0] for row in rows] == list(RULES)
    for name, fault, steps, breaker, charged in rows:
        rule = ErrorType(name).rule
        assert (fault, steps) == (rule.fault, ", ".join(rule.steps) or "—")
        assert (breaker == "yes", charged == "yes") == (rule.breaker, rule.charged)


def test_every_step_is_described() -> None:
    assert re.findall(r"^\| \*(\w+)\* \| ", DOCS, re.MULTILINE) == list(Step)


def test_rules_make_sense_together() -> None:
    for kind, rule in RULES.items():
        # What comes back later is not the item's fault, nor is what was wrong with its pack.
        assert rule.charged is not (Step.LATER in rule.steps or rule.steps == (Step.ALONE,)), kind
        assert not (rule.charged and rule.breaker), kind  # an item's fault says nothing of the server


def test_the_words_of_each_protocol_are_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\*?)(\w+)\*? \|$", DOCS, re.MULTILINE)
    documented: dict[str, dict[str, str]] = {}
    for word, protocol, italic, name in rows:
        documented.setdefault(protocol, {})[word] = name
        assert bool(italic) is not ErrorType(name).charged, word
    assert documented == {name: dict(backend.WORDS) for name, backend in PROTOCOLS.items()}


def test_the_waits_are_documented_with_their_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) s \| .+ \|$", DOCS, re.MULTILINE)
    assert [row[0] for row in rows] == list(TimeoutKind)
    endpoint = Endpoint(backend="openai", url="http://h/v1")
    for _, setting, seconds in rows:
        assert getattr(endpoint, setting) == float(seconds)


@pytest.mark.parametrize(
    ("protocol", "status", "page", "kind"),
    [
        (
            "openai",
            429,
            {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}},
            "auth",
        ),
        (
            "openai",
            429,
            {"error": {"message": "slowly", "code": "429", "type": "throttling_error"}},
            "rate_limited",
        ),
        (
            "openai",
            400,
            {"error": {"message": "x", "type": "t", "code": "context_length_exceeded"}},
            "context_too_long",
        ),
        (
            "anthropic",
            400,
            {"type": "error", "error": {"type": "billing_error", "message": "no credit"}},
            "auth",
        ),
        (
            "anthropic",
            413,
            {"type": "error", "error": {"type": "request_too_large", "message": "x"}},
            "context_too_long",
        ),
        (
            "anthropic",
            529,
            {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
            "overloaded",
        ),
        (
            "anthropic",
            400,
            {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}},
            "context_too_long",
        ),
        (
            "gemini",
            429,
            [{"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}}],
            "rate_limited",
        ),
        (
            "gemini",
            400,
            {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}},
            "auth",
        ),
        (
            "gemini",
            400,
            {
                "error": {
                    "message": "The input token count (9) exceeds the maximum number",
                    "status": "INVALID_ARGUMENT",
                }
            },
            "context_too_long",
        ),
        ("gemini", 403, {"error": {"code": 403, "message": "x", "status": "PERMISSION_DENIED"}}, "auth"),
        ("gemini", 500, {"error": {"code": 500, "message": "x", "status": "INTERNAL"}}, "server_error"),
    ],
)
def test_words_say_it_more_exactly(protocol: str, status: int, page: object, kind: str) -> None:
    body = orjson.dumps(page)
    error = failures.failure("http://h", status, {}, body, "m", words=PROTOCOLS[protocol].WORDS)
    assert error.error_type == kind
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("headers", "page", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, None, 1.5),
        ({"retry-after": "9"}, None, 9.0),
        ({"llm_provider-retry-after": "60"}, None, 60.0),
        ({"retry-after": "soon", "llm_provider-retry-after": "60"}, None, 60.0),
        ({}, {"error": {"details": [{"x": 1}, {"retryDelay": "2.5s"}]}}, 2.5),
        ({}, [{"error": {"details": [{"retryDelay": "17s"}]}}], 17.0),
        ({}, {"error": {"details": [{"retryDelay": "soon"}]}}, None),
        ({}, {"error": {"details": "2s"}}, None),
        ({}, {"error": "2s"}, None),
        ({}, None, None),
    ],
)
def test_the_wait_that_is_asked_for(headers: dict[str, str], page: object, seconds: float | None) -> None:
    assert failures.wait_asked_for(httpx.Headers(headers), page) == seconds


@given(
    st.recursive(
        st.none() | st.text(max_size=9) | st.integers(-(2**53), 2**53),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["error", "details", "retryDelay", "code", "status", "type"]),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_any_page_is_read_without_a_fault(page: object) -> None:
    body = orjson.dumps(page)
    error = failures.failure("http://h", 500, {}, body, "m", words=GeminiBackend.WORDS)
    assert isinstance(error.error_type, ErrorType)
    assert error.retry_after is None or error.retry_after >= 0


def test_a_request_id_is_told() -> None:
    error = failures.failure("http://h", 401, {"request-id": "req_7"}, b'{"error": "no"}', "m")
    assert "req_7" in str(error)
