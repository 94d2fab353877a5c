"""The documents, parsed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Document:
    path: Path
    text: str
    tokens: list[Token]

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    def blocks(self, *languages: str) -> list[str]:
        """The contents of its fenced blocks in these languages."""
        return [token.content for token in self.tokens if token.type == "fence" and token.info in languages]

    def inline(self, kind: str) -> list[Token]:
        """All inline tokens of this type, for example `code_inline` or `link_open`."""
        return [child for token in self.tokens for child in token.children or [] if child.type == kind]

    def rows(self, *header: str) -> list[list[str]]:
        """The cells of the tables whose header row begins so."""
        found: list[list[str]] = []
        row: list[str] = []
        within = False
        for before, token in zip([None, *self.tokens], self.tokens, strict=False):
            if token.type == "tr_open":
                row = []
            elif token.type == "inline" and before and before.type in ("th_open", "td_open"):
                row.append(token.content)
            elif token.type == "thead_close":
                within = tuple(row[: len(header)]) == header
            elif token.type == "tr_close" and within:
                found.append(row)
            elif token.type == "table_close":
                within = False
        return found


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """README.md, CONTRIBUTING.md and all of docs/."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = [(path, path.read_text(encoding="utf-8")) for path in paths]
    return [Document(path, text, PARSER.parse(text)) for path, text in texts]


@pytest.fixture(scope="session")
def operations(documents: list[Document]) -> Document:
    return _named(documents, "docs/operations.md")


@pytest.fixture(scope="session")
def settings_page(documents: list[Document]) -> Document:
    return _named(documents, "docs/settings.md")


def _named(documents: list[Document], name: str) -> Document:
    return next(document for document in documents if document.name == name)
