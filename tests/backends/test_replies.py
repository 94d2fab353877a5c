"""What replies mean: the table of docs/protocols.md against the code, and the small readers."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import failures, replies
from models.enums import ErrorType

DOCS = Path(__file__).parents[2] / "docs" / "protocols.md"


def test_the_documented_table_is_the_code() -> None:
    rows = re.findall(r"^\| (\d{3}|other [^|]+) \| (\*?)(\w+)\*? \|$", DOCS.read_text("utf-8"), re.MULTILINE)
    documented = {status: ErrorType(name) for status, _, name in rows}
    for status, italic, name in rows:
        assert bool(italic) is not ErrorType(name).charged, status
    by_number = {int(status): kind for status, kind in documented.items() if status.isdigit()}
    assert by_number == failures.STATUS_ERRORS
    assert all(failures.classify(status, "") is kind for status, kind in by_number.items())
    assert documented["other 1xx, 2xx, 3xx"] is failures.classify(302, "") is failures.classify(204, "")
    assert documented["other 4xx"] is failures.classify(418, "")
    assert documented["other 5xx"] is failures.classify(511, "")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            400,
            '{"error":{"message":"m","type":"exceed_context_size_error","n_ctx":9}}',
            ErrorType.CONTEXT_TOO_LONG,
        ),
        (
            400,
            orjson.dumps(
                {"error": '{"error":{"code":400,"message":"x","type":"exceed_context_size_error"}}'}
            ),
            ErrorType.CONTEXT_TOO_LONG,
        ),
        (400, '{"error":"the input length exceeds the context length"}', ErrorType.CONTEXT_TOO_LONG),
        (
            400,
            '{"error":{"message":"This model\'s maximum context length is 9"}}',
            ErrorType.CONTEXT_TOO_LONG,
        ),
        (400, '{"detail":"Server is pinned to x"}', ErrorType.MODEL_MISSING),
        (400, '{"error":"\\"e\\" does not support chat"}', ErrorType.MODEL_MISSING),
        (400, '{"error":"model is required"}', ErrorType.MALFORMED),
        (
            422,
            '{"detail":[{"msg":"Field required","input":"out of memory, model x not found"}]}',
            ErrorType.MALFORMED,
        ),
        (400, '{"error":"your prompt says: out of memory"}', ErrorType.MALFORMED),
        (
            500,
            '{"error":"model requires more system memory (9 GiB) than is available"}',
            ErrorType.OUT_OF_MEMORY,
        ),
        (500, "input (4000 tokens) is too large to process. increase the batch", ErrorType.CONTEXT_TOO_LONG),
        (503, '{"error":{"message":"Loading model"}}', ErrorType.UNAVAILABLE),
        (
            503,
            '{"error":"server busy, please try again.  maximum pending requests exceeded"}',
            ErrorType.OVERLOADED,
        ),
        (404, "404 page not found", ErrorType.MODEL_MISSING),
    ],
)
def test_the_sentence_says_it_more_exactly(status: int, body: str | bytes, kind: ErrorType) -> None:
    raw = body.encode() if isinstance(body, str) else body
    assert failures.classify(status, failures.error_text(raw)) is kind


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"message":"a","type":"t"}}', "a (t)"),
        (b'{"error":"a"}', "a"),
        (b'{"error":"{\\"error\\":{\\"message\\":\\"deep\\"}}"}', "deep"),
        (b'{"detail":"a"}', "a"),
        (b'{"detail":[{"msg":"a"}]}', "a"),
        (b'[{"error":{"message":"a"}}]', "a"),
        (b'{"message":"a"}', "a"),
        (b'{"other": 1}', '{"other": 1}'),
        (b"two\r\nlines \x1b[31m\x00", "two lines [31m"),
        (b"", ""),
        (b"\xff\xfe", "��"),
    ],
)
def test_error_bodies(body: bytes, said: str) -> None:
    assert failures.error_text(body) == said


@given(st.binary(max_size=2000))
def test_any_body_gives_a_short_printable_line(body: bytes) -> None:
    text = failures.error_text(body)
    assert len(text) <= replies.SNIPPET
    assert text.isprintable()


@given(st.integers(100, 599), st.text(max_size=200))
def test_any_status_has_a_type(status: int, text: str) -> None:
    assert isinstance(failures.classify(status, text), ErrorType)


@given(st.floats(0, 1e6))
def test_retry_after_in_seconds(seconds: float) -> None:
    assert failures.retry_after(str(seconds)) == seconds


@given(st.integers(-1000, 100_000))
def test_retry_after_as_a_date(seconds: int) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=seconds), usegmt=True)
    assert failures.retry_after(date, now) == max(0, seconds)


@given(st.text(max_size=40))
def test_retry_after_is_never_unusable(value: str) -> None:
    seconds = failures.retry_after(value)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


@pytest.mark.parametrize("value", [None, "", "soon", "nan", "inf", "1e999"])
def test_retry_after_that_says_nothing(value: str | None) -> None:
    assert failures.retry_after(value) is None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>hm</think>yes", "yes"),
        (" <think>\nhm\n</think>\n\n{}", "{}"),
        ("hm, so\n</think>\nyes", "yes"),
        ("<think>never ends", ""),
        ("<think></think>", ""),
        ('{"a": "</think> is a tag"}', '{"a": "</think> is a tag"}'),
        ("```json\n{}\n```", "```json\n{}\n```"),
        ("the tag <think> is kept", "the tag <think> is kept"),
    ],
)
def test_reasoning_is_taken_off(text: str, left: str) -> None:
    assert replies.visible(text) == left


@pytest.mark.parametrize(
    ("asked", "returned", "same"),
    [
        ("q", "q", True),
        ("q", "q:latest", True),
        ("q:latest", "q", True),
        ("org/q", "org/q@main", True),
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("q:8b", "q:1b", False),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06", False),
        ("gpt-4o", "gpt-4o-mini", False),
        ("q", "", False),
    ],
)
def test_names_of_one_model(asked: str, returned: str, same: bool) -> None:
    assert replies.same_model(asked, returned) is same


@given(st.text(max_size=3000))
def test_no_text_has_more_least_tokens_than_characters(text: str) -> None:
    assert 0 <= replies.least_tokens(text) <= len(text)


@pytest.mark.parametrize(
    ("least", "reported", "cut"),
    [
        (1000, 514, True),
        (1000, 900, False),
        (1000, 1400, False),
        (100, 1, False),
        (1000, None, False),
        (1000, 0, False),
    ],
)
def test_a_cut_prompt_is_seen_only_when_it_is_plain(least: int, reported: int | None, cut: bool) -> None:
    assert replies.was_cut(least, reported) is cut


@pytest.mark.parametrize("value", [-1, 2**31, 10**30, True, 1.5, "7", None])
def test_count_that_no_server_and_no_database_has_is_unknown(value: object) -> None:
    assert replies.count(value) is None


def test_largest_count() -> None:
    assert replies.count(2**31 - 1) == 2**31 - 1
