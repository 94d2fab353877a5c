"""Fenced blocks of an answer, and whether those in a known language can be read. Nothing in them is run."""

from __future__ import annotations

import ast
import json
import re
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from tasks.foreign import cut

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+.#-]*)[^`\n]*")
_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Block:
    language: str  # lower case, as the fence says; empty where it says none
    text: str
    line: int  # of the fence, 1-based, within the answer


def fenced_blocks(text: str) -> list[Block]:
    """All blocks, in order; one that is not closed goes to the end."""
    blocks: list[Block] = []
    fence = ""
    language, indent, began = "", 0, 0
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if fence:
            bare = line.strip()
            if len(bare) >= len(fence) and set(bare) == {fence[0]}:
                blocks.append(Block(language, "\n".join(lines), began))
                fence = ""
            else:
                lines.append(line[indent:] if not line[:indent].strip() else line)
        elif found := _FENCE.fullmatch(line):
            fence, language, indent = found["fence"], found["language"].lower(), len(found["indent"])
            began, lines = number, []
    if fence:
        blocks.append(Block(language, "\n".join(lines), began))
    return blocks


def code_problem(block: Block) -> str:
    """Why it can't be read, in words; empty where it can, or where its language is not known here."""
    parse = _PARSERS.get(block.language)
    if parse is None:
        return ""
    try:
        parse(block.text)
    except (SyntaxError, ValueError, yaml.YAMLError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f"line {line}: " if isinstance(line, int) else ""
        return where + cut(str(getattr(error, "msg", None) or error), 160).rstrip(".")
    return ""


def _python(text: str) -> None:
    with warnings.catch_warnings():  # "\d" in a text is a warning, which is none of ours
        warnings.simplefilter("ignore")
        ast.parse(text)


def _yaml(text: str) -> None:
    # Events only: they need no recursion, and an alias is not unfolded.
    for _ in yaml.parse(text, Loader=_LOADER):
        pass


_PARSERS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("python", "py", "python3"), _python),
    "json": json.loads,
    "toml": tomllib.loads,
    **dict.fromkeys(("yaml", "yml"), _yaml),
}
