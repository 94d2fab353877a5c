"""What a folder is searched for, and the search. It reads folders, .gitignore files and first bytes, nothing else."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pathspec import GitIgnoreSpec

SUFFIXES = frozenset({".markdown", ".md", ".org", ".taskpaper", ".todo", ".txt"})
NAMES = frozenset({"tasks.json"})
"""Names of boards that have none of these suffixes."""
TASKMASTER = (".taskmaster", "tasks", "tasks.json")
"""Where claude-task-master keeps its board: the one file that is taken out of a hidden folder."""
SHOWN_FOLDERS = frozenset({".backlog"})
"""Hidden folders that are searched: Backlog.md keeps its tasks there, or in `backlog`."""
SKIPPED_FOLDERS = frozenset({"node_modules", ".venv", "venv", "__pycache__"})
REPORT_MARK = "<!-- penstock report -->"
"""First line of Penstock's own reports. A folder's search leaves them out: a report is no evidence for the next."""

Rules = tuple[tuple[str, list[tuple[bool, re.Pattern[str]]]], ...]
"""Ignore files from the nearest to the outermost: the folder that its patterns are relative to, and the patterns from
the last to the first, each with whether it ignores."""


def is_source(name: str) -> bool:
    """Whether a file with that name is taken from a folder."""
    return os.path.splitext(name)[1].lower() in SUFFIXES or name in NAMES


def is_searched(folder: str) -> bool:
    """Whether a folder with that name is looked into."""
    return folder in SHOWN_FOLDERS or not (folder.startswith(".") or folder in SKIPPED_FOLDERS)


def is_taken(path: str) -> bool:
    """Whether a folder's search takes the file with that path relative to it."""
    *folders, name = path.split("/")
    if tuple(path.split("/")[-3:]) == TASKMASTER:
        return all(map(is_searched, folders[:-2]))
    return not name.startswith(".") and is_source(name) and all(map(is_searched, folders))


def search(root: Path) -> Iterator[Path | OSError]:
    """The files of a folder that are boards or documents, depth first in sorted order; the error of each folder that
    can't be read.

    Links are not followed: they loop, or lead out of the named folder. What git ignores is left out.
    """
    pending: list[tuple[str, str, Rules]] = [
        (str(root), os.path.abspath(root), _above(os.path.abspath(root)))
    ]
    while pending:
        shown, folder, rules = pending.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            rules = _with_rules(folder, rules, {entry.name for entry in entries})
        except OSError as error:
            error.filename = shown
            yield error
            continue
        below: list[tuple[str, str, Rules]] = []
        for entry in entries:
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                if name == TASKMASTER[0]:
                    yield from _taskmaster(os.path.join(shown, name), entry.path, rules)
                elif is_searched(name) and not _ignored(entry.path + "/", rules):
                    below.append((os.path.join(shown, name), entry.path, rules))
            elif (
                not name.startswith(".")
                and is_source(name)
                and entry.is_file(follow_symlinks=False)
                and not _ignored(entry.path, rules)
                and not _is_report(entry.path)
            ):
                yield Path(shown, name)
        pending.extend(reversed(below))


def tracked(root: Path) -> Iterator[str]:
    """The paths, relative to `root`, of all files that are not hidden and that git does not ignore, in sorted order.

    Links are not followed and not given. What can't be read is left out.
    """
    top = os.path.abspath(root)
    pending: list[tuple[str, str, Rules]] = [("", top, _above(top))]
    while pending:
        shown, folder, rules = pending.pop()
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            rules = _with_rules(folder, rules, {entry.name for entry in entries})
        except OSError:
            continue
        below: list[tuple[str, str, Rules]] = []
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name in SKIPPED_FOLDERS:
                continue
            if entry.is_dir(follow_symlinks=False):
                if not _ignored(entry.path + "/", rules):
                    below.append((f"{shown}{name}/", entry.path, rules))
            elif entry.is_file(follow_symlinks=False) and not _ignored(entry.path, rules):
                yield shown + name
        pending.extend(reversed(below))


def _taskmaster(shown: str, folder: str, rules: Rules) -> Iterator[Path]:
    board = os.path.join(folder, *TASKMASTER[1:])
    parts = [f"{folder}/", f"{os.path.dirname(board)}/", board]
    linked = any(map(os.path.islink, (os.path.dirname(board), board)))
    if os.path.isfile(board) and not linked and not any(_ignored(part, rules) for part in parts):
        yield Path(shown, *TASKMASTER[1:])


