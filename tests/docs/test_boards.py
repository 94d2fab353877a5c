"""docs/boards.md: its examples are read as it says, and its lists are complete."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from interfaces.cli.reference import findings_table
from sources import parse
from sources.checkbox import mark_status
from sources.dialects import DIALECTS
from sources.vocabulary import state_of

if TYPE_CHECKING:
    from .conftest import Document

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"json": "tasks.json", "text": "notes.txt", "markdown": "notes.md"}
COUNTS = re.compile(r"(\d+) items?: (\d+) open, (\d+) done\.")


@dataclass
class Example:
    dialect: str
    language: str = ""
    text: str = ""
    said: tuple[int, int, int] | None = None


@pytest.fixture(scope="module")
def page(documents: list[Document]) -> Document:
    return next(document for document in documents if document.name == "docs/boards.md")


def examples(page: Document) -> list[Example]:
    found: list[Example] = []
    level = ""
    for token in page.tokens:
        if token.type == "heading_open":
            level = token.tag
        elif token.type == "inline" and level:
            if level == "h3":
                found.append(Example(token.content.strip("`")))
            level = ""
        elif token.type == "inline" and found and (counts := COUNTS.fullmatch(token.content)):
            found[-1].said = (int(counts[1]), int(counts[2]), int(counts[3]))
        elif token.type == "fence" and found and not found[-1].text:
            found[-1].language, found[-1].text = token.info, token.content
    return found


def test_every_dialect_has_an_example(page: Document) -> None:
    assert {example.dialect for example in examples(page)} == set(DIALECTS)
    assert "sixteen ways" in page.text
    assert len(DIALECTS) == 16


def test_examples_are_read_as_the_page_says(page: Document) -> None:
    for example in examples(page):
        board = parse(example.text.encode(), NAMES[example.language])
        counts = board.counts()
        assert board.dialect == example.dialect
        assert (counts["total"], counts["open"], counts["done"]) == example.said, example.dialect
        odd = [f"{finding.line}: {finding.code}" for finding in board.findings]
        assert odd in ([], ["1: prd_sections"]), f"{example.dialect}: an example is in order"


def test_marks_are_read_as_the_table_says(page: Document) -> None:
    rows = page.rows("meaning", "in brackets", "as a sign")
    assert len(rows) == 6
    for state, marks, _ in rows:
        for mark in re.findall(r"`\[([^\]]*)\]`", marks.partition(", `[-]` in org")[0]):
            status = mark_status(mark, bullet=True)
            assert status is not None
            assert str(status).replace("_", " ") == {"to do": "todo", "partly done": "partial"}.get(
                state, state
            )
    assert state_of("DONE") is not None


def test_the_table_of_findings_is_the_catalogue(page: Document) -> None:
    assert findings_table() in page.text, "run: python -m interfaces.cli.reference docs/boards.md"


def test_yaml_of_the_page_is_yaml(page: Document) -> None:
    blocks = [yaml.safe_load(block) for block in page.blocks("yaml")]
    assert [hook["id"] for block in blocks[:2] for repo in block["repos"] for hook in repo["hooks"]] == [
        "penstock-lint",
        "penstock-lint",
    ]
    [shipped] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    [local] = blocks[1]["repos"][0]["hooks"]
    assert local["files"] == shipped["files"], "both read the same files"
    steps = blocks[2]["jobs"]["lint"]["steps"]
    assert any("penstock lint . --sarif" in step.get("run", "") for step in steps)
    assert len(blocks) == 3
