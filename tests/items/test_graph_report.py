"""The graph in a report: small enough to be read in it, whole in a file beside, and named in the JSON."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from models.enums import Declared
from tasks.report import as_markdown, build, draw, write
from tasks.report.drawing import MOST_IN_REPORT

from .conftest import item, settle

if TYPE_CHECKING:
    from .conftest import Connection, Item, Store


def phases(count: int, parts: int, **fields: object) -> list[Item]:
    found: list[Item] = []
    for number in range(count):
        found.append(item(f"Phase {number}", kind="phase"))
        found += [item(f"Part {number}.{part}", under=f"Phase {number}", **fields) for part in range(parts)]
    return found


def test_a_small_board_is_drawn_whole(connection: Connection, store: Store, tmp_path: Path) -> None:
    board = store("dam.md", *phases(2, 2), item("Paint", status=Declared.DONE)).board_id
    found, graph = build(connection, [board]), draw(connection, [board])
    assert graph
    markdown, data = write(found, tmp_path / "new", graph)
    text = markdown.read_text()
    assert "[graph.svg](graph.svg)" in text
    assert text.count("```mermaid\n") == 1
    for title in ("Part 0.0", "Part 1.1", "Paint"):
        assert title in text.partition("```mermaid")[2]
    ET.parse(tmp_path / "new" / "graph.svg")
    assert orjson.loads(data.read_bytes())["graph"] == "graph.svg"
    assert "mermaid" not in as_markdown(found), "where there is no file beside it there is no drawing"


def test_of_a_larger_board_only_what_is_open_is_drawn(connection: Connection, store: Store) -> None:
    many = [*phases(3, 25), *(item(f"Ticked {number}", status=Declared.DONE) for number in range(40))]
    board = store("dam.md", *many).board_id
    settle(connection, *(f"Part {phase}.{part}" for phase in (0, 1) for part in range(25)))
    graph = draw(connection, [board])
    assert graph
    assert "Part 2.7" in graph.mermaid
    assert "Part 0.7" not in graph.mermaid
    assert "What is settled is not drawn." in graph.mermaid
    for title in ("Part 2.7", "Part 0.7", "Ticked 39"):
        assert f">{title}</text>" in graph.svg


def test_a_large_board_is_folded_and_the_report_stays_small(
    connection: Connection, store: Store, tmp_path: Path
) -> None:
    board = store("dam.md", *phases(12, 60)).board_id
    graph = draw(connection, [board])
    assert graph
    assert "Only 12 items with parts are drawn; the 720 without parts are counted" in graph.svg
    markdown, _ = write(build(connection, [board]), tmp_path, graph)
    assert 0 < len(graph.mermaid) < 200 * MOST_IN_REPORT
    assert markdown.stat().st_size < 30_000


def test_boards_without_items_are_not_drawn(connection: Connection, store: Store, tmp_path: Path) -> None:
    board = store("notes.md").board_id
    graph = draw(connection, [board])
    assert graph is None
    _, data = write(build(connection, [board]), tmp_path, graph)
    assert orjson.loads(data.read_bytes())["graph"] is None
    assert not (tmp_path / "graph.svg").exists()
