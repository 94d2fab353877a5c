"""Is a name really gone? One `git grep` over the code of the branch's tip answers for all names at once.

A name that is still used or defined anywhere in the code was moved, not removed; documents are then not wrong.
Lines that are only comments do not count, and neither do documents.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from sources.git import Git, raw, text
from tasks.doc_sync.changes import Change
from tasks.doc_sync.documents import is_document, is_prose, is_record

_COMMENT = re.compile(r"\s*(#(?!\s*define)|//|/\*|\*|--\s|;|\"\"\"|''')")
_DEFINITION = r"\b(?:def|class|function|fn|func|fun)\s+"


class Presence:
    """What the code at the tip still says of the names of some changes."""

    def __init__(self, git: Git, tip: str, changes: Iterable[Change]) -> None:
        self._lines: dict[str, list[str]] = defaultdict(list)
        terms = sorted({term for change in changes if not change.is_path for term in _terms(change)})
        if not terms:
            return
        out = git.run(
            "grep", "-I", "-F", "-w", "-z", "-n", "--full-name", "--no-color", "--no-column", "--no-heading",
            "--no-break", "--no-textconv", "-f", "-", tip,
            stdin=raw("".join(f"{term}\n" for term in terms)),
            accepts=(0, 1),
        )  # fmt: skip
        for record in text(out).split("\n"):
            place, _, rest = record.partition("\0")
            _, _, line = rest.partition("\0")
            start, _, path = place.partition(":")
            prose = is_prose(path) or is_document(path) or is_record(path)
            if start == tip and not prose and not _COMMENT.match(line):
                for term in filter(line.__contains__, terms):
                    self._lines[term].append(line)

    def gone(self, change: Change) -> bool:
        """Is the name without its owner (`load` of `Store.load`) nowhere in the code?"""
        if change.kind == "option":
            name = re.sub(r"[-_]", "[-_]", re.escape(change.old.removeprefix("--")).replace(r"\-", "-"))
            pattern = rf"(?<![\w-]){name}(?![\w-])|--{name}(?![\w-])"
        elif change.kind == "endpoint":
            pattern = "|".join(rf"[\"'`]{re.escape(part)}[\"'`]" for part in _terms(change))
        else:
            pattern = rf"(?<![\w]){re.escape(change.simple)}(?!\w)"
        compiled = re.compile(pattern)
        return not any(compiled.search(line) for term in _terms(change) for line in self._lines[term])

    def unique(self, change: Change) -> bool:
        """Is the name defined once at most, so that a call of it can only mean this definition?"""
        compiled = re.compile(_DEFINITION + re.escape(change.simple) + r"\b")
        return sum(bool(compiled.search(line)) for line in self._lines[change.simple]) <= 1


def _terms(change: Change) -> list[str]:
    if change.kind == "option":
        name = change.old.removeprefix("--")
        # a name of one or two letters is in every line; with its dashes it is not
        return sorted({name, name.replace("-", "_")}) if len(name) > 2 else [change.old]
    if change.kind == "endpoint":
        parts = change.old.strip("/").split("/")  # a router may give the first part as its prefix
        return ["/" + "/".join(parts[at:]) for at in range(len(parts))]
    return [change.simple]
