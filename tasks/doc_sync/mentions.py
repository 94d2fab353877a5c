"""Where documents speak of what changed. Low noise first: a mention that may mean something else is none.

A name that reads like a common word (`run`, `Board`) counts only as a whole code span or as a call in code; a
name with a shape of its own (`load_board`, `--dry-run`, `src/app.py`) counts anywhere, between word boundaries.
"""

from __future__ import annotations

import ast
import inspect
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import quote, unquote

from sources.git import Entry
from tasks.doc_sync.changes import Change
from tasks.doc_sync.documents import Document
from tasks.doc_sync.presence import Presence

_GENERIC = re.compile(
    r"(__init__|__main__|index|main|readme|config|setup|conftest|test|tests|utils)(\.\w+)?|\w{1,3}\.\w+",
    re.IGNORECASE,
)
_KNOWS = re.compile(
    r"penstock: `|\b(removed|renamed|formerly|no longer|obsolete|superseded|used to)\b", re.IGNORECASE
)
_LINK = re.compile(r"\]\(\s*<?(?P<target>[^()\s<>#?]+)|^\s{0,3}\[[^\]]+\]:\s*<?(?P<reference>[^\s<>#?]+)")
_SHAPED = re.compile(r"[A-Za-z0-9]_+[A-Za-z0-9]|[a-z0-9][A-Z]|[A-Za-z]\d|[A-Z]{2}[a-z]")
_FILE_END = r"(?!\.(?:py|md|rst|txt|js|ts|go|rs|java|c|h|json|ya?ml|toml|sh|sql|html)\b)"

Where = Literal["anywhere", "code", "span"]


@dataclass(frozen=True, slots=True)
class Mention:
    """A place in a document: line (1-based), columns of the text, and what to write there (None: mark the line)."""

    change: Change
    line: int
    start: int
    end: int
    replacement: str | None


@dataclass(frozen=True, slots=True)
class _Form:
    """One way to write a name. The group `it` of the pattern is what a rename replaces."""

    pattern: re.Pattern[str]
    where: Where
    replacement: str | None
    name: str


def speak_of(documents: Iterable[Document], changes: Iterable[Change]) -> list[Change]:
    """The changes that some document could mean, by a look at its words alone: the cheap filter before all else."""
    words: set[str] = set()
    for document in documents:
        words |= document.words
    return [change for change in changes if _anchor(change) in words]


def mentions(
    document: Document,
    changes: Iterable[Change],
    presence: Presence,
    before: Counter[str],
    after: Counter[str],
) -> list[Mention]:
    """The places of one document that are wrong now, without overlaps, by line and column.

    `before`, `after`: how many files had each base name at the range's two ends (see `basenames`).
    """
    changes = [change for change in changes if _anchor(change) in document.words]
    if not changes:
        return []
    found = [*_links(document, changes)]
    for change in changes:
        if change.action == "signature":
            found += _calls(document, change, presence)
        else:
            for form in _forms(change, presence, before, after):
                found += _matches(document, change, form)
    found.sort(
        key=lambda mention: (mention.line, mention.start - mention.end, mention.start, mention.change.key)
    )
    taken: dict[int, list[Mention]] = defaultdict(list)
    for mention in found:
        number = mention.line - 1
        if document.own[number] or _KNOWS.search(document.lines[number]):
            continue
        if not any(mention.start < other.end and other.start < mention.end for other in taken[mention.line]):
            taken[mention.line].append(mention)
    return sorted((m for line in taken.values() for m in line), key=lambda m: (m.line, m.start))


@lru_cache(maxsize=4096)
def _shaped(name: str) -> bool:
    """Can the name be nothing but a name?"""
    return len(name) >= 4 and bool(_SHAPED.search(name))


def basenames(entries: Iterable[Entry]) -> Counter[str]:
    return Counter(entry.path.rsplit("/", 1)[-1] for entry in entries)


def _anchor(change: Change) -> str:
    """A word that every mention of the change contains."""
    last = change.old.rstrip("/").rsplit("/", 1)[-1] if change.is_path else change.simple
    words: list[str] = re.findall(r"\w+", last)
    return max(words, key=len, default="")


def _forms(change: Change, presence: Presence, before: Counter[str], after: Counter[str]) -> Iterator[_Form]:
    def form(name: str, where: Where, new: str | None, left: str, right: str) -> _Form:
        return _Form(re.compile(f"{left}(?P<it>{re.escape(name)}){right}"), where, new, name)

    old, new = change.old, change.new if change.action == "renamed" else None
    in_path = r"(?<![\w./\\@$~{}-])(?:\./)?", r"(?![\w/\\-]|\.\w)"
    if change.kind == "file":
        base, target = old.rsplit("/", 1)[-1], new.rsplit("/", 1)[-1] if new else None
        if "/" in old:
            yield form(old, "anywhere", new, *in_path)
        alone = before[base] == 1 and base not in after
        if alone and not _GENERIC.fullmatch(base) and base != target:
            yield form(base, "anywhere" if "." in base.lstrip(".") else "span", target, *in_path)
    elif change.kind == "folder":
        slash = "" if "/" in old else "/"
        where: Where = "anywhere" if "/" in old else "span"
        if slash == "" or not _GENERIC.fullmatch(old):
            yield form(old + slash, where, new and new + slash, in_path[0], r"/?(?![\w/\\-]|\.\w)")
    elif change.kind in {"module", "member"}:
        yield form(old, "anywhere", new, r"(?<![\w./-])", r"(?![\w/-])" + _FILE_END)
    elif change.kind == "option":
        if presence.gone(change):
            yield form(old, "anywhere", new, r"(?<![\w-])", r"(?![\w-])")
    elif change.kind == "endpoint":
        if presence.gone(change):
            local = r"(?:(?<![\w/.:\\-])|(?<=localhost)|(?<=127\.0\.0\.1)|(?<=:\d{4}))"
            yield form(
                old, "anywhere" if old.strip("/").count("/") else "code", new, local, r"(?![\w/{<:-]|\.\w)"
            )
    else:
        gone = presence.gone(change)
        if "." in old and (gone or change.whole):
            yield form(old, "anywhere", new, r"(?<![\w$@/-])", r"(?![\w-])" + _FILE_END)
        if gone:
            simple = new.rsplit(".", 1)[-1] if new else None
            name_where: Where = "anywhere" if _shaped(change.simple) else "span"
            yield form(change.simple, name_where, simple, r"(?<![\w$@/\\-])", r"(?![\w/-])" + _FILE_END)


