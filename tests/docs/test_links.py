"""Links and pictures lead somewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from .conftest import Document


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *#*$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_relative_links_and_pictures_resolve(documents: list[Document]) -> None:
    broken: list[str] = []
    seen = 0
    for document in documents:
        targets = [token.attrGet("href") for token in document.inline("link_open")]
        targets += [token.attrGet("src") for token in document.inline("image")]
        for target in targets:
            parts = urlsplit(str(target))
            if parts.scheme:
                continue
            seen += 1
            path = (document.path.parent / unquote(parts.path)).resolve() if parts.path else document.path
            if not path.exists() or (parts.fragment and parts.fragment not in anchors(path.read_text())):
                broken.append(f"{document.name}: {target}")
    assert seen > 20
    assert not broken


def test_every_picture_has_words_for_those_who_do_not_see_it(documents: list[Document]) -> None:
    for document in documents:
        for token in document.inline("image"):
            assert len(token.content) > 10, f"{document.name}: {token.attrGet('src')}"


def test_every_page_is_reached_from_the_readme(documents: list[Document]) -> None:
    readme = next(document for document in documents if document.name == "README.md")
    linked = {str(token.attrGet("href")) for token in readme.inline("link_open")}
    assert {document.name for document in documents} - {"README.md"} <= linked
