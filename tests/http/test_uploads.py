"""What may be uploaded: every dialect in every encoding that a file may have, and nothing that is no text."""

from __future__ import annotations

import codecs
import unicodedata
import uuid
from typing import Any

import pytest
from prefect.client.orchestration import get_client

import sources
from tasks.ingest import ingest_board

PLAN = "# План\n\n- [ ] Починить насос в подвале\n- [x] Купить новые шланги\n"
BOARDS: list[tuple[str, bytes]] = [
    ("utf-8.md", PLAN.encode()),
    ("bom.md", PLAN.encode("utf-8-sig")),
    ("crlf.md", PLAN.replace("\n", "\r\n").encode()),
    ("utf-16.md", codecs.BOM_UTF16_LE + PLAN.encode("utf-16-le")),
    ("utf-16be.txt", codecs.BOM_UTF16_BE + PLAN.encode("utf-16-be")),
    ("cp1251.md", PLAN.encode("cp1251")),
    ("issues.json", b'[{"number": 1, "title": "One", "state": "OPEN"}]'),
    ("todo.txt", b"(A) call the plumber +pump @phone\nx 2026-01-01 done\n"),
    ("plan.org", b"* TODO one\n* DONE two\n"),
    ("a plan with spaces.markdown", PLAN.encode()),
    ("v1.2", b"- [ ] a\n"),
]


@pytest.mark.parametrize(("name", "content"), BOARDS, ids=[name for name, _ in BOARDS])
@pytest.mark.parametrize("form", [False, True], ids=["raw", "form"])
async def test_bytes_go_through_as_they_are(door: Any, name: str, content: bytes, form: bool) -> None:
    if form:
        answer = await door.client.post("/boards", files={"file": (name, content)}, headers=door.token)
    else:
        answer = await door.client.post("/boards", params={"name": name}, content=content, headers=door.token)
    assert answer.status_code == 202, answer.text
    path = door.settings.home / "inbox" / name
    assert path.read_bytes() == content
    (origin,) = sources.expand([str(path)])
    board = sources.parse(sources.read(origin), origin.name)
    assert "\ufffd" not in board.text
    if name.endswith((".md", ".markdown")):
        assert [item.title for item in board.items] == ["Починить насос в подвале", "Купить новые шланги"]


async def test_the_same_name_is_an_edit_of_the_same_board(door: Any) -> None:
    deltas = []
    for name, text in (
        ("й.md", "- [ ] a\n- [ ] b\n"),
        (unicodedata.normalize("NFD", "й.md"), "- [x] a\n- [ ] b\n"),
    ):
        await door.client.post("/boards", params={"name": name}, content=text.encode(), headers=door.token)
        (origin,) = sources.expand([str(door.settings.home / "inbox" / "й.md")])
        board = sources.parse(sources.read(origin), origin.name)
        with door.database.connect() as connection:
            deltas.append(ingest_board(connection, board, source=origin.source(board.sha256)))
    assert deltas[0].board_id == deltas[1].board_id
    assert (deltas[1].added, deltas[1].status_changed, deltas[1].unchanged) == (0, 1, 1)


async def test_the_dialect_may_be_named(door: Any) -> None:
    answer = await door.client.post("/boards?name=a.md&dialect=gfm", content=b"- [ ] a\n", headers=door.token)
    async with get_client() as client:
        run = await client.read_flow_run(uuid.UUID(answer.json()["flow_run_id"]))
    assert run.parameters == {"board": str(door.settings.home / "inbox" / "a.md"), "dialect": "gfm"}
    wrong = await door.client.post("/boards?name=b.md&dialect=nope", content=b"- [ ] a\n", headers=door.token)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "bad_input")
    assert "unknown dialect 'nope'" in wrong.json()["error"]["message"]
    assert not (door.settings.home / "inbox" / "b.md").exists()


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\x00", b"%PDF-1.7\n", b"PK\x03\x04", b"a\x00b\x01"])
async def test_what_is_no_text_is_said_at_once(door: Any, content: bytes) -> None:
    (door.settings.home / "inbox" / "a.md").write_text("- [ ] as it was\n")
    for given in ({"content": content, "params": {"name": "a.md"}}, {"files": {"file": ("a.md", content)}}):
        answer = await door.client.post("/boards", headers=door.token, **given)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_input")
        assert answer.json()["error"]["message"].startswith("a.md: not a text file")
    assert (door.settings.home / "inbox" / "a.md").read_text() == "- [ ] as it was\n"