def _is_report(path: str) -> bool:
    if not path.endswith(".md"):
        return False
    try:
        with open(path, "rb") as stream:
            return is_report(stream.read(len(REPORT_MARK)))
    except OSError:
        return False  # reading it later says why it can't be read


def is_report(head: bytes) -> bool:
    return head.startswith(REPORT_MARK.encode())


def _above(folder: str) -> Rules:
    """The ignore files between the repository's top and `folder`, if `folder` is in a repository."""
    chain = [Path(folder), *Path(folder).parents]
    top = next((n for n, each in enumerate(chain) if (each / ".git").exists()), None)
    rules: Rules = ()
    if top is not None:
        for each in reversed(chain[1 : top + 1]):
            with suppress(OSError):  # git, too, goes on without one that it may not read
                rules = _with_rules(str(each), rules)
    return rules


def _with_rules(folder: str, rules: Rules, names: set[str] | None = None) -> Rules:
    """The rules that hold in a folder. A nearer file has the last word, and .gitignore over info/exclude."""
    if names is None or ".git" in names:
        rules = _with_file(folder, _exclude(Path(folder, ".git")), rules)
    if names is None or ".gitignore" in names:
        rules = _with_file(folder, Path(folder, ".gitignore"), rules)
    return rules


def _with_file(folder: str, file: Path | None, rules: Rules) -> Rules:
    if file is None or not file.is_file():
        return rules
    patterns = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # `[[` means something else to re one day
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            patterns += _patterns(line)
    patterns.reverse()
    return ((folder.rstrip("/") + "/", patterns), *rules) if patterns else rules


def _patterns(line: str) -> list[tuple[bool, re.Pattern[str]]]:
    """What a line of an ignore file says. One that is no pattern says nothing, as for git."""
    simple = _simple(line)
    if simple != line and line.startswith("!"):
        return []
    try:
        spec = GitIgnoreSpec.from_lines([simple])
    except (ValueError, re.error):
        return []
    return [
        (bool(pattern.include), pattern.regex)
        for pattern in spec.patterns
        if pattern.include is not None and pattern.regex is not None
    ]


def _simple(line: str) -> str:
    """The line with MOST_STARS in a part of a path, and as many `**`, at most: with more of them a name could be made
    that takes for ever to be compared. What is between the first and the last is any text then: more is ignored."""
    parts = [
        f"{found[1]}*{found[2]}"
        if len(_STARS.findall(part)) > MOST_STARS and (found := _FROM_FIRST_TO_LAST.fullmatch(part))
        else part
        for part in line.split("/")
    ]
    deep = [place for place, part in enumerate(parts) if part == "**"]
    if len(deep) > MOST_STARS:
        parts[deep[0] : deep[-1] + 1] = ["**"]
    return "/".join(parts)


MOST_STARS = 3
_STARS = re.compile(r"\*+")
_FROM_FIRST_TO_LAST = re.compile(r"([^*]*)\*.*\*([^*]*)", re.DOTALL)


def _exclude(git: Path) -> Path | None:
    """`info/exclude` of the repository whose checkout has this `.git`: a folder, or the file of a further checkout."""
    if git.is_file():
        _, mark, where = git.read_text(encoding="utf-8", errors="replace").strip().partition("gitdir: ")
        if not mark:
            return None
        git = git.parent / where
        common = git / "commondir"
        if common.is_file():
            git = git / common.read_text(encoding="utf-8", errors="replace").strip()
    return git / "info" / "exclude"


def _ignored(path: str, rules: Rules) -> bool:
    """Whether git ignores an absolute path itself; that of a folder ends with "/". The last pattern has the last word.

    A pattern that matches a folder above says nothing here: what is in an ignored folder is not looked at. pathspec's
    own check mixes the two, so its patterns are asked one by one; they mark the end of a folder's name as `ps_d`.
    """
    for base, patterns in rules:
        relative = path[len(base) :]
        for ignores, pattern in patterns:
            for match in pattern.finditer(relative):
                if match.end() == len(relative) or match.groupdict().get("ps_d") is None:
                    return ignores
    return False
