"""Figures quoted in documents are those of bench/results; what the benchmarks compare is comparable."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from backends.registry import make
from bench.__main__ import NAMES
from bench.docs import BLOCK, documents, filled
from bench.execution.calls import plain
from bench.execution.cycle import RECIPE, board_bytes
from bench.harness import RESULTS
from bench.missed import MISSED
from models.calls import ModelRequest
from models.enums import BackendName
from models.settings import Endpoint, settings
from sources import parse
from tasks.execute import ClaimedItem
from tasks.recipes import load_recipes, render


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_documents_quote_the_results(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert filled(text) == text, "run the benchmark, or `make bench`, which writes the tables"


def test_every_benchmark_is_shown() -> None:
    shown = {block["name"] for path in documents() for block in BLOCK.finditer(path.read_text("utf-8"))}
    assert shown == set(NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_results_are_rows_of_a_full_run_and_goals_that_miss_are_said(name: str) -> None:
    rows = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))["rows"]
    assert rows
    for row in rows:
        assert row.keys() == {"figure", "value", "unit", "goal", "holds", "command"}
        assert row["command"] == f"make bench NAME={name}"
        assert (row["goal"] is None) == (row["holds"] is None)
    missed = {row["figure"] for row in rows if row["holds"] is False}
    assert missed == set(MISSED.get(name, {})), (
        "bench/missed.py says why a goal is not reached, and of no other"
    )


@contextmanager
def recorder() -> Iterator[tuple[str, list[bytes]]]:
    """A server that keeps the bodies it was sent and answers as the simulator does."""
    bodies: list[bytes] = []
    message = {"role": "assistant", "content": '{"answer": "yes"}'}
    event = {"model": "bench", "choices": [{"delta": message, "finish_reason": "stop"}], "usage": {}}
    page = b"data: " + orjson.dumps(event) + b"\n\ndata: [DONE]\n\n"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_the_plain_loop_sends_what_penstock_sends(settings_env: Path) -> None:
    config = settings()
    (config.home / "recipes").mkdir(parents=True)
    (config.home / "recipes" / "bench.md").write_text(RECIPE, encoding="utf-8")
    recipe = load_recipes(config)["bench"]
    title = parse(board_bytes("http-0", 1), "http-0.md").items[-1].title
    item = ClaimedItem(1, 1, "bench", None, 0, 1, "task", None, title, "", 3, {}, "http-0.md", "", None, None)
    prompt = render(recipe, item, ())
    with recorder() as (url, bodies):
        backend = make(Endpoint(backend=BackendName.OPENAI, url=url, model="bench"))
        schema = recipe.header.answer_schema
        try:
            request = ModelRequest(1, "bench", prompt.system, prompt.prompt, title, schema=schema)
            await backend.answer(request, asyncio.get_running_loop().time() + 30)
        finally:
            await backend.close()
        assert plain(config, url, 1)[0] > 0
    ours, theirs = bodies[0], bodies[-1]
    assert len(ours) == len(theirs)
    assert orjson.loads(ours).keys() == orjson.loads(theirs).keys()
    assert orjson.loads(ours)["messages"][0] == orjson.loads(theirs)["messages"][0]
