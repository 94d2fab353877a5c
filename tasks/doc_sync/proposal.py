"""One proposal per document: a patch that `git apply` takes, and the reason with its proof. Deterministic.

A rename is written out; what was removed or is called differently now gets a marker at the end of its line, for
the editor to resolve. Nothing else of the document changes, byte for byte.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sources.git import raw
from tasks.doc_sync.changes import Change
from tasks.doc_sync.documents import Document
from tasks.doc_sync.mentions import Mention

CONTEXT = 3
_NAMED = 5  # mentions that the reason spells out; details hold all


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one document should say. `patch` has its exact bytes; `path` may hold surrogate escapes."""

    path: str
    patch: bytes
    title: str
    reason: str
    mentions: tuple[Mention, ...]
    file: Path | None = None

    @property
    def shown(self) -> str:
        """The path as text that any terminal and any database takes."""
        return printable(self.path)

    def details(self) -> dict[str, Any]:
        """For the review row: every mention, and the changes that the proposal rests on."""
        changes = {mention.change.key: mention.change for mention in self.mentions}
        return {
            "document": self.shown,
            "changes": [
                {
                    name: printable(value) if isinstance(value, str) else value
                    for name, value in asdict(change).items()
                }
                for _, change in sorted(changes.items())
            ],
            "mentions": [
                {
                    "line": mention.line,
                    "column": mention.start + 1,
                    "what": printable(mention.change.said()),
                    "code": printable(code_place(mention.change)),
                    "action": "mark" if mention.replacement is None else "replace",
                }
                for mention in self.mentions
            ],
        }


def printable(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def code_place(change: Change) -> str:
    """The proof's one half: the place in the commit's parent where it still was."""
    place = f"{change.path}:{change.line}" if change.line else change.path
    return f"{place} in {change.commit[:7]}"


def propose(document: Document, mentions: Iterable[Mention]) -> Proposal | None:
    """The proposal for one document; None where nothing can be said in its encoding."""
    usable = tuple(mention for mention in mentions if _writable(document, mention))
    edited = edit(document, usable)
    if not edited:
        return None
    first = usable[0].change.said()
    more = len({mention.change.key for mention in usable}) - 1
    title = f"{document.path}: {first}" + (f" (and {more} more)" if more else "")
    return Proposal(
        path=document.path,
        patch=unified_diff(document, edited),
        title=printable(_one_line(title)),
        reason=printable(_reason(document, usable)),
        mentions=usable,
    )


def edit(document: Document, mentions: Iterable[Mention]) -> dict[int, str]:
    """The lines that change, by number (0-based), with their ends."""
    by_line: dict[int, list[Mention]] = {}
    for mention in mentions:
        by_line.setdefault(mention.line - 1, []).append(mention)
    edited = {}
    for number, found in by_line.items():
        line = document.lines[number]
        notes = []
        for mention in sorted(found, key=lambda mention: mention.start, reverse=True):
            if mention.replacement is None:
                notes.append(_note(document, mention.change))
            else:
                line = line[: mention.start] + mention.replacement + line[mention.end :]
        body = line.rstrip(" \t\r\n")
        markers = "".join(f" {note}" for note in dict.fromkeys(reversed(notes)))
        line = body + markers + line[len(body) :]
        if line != document.lines[number]:
            edited[number] = line
    return edited


def _note(document: Document, change: Change) -> str:
    words = " ".join(change.said().split())
    return document.marker(f"{words} in {change.commit[:7]} ({_one_line(change.path)})")


def _one_line(path: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]", "?", path)


def _writable(document: Document, mention: Mention) -> bool:
    """Text that is not ASCII can't be put into a document whose encoding is not known."""
    text = _note(document, mention.change) if mention.replacement is None else mention.replacement
    return "\n" not in text and "\r" not in text and (document.utf8 or text.isascii())


def _reason(document: Document, mentions: tuple[Mention, ...]) -> str:
    parts = []
    for mention in mentions[:_NAMED]:
        change = mention.change
        line = document.lines[mention.line - 1].strip()
        quoted = line if len(line) <= 120 else line[:117] + "..."
        subject = f' ("{change.subject}")' if change.subject else ""
        parts.append(
            f'Line {mention.line} says "{quoted}", but {change.said()} in {change.commit[:7]}{subject}; '
            f"it was at {code_place(change).rsplit(' in ', 1)[0]}."
        )
    if len(mentions) > _NAMED:
        parts.append(f"{len(mentions) - _NAMED} more places are in the patch.")
    return "\n".join(parts)


def unified_diff(document: Document, edited: Mapping[int, str]) -> bytes:
    """A git patch that replaces whole lines one for one, with CONTEXT lines around them."""
    old, new = _quoted("a/" + document.path), _quoted("b/" + document.path)
    tab = b"\t" if b" " in raw(document.path) else b""  # as git does: else a name may end at its first blank
    out = [b"diff --git %s %s\n" % (old, new), b"--- %s%s\n" % (old, tab), b"+++ %s%s\n" % (new, tab)]
    lines = document.lines
    numbers = sorted(edited)
    at = 0
    while at < len(numbers):
        last = at
        while last + 1 < len(numbers) and numbers[last + 1] - numbers[last] <= 2 * CONTEXT:
            last += 1
        first, end = max(0, numbers[at] - CONTEXT), min(len(lines), numbers[last] + CONTEXT + 1)
        out.append(b"@@ -%d,%d +%d,%d @@\n" % (first + 1, end - first, first + 1, end - first))
        number = first
        while number < end:
            if number not in edited:
                out.append(_line(b" ", lines[number]))
                number += 1
                continue
            stop = number
            while stop < end and stop in edited:
                stop += 1
            out += [_line(b"-", lines[at_]) for at_ in range(number, stop)]
            out += [_line(b"+", edited[at_]) for at_ in range(number, stop)]
            number = stop
        at = last + 1
    return b"".join(out)


def _line(sign: bytes, line: str) -> bytes:
    data = sign + raw(line)
    return data if data.endswith(b"\n") else data + b"\n\\ No newline at end of file\n"


def _quoted(path: str) -> bytes:
    """A path as git writes it in patches: C-quoted where it has control, quote or non-ASCII bytes."""
    data = raw(path)
    if all(32 <= byte < 127 and byte not in b'"\\' for byte in data):
        return data
    escapes = {
        7: b"\\a",
        8: b"\\b",
        9: b"\\t",
        10: b"\\n",
        11: b"\\v",
        12: b"\\f",
        13: b"\\r",
        34: b'\\"',
        92: b"\\\\",
    }
    parts = (escapes.get(b) or (bytes([b]) if 32 <= b < 127 else b"\\%03o" % b) for b in data)
    return b'"' + b"".join(parts) + b'"'


def safe_name(name: str) -> str:
    """A file name of ASCII that two different names never share."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[-80:]
    return f"{plain or 'document'}-{hashlib.sha256(raw(name)).hexdigest()[:8]}"


def write(folder: Path, proposal: Proposal) -> Path:
    """The patch as a file of `folder`; whole or not at all, and the same again for the same proposal."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{safe_name(proposal.path)}.patch"
    handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(proposal.patch)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