def _matches(document: Document, change: Change, form: _Form) -> Iterator[Mention]:
    for number, line in enumerate(document.lines):
        if form.name in line:
            for found in form.pattern.finditer(line):
                if _counts(document, number, found, form.where):
                    yield Mention(change, number + 1, found.start("it"), found.end("it"), form.replacement)


def _counts(document: Document, number: int, found: re.Match[str], where: Where) -> bool:
    if where == "anywhere":
        return True
    line = document.lines[number]
    if document.blocks[number]:
        return where == "code" or line[found.end() : found.end() + 1] == "("
    for start, end in document.spans(number):
        if start <= found.start() and found.end() <= end:
            # a common word is a name only where it is the whole span, perhaps with its owner or its arguments
            rest = line[found.end() : end].strip()
            return where == "code" or (
                bool(re.fullmatch(r"\s*(?:\w+\.)*(?:\./)?", line[start : found.start("it")]))
                and (not rest or (rest[0] == "(" and rest[-1] == ")"))
            )
    return False


def _links(document: Document, changes: list[Change]) -> Iterator[Mention]:
    """Link targets, which are paths seen from the document (or, with a leading slash, from the root)."""
    moved = {change.old: change for change in changes if change.kind == "file"}
    folder = posixpath.dirname(document.path)
    if not moved:
        return
    for number, line in enumerate(document.lines):
        for found in () if document.blocks[number] else _LINK.finditer(line):
            group = "target" if found["target"] else "reference"
            target = found[group]
            path = unquote(target)
            absolute = path.startswith("/")
            resolved = posixpath.normpath(path.lstrip("/") if absolute else posixpath.join(folder, path))
            change = moved.get(resolved)
            if change is None or "://" in target:
                continue
            new = None
            if change.action == "renamed" and change.new:
                new = "/" + change.new if absolute else posixpath.relpath(change.new, folder or ".")
                new = "./" + new if path.startswith("./") and not new.startswith("../") else new
                if path != target or re.search(r"[\s()<>#?%]", new):
                    new = quote(new, errors="surrogateescape")
            yield Mention(change, number + 1, found.start(group), found.end(group), new)


def _calls(document: Document, change: Change, presence: Presence) -> Iterator[Mention]:
    """Calls that worked before and can't work now, and quotes of the old signature."""
    owned = change.kind != "class_call" and "." in change.old
    name = change.old if owned and not presence.unique(change) else change.simple
    if not owned and not presence.unique(change):
        return
    pattern = re.compile(rf"(?<![\w$@/-]){re.escape(name)}(?P<arguments>\([^()]*\))")
    for number, line in enumerate(document.lines):
        for found in pattern.finditer(line) if name in line else ():
            if _stale(found["arguments"], change):
                yield Mention(change, number + 1, found.start(), found.end(), None)


def _stale(arguments: str, change: Change) -> bool:
    written, new = _normal(arguments), change.new or ""
    if written in ("()", "(...)", _normal(new)):
        return False
    if written == _normal(change.signature):
        return True
    return _accepts(change.signature, arguments) is True and _accepts(new, arguments) is False


def _normal(parameters: str) -> str:
    return re.sub(r"\s*([=,:()])\s*", r"\1", parameters.replace('"', "'")).strip()


@lru_cache(maxsize=4096)
def _accepts(signature: str, arguments: str) -> bool | None:
    """Can a function of that signature be called so? None where one of the two is no Python."""
    try:
        function = ast.parse(f"def f{signature}: ...").body[0]
        call = ast.parse(f"f{arguments}", mode="eval").body
    except (SyntaxError, ValueError):
        return None
    if not isinstance(function, ast.FunctionDef) or not isinstance(call, ast.Call):
        return None
    unclear = any(
        isinstance(a, ast.Starred) or (isinstance(a, ast.Constant) and a.value is ...) for a in call.args
    )
    if unclear or any(keyword.arg is None for keyword in call.keywords):
        return None
    try:
        _bindable(function.args).bind(*call.args, **{str(keyword.arg): keyword for keyword in call.keywords})
    except TypeError:
        return False
    return True


def _bindable(arguments: ast.arguments) -> inspect.Signature:
    kinds = inspect.Parameter
    positional: list[tuple[ast.arg, Any]] = [(arg, kinds.POSITIONAL_ONLY) for arg in arguments.posonlyargs]
    positional += [(arg, kinds.POSITIONAL_OR_KEYWORD) for arg in arguments.args]
    required = len(positional) - len(arguments.defaults)
    parameters = [
        inspect.Parameter(arg.arg, kind, default=kinds.empty if at < required else None)
        for at, (arg, kind) in enumerate(positional)
    ]
    if arguments.vararg:
        parameters.append(inspect.Parameter(arguments.vararg.arg, kinds.VAR_POSITIONAL))
    for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters.append(
            inspect.Parameter(arg.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None)
        )
    if arguments.kwarg:
        parameters.append(inspect.Parameter(arguments.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(parameters)
