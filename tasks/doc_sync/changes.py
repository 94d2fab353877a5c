"""What a range of merges took away: paths and names that are gone, renamed, or called differently now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from sources.git import Entry, Git
from tasks.doc_sync.history import Merge, Range
from tasks.doc_sync.symbols import Symbol, module_name, symbols

MAX_BLOB = 1024 * 1024
"""Bytes; a larger source file is generated or data and offers no names."""

_CALLABLE = frozenset({"function", "class_call"})
_RENAMABLE = frozenset({"function", "class", "constant", "option"})

Action = Literal["removed", "renamed", "signature"]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that documents may still speak of.

    kind: file, folder, module, member (a dotted name that moved), or a kind of tasks.doc_sync.plain.Symbol.
    old, new: path, dotted name or name; for a signature `new` is the new one and `signature` the old.
    path, line: where it was, in the parent of the commit (line 0: the file itself).
    whole: its qualified name ("Store.load") can't mean anything inherited or moved.
    """

    action: Action
    kind: str
    old: str
    new: str | None
    path: str
    line: int = 0
    signature: str = ""
    whole: bool = False
    commit: str = ""
    parent: str | None = None
    subject: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.action, self.kind, self.old, self.path

    @property
    def simple(self) -> str:
        """The last part of a name: `load` of `Store.load`."""
        return self.old.rsplit(".", 1)[-1]

    @property
    def is_path(self) -> bool:
        return self.kind in {"file", "folder", "module"}

    def said(self) -> str:
        """What happened, in words for a person and for a marker. ASCII unless a name is not."""
        name = f"{self.old}{self.signature}" if self.action == "signature" else self.old
        if self.action == "removed":
            return f"`{name}` was removed"
        if self.action == "renamed":
            return f"`{name}` was renamed to `{self.new}`"
        return f"`{name}` is now `{self.old}{self.new}`"


class Sources:
    """The names that blobs offer, each read once."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._data: dict[str, bytes] = {}
        self._read: dict[tuple[str, str], dict[tuple[str, str], Symbol] | None] = {}

    def fetch(self, blobs: Iterable[str | None]) -> None:
        self._data.update(self._git.blobs(blob for blob in blobs if blob and blob not in self._data))

    def data(self, blob: str | None) -> bytes:
        if blob is None:
            return b""
        self.fetch([blob])
        return self._data.get(blob, b"")

    def read(self, path: str | None, blob: str | None) -> dict[tuple[str, str], Symbol] | None:
        """The names of a file; none where there is no file, None where it can't be read."""
        if path is None or blob is None:
            return {}
        if (path, blob) not in self._read:
            data = self.data(blob)
            self._read[path, blob] = None if len(data) > MAX_BLOB else symbols(path, data)
        return self._read[path, blob]

    def of(self, path: str | None, blob: str | None) -> dict[tuple[str, str], Symbol]:
        return self.read(path, blob) or {}


def detect(span: Range, sources: Sources, before: list[Entry], after: list[Entry]) -> list[Change]:
    """Everything that `span` took away, `commit` still empty (see `attribute`); deterministic order."""
    there = {entry.path for entry in after}
    changes = [*_paths(span, there), *_folders(span, before, there)]
    sources.fetch(blob for file in span.files for blob in (file.old_blob, file.new_blob))
    gained: dict[tuple[str, str], list[tuple[str, Symbol]]] = defaultdict(list)
    for file in span.files:
        for key, symbol in sources.of(file.new, file.new_blob).items():
            if key not in sources.of(file.old, file.old_blob):
                gained[key].append((file.new or "", symbol))
    for file in span.files:
        if file.old is not None and file.old_blob is not None:
            old = sources.of(file.old, file.old_blob)
            new = sources.read(file.new, file.new_blob)
            if new is None:
                continue  # no claim about what a file lost that can't be read now
            changes += _names(file.old, old, new)
            changes += _moves(file.old, old, new, gained, sources.data(file.new_blob))
    unique = {change.key: change for change in changes}
    return [unique[key] for key in sorted(unique)]


def _paths(span: Range, there: set[str]) -> Iterator[Change]:
    for file in span.files:
        if file.status not in "DR" or file.old is None or file.old in there:
            continue
        action: Action = "renamed" if file.new else "removed"
        yield Change(action, "file", file.old, file.new, file.old)
        module, target = module_name(file.old), module_name(file.new) if file.new else None
        stem = file.old.removesuffix("/__init__.py").removesuffix(".py")
        same = {f"{stem}.py", f"{stem}/__init__.py"} & there  # a module became a package, or the other way
        if module and "." in module and not same and module != target:
            yield Change("renamed" if target else "removed", "module", module, target, file.old)


def _folders(span: Range, before: list[Entry], there: set[str]) -> Iterator[Change]:
    alive = {path[:at] for path in there for at, letter in enumerate(path) if letter == "/"}
    targets: dict[str, set[str | None]] = defaultdict(set)
    moved = {file.old: file.new for file in span.files if file.old and file.status in "DR"}
    for entry in before:
        parts = entry.path.split("/")
        for depth in range(1, len(parts)):
            folder, rest = "/".join(parts[:depth]), "/".join(parts[depth:])
            if folder not in alive:
                new = moved.get(entry.path)
                targets[folder].add(
                    new.removesuffix("/" + rest) if new and new.endswith("/" + rest) else None
                )
    for folder, found in targets.items():
        target = next(iter(found)) if len(found) == 1 else None
        yield Change("renamed" if target else "removed", "folder", folder, target, folder)


