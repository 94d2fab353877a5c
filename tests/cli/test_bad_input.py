"""Bad boards, bad servers, bad settings: one clear sentence or a finding, the right exit code, no traceback, and what
was accepted before stays."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from backends import simulator

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def one_complaint(outcome: Any, code: int, *words: str) -> None:
    assert outcome.code == code, outcome.out + outcome.err
    assert len(outcome.complaints) == 1, outcome.err
    for word in words:
        assert word in outcome.complaints[0]


# Boards


@pytest.mark.parametrize("command", [["run"], ["parse"], ["run", "--dry-run"]])
def test_what_is_not_there_or_no_text_is_said_before_anything_starts(
    penstock: Any, command: list[str]
) -> None:
    penstock.write("binary.md", b"\x7fELF\x02\x01\x01\x00" + bytes(range(256)))
    with (penstock.folder / "huge.md").open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    (penstock.folder / "nothing").mkdir()
    runs = penstock.count("select count(*) from run")

    one_complaint(penstock(*command, "missing.md"), 2, "missing.md", "no such file")
    one_complaint(penstock(*command, "binary.md"), 2, "binary.md", "not a text file")
    one_complaint(penstock(*command, "huge.md"), 2, "huge.md", "104,857,600", "PENSTOCK_MAX_SOURCE_BYTES")
    one_complaint(penstock(*command, "nothing"), 2, "no .markdown, .md, .org, .taskpaper, .todo, .txt file")
    one_complaint(penstock(*command, "*.nope"), 2, "no file matches")
    assert penstock.count("select count(*) from run") == runs


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_said(penstock: Any) -> None:
    penstock.write("closed.md", "- [ ] x\n").chmod(0)
    one_complaint(penstock("run", "closed.md"), 2, "closed.md", "Permission denied")


def test_one_bad_file_among_good_ones_is_named_and_the_rest_goes_on(penstock: Any) -> None:
    penstock.write("boards/a.md", b"\x00\x01\x02")
    penstock.write("boards/b.md", "- [x] painted\n")

    outcome = penstock("run", "boards")

    assert outcome.code == 0, outcome.out + outcome.err
    assert "Not read: boards/a.md: not a text file" in outcome.out
    report = orjson.loads((penstock.folder / "penstock-report" / "report.json").read_bytes())
    assert len(report["unreadable"]) == 1
    assert "boards/a.md" in report["unreadable"][0]
    assert "boards/a.md" in (penstock.folder / "penstock-report" / "report.md").read_text()
    parsed = penstock("parse", "boards")
    one_complaint(parsed, 0, "Not read: boards/a.md")
    assert "painted" in parsed.out


def test_odd_text_is_read_and_what_is_odd_is_a_finding(penstock: Any) -> None:
    penstock.write("odd/bom.md", b"\xef\xbb\xbf- [x] one\r\n- [x] two\r\n")
    penstock.write("odd/broken.md", b"- [x] caf\xc3\x28 \xff\xfe one\n" + "- [x] später\n".encode())
    penstock.write("odd/empty.md", b"")

    outcome = penstock("run", "odd")

    assert outcome.code == 0, outcome.out + outcome.err
    assert "odd/empty.md: the board is empty" in outcome.out
    boards = orjson.loads((penstock.folder / "penstock-report" / "report.json").read_bytes())["boards"]
    by_name = {board["source"]: board for board in boards}
    assert by_name["odd/bom.md"]["counts"]["ticked"] == 2
    assert [finding["code"] for finding in by_name["odd/empty.md"]["findings"]] == ["empty_board"]
    (finding,) = by_name["odd/broken.md"]["findings"]
    assert (finding["code"], finding["line"]) == ("encoding_loss", 1)


# Servers


class Odd(http.server.BaseHTTPRequestHandler):
    how = ""

    def do_GET(self) -> None:
        match self.how:
            case "error":
                self.send_error(500)
            case "nonsense":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"<html>It works!</html>")
            case "nothing":
                self.connection.close()
            case "never":
                time.sleep(7)  # longer than a probe may take

    do_POST = do_GET

    def log_message(self, *arguments: Any) -> None:
        return


@contextmanager
def odd_server(how: str) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (Odd,), {"how": how, "timeout": 10})
    )
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def declared(url: str, **more: Any) -> dict[str, str]:
    endpoint = {"backend": "openai", "url": url, "slots": 4} | more
    return {"PENSTOCK_ENDPOINTS": orjson.dumps([endpoint]).decode(), "PENSTOCK_BACKEND": "openai"}


@pytest.mark.parametrize("how", ["error", "nonsense", "nothing", "never"])
def test_a_server_that_is_none_is_said_and_the_run_fails(penstock: Any, how: str) -> None:
    penstock.write("plan.md", f"- [ ] Ask the {how} server\n")
    with odd_server(how) as url:
        outcome = penstock("run", "plan.md", env=declared(url))
    one_complaint(outcome, 1, "No openai server can be used", url)


def test_a_server_that_is_not_there_is_said(penstock: Any) -> None:
    penstock.write("plan.md", "- [ ] Ask nobody\n")
    outcome = penstock("run", "plan.md", env=declared("http://127.0.0.1:9/v1"))
    one_complaint(outcome, 1, "http://127.0.0.1:9/v1 can't be reached")
    one_complaint(
        penstock("run", "plan.md", "--dry-run", env=declared("http://127.0.0.1:9/v1")), 1, "127.0.0.1:9"
    )
    one_complaint(penstock("run", "plan.md", "--backend", "gemini"), 2, "No gemini endpoint is declared")


def test_what_a_server_breaks_leaves_accepted_work_intact(penstock: Any) -> None:
    lines = [f"- [ ] State the depth of shaft {number}\n" for number in range(8)]
    plan = penstock.write("plan.md", "".join(lines[:2]))
    penstock.write("shafts.md", "# Shafts\n\nThe depth of every shaft is 40 metres.\n")

    def accepted() -> int:
        return int(penstock.count("select count(*) from result where superseded_at is null"))

    with simulator.running(slots=4) as server:
        env = declared(server.openai_url, call_timeout=1.0)
        first = penstock("run", "plan.md", "shafts.md", env=env)
        assert first.code == 0, (penstock.folder / "penstock-report" / "report.md").read_text()
        before = accepted()
        plan.write_text("".join(lines[:6]))
        # A person's run tries once at once what was left alone, and finds it as it was.
        for failures, fault in enumerate(("error500", "hang", "nonsense"), 3):
            server.rates({fault: 1.0})
            outcome = penstock("run", "plan.md", env=env)
            one_complaint(outcome, 1, f"failed {failures} times in a row", "run the same command again")
            assert "4 items are still queued" in outcome.out
            assert accepted() == before
            assert penstock.count("select count(*) from lease") == 0
        server.rates({})
        again = penstock("run", "plan.md", env=env)
        assert again.code == 0, again.out + again.err
        assert accepted() == before + 4

        plan.write_text("".join(lines))
        server.rates({"empty": 1.0})
        outcome = penstock("run", "plan.md", env=env)
    assert outcome.code == 3, outcome.out + outcome.err
    assert not outcome.complaints
    assert "2 items wait for a person" in outcome.out
    assert accepted() == before + 4


# Settings


def test_settings_that_cannot_be_used_are_one_sentence(penstock: Any) -> None:
    penstock.write("plan.md", "- [ ] x\n")

    def said(**env: str) -> Any:
        return penstock("run", "plan.md", env={f"PENSTOCK_{name}": value for name, value in env.items()})

    one_complaint(said(BACKEND="nope"), 2, "'nope' is no backend; use one of auto, ollama")
    one_complaint(said(BATCH_SIZE="many"), 2, "batch_size", "valid integer")
    one_complaint(said(BACKND="auto"), 2, "No setting is called PENSTOCK_BACKND", "PENSTOCK_BACKEND")
    one_complaint(said(ENDPOINTS='[{"api_key": "s3cret"'), 2, "PENSTOCK_ENDPOINTS is no JSON")
    assert "s3cret" not in said(ENDPOINTS='[{"api_key": "s3cret"').err
    one_complaint(said(CONFIG="/nowhere.toml"), 2, "'/nowhere.toml', which is no file")
    one_complaint(penstock("run", "plan.md", "--backend", "nope"), 2, "'nope' is no backend")
    one_complaint(penstock("run", "plan.md", "--dialect", "nope"), 2, "unknown dialect 'nope'")

    toml = penstock.write("penstock.toml", "backend = \n")
    one_complaint(penstock("run", "plan.md"), 2, "penstock.toml is no TOML", "line 1")
    toml.write_text('backnd = "auto"\n')
    one_complaint(penstock("run", "plan.md"), 2, "backnd: there is no such setting", "penstock.toml")


def test_a_database_that_is_not_there_is_one_sentence_without_its_password(penstock: Any) -> None:
    penstock.write("plan.md", "- [ ] x\n")
    outcome = penstock(
        "run", "plan.md", env={"PENSTOCK_DATABASE_URL": "postgresql://u:s3cret@127.0.0.1:9/none"}
    )
    one_complaint(outcome, 1, "Can't connect to Postgres at u@127.0.0.1:9/none")
    assert "s3cret" not in outcome.err
