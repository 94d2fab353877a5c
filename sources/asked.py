"""Which model, backend and recipe an item names for itself, in any dialect.

Most dialects keep a field that they don't know as a label. What is written as an inline field in a title,
`[model:: qwen3:32b]`, is taken out of it here where the dialect did not.
"""

from __future__ import annotations

import re

from models.board import ParsedItem
from models.enums import Severity
from models.plugins import backend_names, is_backend
from models.words import quoted
from sources.outline import Outline

_FIELD = re.compile(
    r"\s*(?:\[(?P<key>model|backend|recipe)::[ \t]+(?P<value>[^\[\]]{1,200})\]"
    r"|\((?P<key_>model|backend|recipe)::[ \t]+(?P<value_>[^()]{1,200})\))",
    re.IGNORECASE,
)


def take_asked(outline: Outline) -> None:
    """Make labels of the fields, and say which backends are none."""
    for item in outline.items:
        if "::" in item.title:
            _take(item)
        if item.backend is not None and not is_backend(item.backend):
            message = (
                f"{quoted(item.title)} names the backend {quoted(item.backend)}, which is none, so any may do it. "
                f"There are {', '.join(backend_names())}."
            )
            outline.find("unknown_backend", Severity.WARNING, item.line, message)


def _take(item: ParsedItem) -> None:
    for match in _FIELD.finditer(item.title):
        value = (match["value"] or match["value_"] or "").strip()
        if value:
            item.labels.setdefault((match["key"] or match["key_"]).lower(), value)
    item.title = _FIELD.sub("", item.title).strip() or item.title