def _names(
    path: str, old: dict[tuple[str, str], Symbol], new: dict[tuple[str, str], Symbol]
) -> Iterator[Change]:
    lost = {key: symbol for key, symbol in old.items() if key not in new}
    fresh = {key: symbol for key, symbol in new.items() if key not in old}
    renamed = _renamed(lost, fresh)
    for (kind, name), symbol in lost.items():
        if kind == "class_call":
            continue
        owner, _, _ = name.rpartition(".")
        if owner and (kind, renamed.get(("class", owner), "") + name[len(owner) :]) in new:
            continue  # the class was renamed, which says it all
        keeper = new.get(("class", owner))
        change = Change(
            "removed",
            kind,
            name,
            None,
            path,
            symbol.line,
            whole=bool(owner) and (keeper is None or not keeper.bases) and ("class", owner) in old,
        )
        if target := renamed.get((kind, name)):
            change = replace(change, action="renamed", new=target)
        yield change
    for key, symbol in old.items():
        now = new.get(key)
        if key[0] in _CALLABLE and now and symbol.signature != now.signature:
            yield Change("signature", key[0], key[1], now.signature, path, symbol.line, symbol.signature)


def _renamed(
    lost: dict[tuple[str, str], Symbol], fresh: dict[tuple[str, str], Symbol]
) -> dict[tuple[str, str], str]:
    """Names whose meaning is found, unchanged, under exactly one new name beside them."""

    def by_meaning(names: dict[tuple[str, str], Symbol]) -> dict[tuple[str, str, str], list[str]]:
        found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for (kind, name), symbol in names.items():
            if symbol.body and kind in _RENAMABLE:
                found[kind, name.rpartition(".")[0], symbol.body].append(name)
        return found

    new = by_meaning(fresh)
    return {
        (meaning[0], names[0]): new[meaning][0]
        for meaning, names in by_meaning(lost).items()
        if len(names) == 1 and len(new.get(meaning, ())) == 1
    }


def _moves(
    path: str,
    old: dict[tuple[str, str], Symbol],
    new: dict[tuple[str, str], Symbol],
    gained: dict[tuple[str, str], list[tuple[str, Symbol]]],
    now: bytes,
) -> Iterator[Change]:
    """Module-level names that live, unchanged, in one other module now: only their dotted name is stale."""
    module = module_name(path)
    for key, symbol in old.items():
        places = gained.get(key, [])
        if key in new or not module or "." in key[1] or not symbol.body or len(places) != 1:
            continue
        where, moved = places[0]
        target = module_name(where)
        exported = key[1].encode() in now  # the old module still hands it on
        if target and target != module and moved.body == symbol.body and not exported:
            dotted = f"{module}.{key[1]}"
            yield Change("renamed", "member", dotted, f"{target}.{key[1]}", path, symbol.line)


def attribute(change: Change, span: Range, sources: Sources) -> Change:
    """The change with the commit of the range that made it, and the line where its parent had it."""
    if change.commit:
        return change
    if change.kind == "folder":
        return _with(
            change, _last(span, lambda old, new: _under(change.old, old) and not _under(change.old, new))
        )
    if change.kind in {"file", "module", "member"}:
        return _with(change, _last(span, lambda old, new: old == change.path != new) or _whole(span))
    path, found, line = change.path, None, change.line
    for merge in span.merges:
        for file in span.steps.get(merge.sha, ()):
            if file.old != path:
                continue
            was = sources.of(file.old, file.old_blob).get((change.kind, change.old))
            now = sources.of(file.new, file.new_blob).get((change.kind, change.old))
            if was and (now is None or (change.action == "signature" and was.signature != now.signature)):
                found, line = merge, was.line
            path = file.new or path
            break
    return replace(_with(change, found or _whole(span)), line=line)


def _under(folder: str, path: str | None) -> bool:
    return path is not None and path.startswith(folder + "/")


def _last(span: Range, matches: Callable[[str | None, str | None], bool]) -> Merge | None:
    for merge in reversed(span.merges):
        if any(file.status in "DR" and matches(file.old, file.new) for file in span.steps.get(merge.sha, ())):
            return merge
    return None


def _whole(span: Range) -> Merge | None:
    """Where no single commit can be named, the range as one: from its base to its last commit."""
    return replace(span.merges[-1], parent=span.base) if span.merges else None


def _with(change: Change, merge: Merge | None) -> Change:
    if merge is None:
        return change
    return replace(change, commit=merge.sha, parent=merge.parent, subject=merge.subject)


def carried(details: dict[str, Any], span: Range, sources: Sources, after: list[Entry],
            changes: list[Change]) -> list[Change]:  # fmt: skip
    """The changes that an open proposal rests on, as they stand at the tip; what was taken back is left out."""
    there = {entry.path: entry.blob for entry in after if entry.is_file}
    later = {(change.kind, change.old): change for change in changes if change.action != "signature"}
    kept = []
    for stored in details.get("changes", []):
        change = Change(**stored)
        if change.action == "renamed" and (next_ := later.get((change.kind, change.new or ""))):
            change = replace(change, action=next_.action, new=next_.new)
        if change.kind in {"file", "module"} and change.path in there:
            continue
        if change.kind == "folder" and any(_under(change.old, path) for path in there):
            continue
        if change.kind == "member" and change.simple.encode() in sources.data(there.get(change.path)):
            continue
        if change.action == "signature":
            now = sources.of(change.path, there.get(change.path)).get((change.kind, change.old))
            if now is None or now.signature == change.signature:
                continue
            change = replace(change, new=now.signature)
        kept.append(change)
    return kept
