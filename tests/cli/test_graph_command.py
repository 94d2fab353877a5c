"""`penstock graph`: the file's ending says the form, what is left out is said, what can't be drawn is one sentence."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import orjson
import pytest

# Prefect's client leaves sockets to the collector, a pair per flow run.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def lines() -> str:
    rows = ["# Plan of the graph", "", "## Phase 1: Dig", "", "- [TODO] Elect a <b>graph</b> warden", ""]
    return "\n".join(
        [*rows, "## Phase 2: Fill", "", *(f"- [TODO] Fill graph basin {n}" for n in range(12)), ""]
    )


def test_each_form_and_what_is_left_out(penstock: Any, lines: str) -> None:
    penstock.write("graph.md", lines)
    assert penstock("run", "graph.md").code == 3

    drawn = penstock("graph", "graph.md")
    assert drawn.code == 0, drawn.err
    assert "flowchart LR" in drawn.out
    assert "Elect a #60;b#62;graph#60;/b#62; warden" in drawn.out
    assert "==>" in drawn.out

    for name, begin in (
        ("g/a.svg", "<svg"),
        ("g/a.json", "{"),
        ("g/a.mmd", "%%{init"),
        ("g/a.md", "```mermaid\n"),
    ):
        outcome = penstock("graph", "graph.md", "--out", name)
        assert outcome.code == 0, outcome.err
        assert f"{name}: 15 items, 1 need" in outcome.out
        assert (penstock.folder / name).read_text().startswith(begin)
    ET.parse(penstock.folder / "g/a.svg")
    data = orjson.loads((penstock.folder / "g/a.json").read_bytes())
    assert [(each["title"], each["state"]) for each in data["items"]][1:3] == [
        ("Elect a <b>graph</b> warden", "waiting"),
        (data["items"][2]["title"], "pending"),
    ]
    assert [(need["needs"], need["settled"]) for need in data["needs"]] == [
        (data["items"][0]["item_id"], False)
    ]

    folded = penstock("graph", "graph.md", "--most", "10", "--format", "svg")
    assert "Only 2 items with parts are drawn; the 13 without parts are counted" in folded.err
    near = penstock("graph", "--around", "graph.md:5", "--format", "json")
    assert [each["title"] for each in orjson.loads(near.out)["items"]][:2] == [
        data["items"][0]["title"],
        "Elect a <b>graph</b> warden",
    ]


def test_what_cannot_be_drawn_is_one_sentence(penstock: Any, lines: str) -> None:
    penstock.write("other.md", lines.replace("graph", "other"))  # the same work twice is refused
    penstock("run", "other.md")
    penstock.write("file", "in the way")
    for words, said in (
        (("nowhere.md",), "'nowhere.md'"),
        (("--around", "99999999"), "no item '99999999'"),
        (("other.md", "--around", "1"), "not both"),
        (("other.md", "--out", "file/below.svg"), "--out"),
        (("other.md", "--out", "g.png"), "the ending .png"),
        (("other.md", "--out", "g"), "End it in .svg, .json, .mmd"),
    ):
        outcome = penstock("graph", *words)
        assert outcome.code == 2, outcome.out
        assert len(outcome.complaints) == 1
        assert said in outcome.err
    assert not (penstock.folder / "g.png").exists()
    asked = penstock("graph", "other.md", "--out", "g.txt", "--format", "mermaid")
    assert asked.code == 0, "whoever names the form may name the file as they like"
    penstock.write("words.md", "# Words\n\nNothing to do.\n")
    penstock("run", "words.md")
    empty = penstock("graph", "words.md")
    assert (empty.code, empty.out) == (0, "")
    assert "nothing to draw" in empty.err
