"""Would a unified diff apply to what was given? A dry run in memory: nothing is written, no tool is started."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from models.verdict import AnswerRow
from tasks.foreign import excerpt

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@.*")
_CITE = re.compile(r"(.+?):(\d+)(?:-\d+)?\Z")
NOWHERE = "/dev/null"
REDACTED = "[redacted: "
"""Where a secret stood, as the model saw it (tasks/redaction.py)."""
MOST_HUNKS = 200
"""Each may cost a pass over a whole file; a patch with more is for a person."""


@dataclass(slots=True)
class Hunk:
    start: int  # 1-based, in the old file
    counts: tuple[int, int]  # lines before and after, as its head says
    old: list[str] = field(default_factory=list)
    new: int = 0


@dataclass(slots=True)
class FilePatch:
    old: str
    new: str
    hunks: list[Hunk] = field(default_factory=list)


def patch_problems(text: str, row: AnswerRow) -> list[str]:
    """Why the patch does not apply, in words; empty where it would."""
    patches, problem = _parse(text)
    if problem:
        return [problem]
    if (hunks := sum(len(patch.hunks) for patch in patches)) > MOST_HUNKS:
        return [f"The patch has {hunks} hunks; at most {MOST_HUNKS} are tried."]
    pieces = _pieces(row)
    problems = []
    for patch in patches:
        path = patch.old if patch.old != NOWHERE else patch.new
        known = _known(path, pieces)
        if patch.old == NOWHERE:
            if known is not None:
                problems.append(f"The patch makes {excerpt(path)}, which is there already.")
            continue
        if known is None:
            problems.append(f"The patch changes {excerpt(path)}, which it was not given.")
            continue
        if any(REDACTED in line for hunk in patch.hunks for line in hunk.old):
            problems.append(
                f"The patch to {excerpt(path)} shows a secret that was taken out: it can't apply."
            )
            continue
        problems += [
            f"The hunk at line {hunk.start} does not apply to {excerpt(path)}: "
            f"{excerpt(_odd(hunk.old, known))} does not stand there."
            for hunk in patch.hunks
            if not _applies(hunk, known)
        ]
    return problems


def _parse(text: str) -> tuple[list[FilePatch], str]:
    patches: list[FilePatch] = []
    hunk: Hunk | None = None
    old = ""
    for line in text.split("\n"):
        line = line.rstrip("\r")
        if hunk is not None and (len(hunk.old), hunk.new) < hunk.counts and _takes(hunk, line):
            continue
        if hunk is not None and (len(hunk.old), hunk.new) != hunk.counts:
            return [], f"The hunk at line {hunk.start} has other numbers of lines than its head says."
        if line.startswith("--- "):
            old, hunk = _name(line), None
        elif line.startswith("+++ "):
            if not old:
                return [], "The patch has a line `+++` without a line `---` before it."
            patches.append(FilePatch(old, _name(line)))
            old = ""
        elif found := _HUNK.fullmatch(line):
            if not patches:
                return [], "The patch names no file before its first hunk."
            hunk = Hunk(int(found[1]), (int(found[2] or 1), int(found[4] or 1)))
            patches[-1].hunks.append(hunk)
        elif hunk is not None and line.startswith(("+", "-", " ")) and line.strip():
            return [], f"The hunk at line {hunk.start} has more lines than its head says."
    if hunk is not None and (len(hunk.old), hunk.new) != hunk.counts:
        return [], f"The hunk at line {hunk.start} has other numbers of lines than its head says."
    if not patches or not all(patch.hunks for patch in patches):
        return [], "The patch has no hunk (`@@ -1,3 +1,4 @@`) that could be applied."
    return patches, ""


def _takes(hunk: Hunk, line: str) -> bool:
    """Take the line into the hunk, if it is one of it. An empty line is an empty line of context."""
    mark, rest = (line[0], line[1:]) if line else (" ", "")
    if mark == "\\":
        return True
    if mark not in " +-":
        return False
    if mark in " -":
        hunk.old.append(rest)
    hunk.new += mark in " +"
    return True


def _name(line: str) -> str:
    name = line[4:].split("\t")[0].strip().strip('"')
    return name[2:] if name.startswith(("a/", "b/")) else name


def _pieces(row: AnswerRow) -> dict[str, list[tuple[int, list[str]]]]:
    """What was given of each file: whole, or runs of its lines with the number of their first."""
    pieces: dict[str, list[tuple[int, list[str]]]] = {}
    for passage in row.passages:
        if cite := _CITE.fullmatch(passage.cite):
            pieces.setdefault(cite[1], []).append((int(cite[2]), _lines(passage.text)))
    for path, text in row.files.items():
        pieces[path] = [(1, _lines(text))]
    return pieces


def _lines(text: str) -> list[str]:
    return [line.rstrip("\r") for line in text.split("\n")]


def _known(path: str, pieces: Mapping[str, list[tuple[int, list[str]]]]) -> list[list[str]] | None:
    """The runs of lines of that file, neighbours joined."""
    given = pieces.get(path)
    if given is None:
        return None
    runs: list[tuple[int, list[str]]] = []
    for start, lines in sorted(given, key=lambda piece: piece[0]):
        if runs and runs[-1][0] + len(runs[-1][1]) == start:
            runs[-1][1].extend(lines)
        else:
            runs.append((start, list(lines)))
    return [lines for _, lines in runs]


def _applies(hunk: Hunk, runs: list[list[str]]) -> bool:
    """Its old lines stand in one run, at whatever place: models count lines badly, and `patch` looks around, too."""
    size = len(hunk.old)
    if size == 0:
        return True
    return any(
        run[at] == hunk.old[0] and run[at : at + size] == hunk.old
        for run in runs
        for at in range(len(run) - size + 1)
    )


def _odd(old: list[str], runs: list[list[str]]) -> str:
    """The first old line that stands nowhere in the file, for the message."""
    return next((line for line in old if not any(line in run for run in runs)), old[0])
