"""Readers of streams: however the bytes are cut, the same events come out."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.streams import NDJSON, SSE, Reader, reader_of


def read(reader: Reader, chunks: list[bytes]) -> list[bytes]:
    return [event for chunk in chunks for event in reader.feed(chunk)] + reader.end()


@st.composite
def cut(draw: st.DrawFn, body: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(body)), max_size=12)))
    return [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
PAGES = st.lists(st.dictionaries(TEXT, TEXT | st.integers(-9, 9), max_size=3), max_size=6)
BYTES = st.binary(max_size=200) | st.text("data:event \r\n{}é\u2028", max_size=120).map(str.encode)


@given(st.data(), PAGES, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.booleans())
def test_events_come_out_as_they_went_in(
    data: st.DataObject, pages: list[dict[str, object]], end: bytes, named: bool
) -> None:
    body = b"\xef\xbb\xbf" if data.draw(st.booleans()) else b""
    for number, page in enumerate(pages):
        body += b": a comment" + end + (f"event: e{number}".encode() + end if named else b"")
        body += b"id: 7" + end + b"data: " + orjson.dumps(page) + end + end
    found = read(SSE(), data.draw(cut(body)))
    assert [orjson.loads(event) for event in found] == pages


@given(st.data(), PAGES, st.sampled_from([b"\n", b"\r\n", b"\n\n"]), st.booleans())
def test_lines_come_out_as_they_went_in(
    data: st.DataObject, pages: list[dict[str, object]], end: bytes, ended: bool
) -> None:
    body = end.join(orjson.dumps(page) for page in pages) + (end if ended else b"")
    assert [orjson.loads(event) for event in read(NDJSON(), data.draw(cut(body)))] == pages


@pytest.mark.parametrize("reader", [SSE, NDJSON])
@given(data=st.data(), body=BYTES)
def test_any_bytes_in_any_chunks_are_the_same_events(
    data: st.DataObject, body: bytes, reader: type[Reader]
) -> None:
    assert read(reader(), data.draw(cut(body))) == read(reader(), [body])


def test_data_lines_are_joined_and_other_fields_left_out() -> None:
    body = b"retry: 3\nevent: a\ndata: one\ndata:two\ndata\n\nevent: lost\n\n:\n\ndata:  x\n\n"
    assert read(SSE(), [body]) == [b"one\ntwo\n", b" x"]


def test_an_event_that_the_server_did_not_finish_is_seen() -> None:
    assert read(SSE(), [b"data: [DONE]"]) == [b"[DONE]"]
    assert read(NDJSON(), [b'{"a": 1']) == [b'{"a": 1']


def test_a_long_line_costs_no_square() -> None:
    reader = SSE()
    for _ in range(4000):
        assert reader.feed(b"x" * 4096) == []
    assert len(read(reader, [b"\n"])) == 0  # 16 MiB of no field, in well under the test's time


@pytest.mark.parametrize(
    ("kind", "begins", "reader"),
    [
        ("text/event-stream; charset=utf-8", b"", SSE),
        ("TEXT/EVENT-STREAM", b"{", SSE),
        ("application/x-ndjson", b"{", NDJSON),
        ("text/plain", b"data: {}", SSE),
        ("", b"event: a", SSE),
        ("text/plain", b": keepalive", SSE),
        ("application/json", b'{"data": 1}', None),
        ("text/html", b"<html>", None),
    ],
)
def test_who_reads_it(kind: str, begins: bytes, reader: type[Reader] | None) -> None:
    found = reader_of(kind, begins)
    assert found is None if reader is None else isinstance(found, reader)
