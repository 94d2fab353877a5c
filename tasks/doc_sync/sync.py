"""The sync itself: one repository, read once; proposals written beside it; how far it came, remembered last."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.types.json import Jsonb

from models.board import Finding
from models.enums import Severity
from models.errors import SettingsError, SourceError
from sources.git import Entry, Git, Worktree
from sql.statements import statement
from tasks.doc_sync import history, proposal
from tasks.doc_sync.changes import Change, Sources, attribute, carried, detect
from tasks.doc_sync.documents import MAX_DOCUMENT, Document, is_document
from tasks.doc_sync.history import Range
from tasks.doc_sync.mentions import Mention, basenames, mentions, speak_of
from tasks.doc_sync.presence import Presence
from tasks.doc_sync.proposal import Proposal, printable

NEAR_LINES = 3
"""A document's edit within so many lines of a mention has seen the mention: git's own width of a context."""

SYNCED = statement("doc_sync.synced")
OPEN_PROPOSALS = statement("doc_sync.open_proposals")
ADVANCE = statement("doc_sync.advance")
PROPOSE = statement("doc_sync.propose")
SETTLE = statement("doc_sync.settle")

_HUNK = re.compile(rb"^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)

State = Literal["unchanged", "synced", "dry_run", "superseded"]


@dataclass(slots=True)
class SyncResult:
    """What one sync found and did.

    unchanged: nothing was merged. synced: proposals (perhaps none) are stored. dry_run: nothing was stored.
    superseded: another sync of the repository was faster; nothing was stored.
    """

    repo: str
    branch: str
    base: str
    tip: str
    state: State
    merges: list[history.Merge] = field(default_factory=list)
    changes: int = 0  # things removed, renamed or called differently
    proposals: list[Proposal] = field(default_factory=list)
    settled: int = 0  # open proposals that the branch no longer needs
    findings: list[Finding] = field(default_factory=list)
    git_calls: int = 0

    @property
    def sentence(self) -> str:
        where = f"{Path(self.repo).name} ({self.branch})"
        if self.state == "unchanged":
            return f"{where}: nothing was merged since {self.tip[:7]}."
        if self.state == "superseded":
            return f"{where}: another sync was faster; nothing was stored by this one."
        merged = f"{len(self.merges)} merged {'commit' if len(self.merges) == 1 else 'commits'}"
        span = f"{where}, {merged} {self.base[:7]}..{self.tip[:7]}"
        if not self.proposals:
            return f"{span}: no document speaks of what changed."
        noun = "document needs" if len(self.proposals) == 1 else "documents need"
        stored = " Nothing was stored (dry run)." if self.state == "dry_run" else ""
        return f"{span}: {len(self.proposals)} {noun} a look.{stored}"

    def as_json(self) -> dict[str, Any]:
        return {
            "repo": self.repo,
            "branch": self.branch,
            "base": self.base,
            "tip": self.tip,
            "state": self.state,
            "merges": [
                {"commit": merge.sha, "kind": merge.kind, "pull_request": merge.pull_request,
                 "subject": printable(merge.subject)}
                for merge in self.merges
            ],
            "changes": self.changes,
            "proposals": [
                {"document": found.shown, "title": found.title, "reason": found.reason,
                 "patch_path": str(found.file) if found.file else None, **found.details()}
                for found in self.proposals
            ],
            "settled": self.settled,
            "findings": [finding.as_json() for finding in self.findings],
            "sentence": self.sentence,
        }  # fmt: skip


def sync_documents(
    connection: psycopg.Connection[Any],
    repo: Path,
    *,
    branch: str | None = None,
    since: str | None = None,
    home: Path,
    dry_run: bool = False,
) -> SyncResult:
    """Read what was merged since the last sync, and propose what documents should say now.

    `branch`: None takes the one synced before, else the default branch. `since`: a revision or day to begin at
    instead. Patches go to `home`/proposals; reviews and the new position are stored in one transaction of
    `connection`, which must not be inside one. The repository is never written to. Without a change: one git call
    (two for a bare repository) and one select. Raises SourceError, SettingsError, ServiceError.
    """
    git = Git(repo)
    worktrees = git.worktrees()
    key = _key(worktrees, git)
    with connection.transaction():
        row = connection.execute(SYNCED, {"repo": key}).fetchone()
    known, last = (row[0], row[1]) if row else (None, None)
    if since is None and known is not None and branch in (None, known):
        head = next((tree.head for tree in worktrees if tree.branch == known), None) or (
            history.branch_tip(git, known) if all(tree.branch != known for tree in worktrees) else None
        )
        if head is not None and head == last:
            return SyncResult(key, known, head, head, "unchanged", git_calls=git.calls)
    _outside(home, worktrees, git)
    name, tip = _branch(git, branch, known, worktrees)
    span = history.read_range(git, name, tip, last=last, since=since)
    with connection.transaction():
        waiting = _waiting(connection, key)
    found, count = _read(git, span, waiting)
    result = SyncResult(
        key, name, span.base, tip, "dry_run", span.merges, count, found, 0, span.findings, git.calls
    )
    if not dry_run:
        _store(connection, result, home, last, waiting)
    return result


def _key(worktrees: list[Worktree], git: Git) -> str:
    """The repository's name in the database: its main checkout, or the bare folder."""
    return printable(worktrees[0].path if worktrees else str(git.path))


def _outside(home: Path, worktrees: list[Worktree], git: Git) -> None:
    target = home.expanduser().resolve() / "proposals"
    for folder in {git.path, *(Path(tree.path).resolve() for tree in worktrees)}:
        if target.is_relative_to(folder):
            raise SettingsError(
                f"PENSTOCK_HOME is {home}, inside the repository {folder}, and Penstock never writes there. "
                "Set PENSTOCK_HOME to a folder outside."
            )


def _branch(git: Git, asked: str | None, known: str | None, worktrees: list[Worktree]) -> tuple[str, str]:
    if asked is not None:
        tip = history.branch_tip(git, asked)
        if tip is None:
            raise SourceError(
                f"{git.path} has no branch {asked!r}. `git -C {git.path} branch -a` lists them."
            )
        return asked, tip
    if known is not None and (tip := history.branch_tip(git, known)):
        return known, tip
    name = history.default_branch(git, worktrees)
    tip = history.branch_tip(git, name)
    if tip is None:
        raise SourceError(f"{git.path} has no commit on {name!r} yet. Commit once, then sync again.")
    return name, tip


def _waiting(connection: psycopg.Connection[Any], key: str) -> dict[str, tuple[int, dict[str, Any]]]:
    prefix = _subject(key, "")
    rows = connection.execute(OPEN_PROPOSALS, {"repo": key}).fetchall()
    return {subject.removeprefix(prefix): (number, details) for number, subject, details in rows}


def _subject(key: str, path: str) -> str:
    return f"document:{key}:{path}"


def _read(
    git: Git, span: Range, waiting: dict[str, tuple[int, dict[str, Any]]]
) -> tuple[list[Proposal], int]:
    after = git.tree(span.tip)
    before = git.tree(span.base) if span.files else after
    sources = Sources(git)
    changes = detect(span, sources, before, after)
    moved = {file.old: file.new for file in span.files if file.status == "R" and file.old and file.new}
    earlier: dict[str, list[Change]] = defaultdict(list)
    for shown, (_, details) in waiting.items():
        earlier[printable(moved.get(shown) or shown)] += carried(details, span, sources, after, changes)
    if not changes and not any(earlier.values()):
        return [], 0
    documents = _documents(git, span, after)
    spoken = speak_of(documents, [*changes, *(change for kept in earlier.values() for change in kept)])
    presence = Presence(git, span.tip, spoken)
    names = basenames(before), basenames(after)
    proposals = []
    for document in documents:
        own = {change.key: change for change in [*earlier[printable(document.path)], *changes]}
        found = mentions(document, own.values(), presence, *names)
        found = [replace(at, change=attribute(at.change, span, sources)) for at in found]
        found = _not_seen(git, span, document, found, moved)
        if found and (made := proposal.propose(document, found)):
            proposals.append(made)
        elif found:
            span.findings.append(_unreadable(document, "is in an unknown encoding"))
    return proposals, len(changes)


def _documents(git: Git, span: Range, after: Iterable[Entry]) -> list[Document]:
    wanted = {entry.path: entry for entry in after if entry.is_file and is_document(entry.path)}
    sizes = git.sizes(entry.blob for entry in wanted.values())
    contents = dict(git.blobs(blob for blob, size in sizes.items() if size <= MAX_DOCUMENT))
    documents = []
    for path, entry in sorted(wanted.items()):
        document = Document(path, contents.get(entry.blob, b""))
        if entry.blob not in sizes:
            span.findings.append(_unreadable(document, "is not in this clone"))
        elif entry.blob not in contents:
            span.findings.append(_unreadable(document, f"has more than {MAX_DOCUMENT} bytes"))
        elif b"\0" in document.data:
            span.findings.append(_unreadable(document, "is binary or UTF-16"))
        else:
            documents.append(document)
    return documents


def _unreadable(document: Document, why: str) -> Finding:
    return Finding(
        "document_skipped",
        Severity.INFO,
        0,
        f"{printable(document.path)} {why}; it was left alone. Look yourself.",
    )


def _not_seen(
    git: Git, span: Range, document: Document, found: list[Mention], moved: dict[str, str]
) -> list[Mention]:
    """Without the mentions that somebody edited around in, or after, the commit that made them wrong."""
    old = next((path for path, target in moved.items() if target == document.path), document.path)
    edited: dict[str, list[tuple[int, int]]] = {}
    kept = []
    for mention in found:
        parent = mention.change.parent
        if parent is None:
            kept.append(mention)
            continue
        if parent not in edited:
            edited[parent] = _edited(git, parent, span.tip, old, document.path)
        if not any(first - NEAR_LINES <= mention.line <= last + NEAR_LINES for first, last in edited[parent]):
            kept.append(mention)
    return kept


def _edited(git: Git, parent: str, tip: str, old: str, new: str) -> list[tuple[int, int]]:
    """The lines of a document at the tip that differ from a commit; a pure deletion is the line before it."""
    if git.commit(parent) is None:
        return []  # gone with a rewritten history: then nothing says that a person has looked
    out = git.run(
        "diff-tree", "-r", "-p", "-U0", "-M", "--text", "--no-color", "--no-ext-diff", "--no-textconv",
        parent, tip, "--", *dict.fromkeys((old, new)),
    )  # fmt: skip
    ranges = []
    for found in _HUNK.finditer(out):
        start, length = int(found[1]), int(found[2] or 1)
        ranges.append((start, start + max(length, 1) - 1))
    return ranges


def _store(
    connection: psycopg.Connection[Any],
    result: SyncResult,
    home: Path,
    last: str | None,
    waiting: dict[str, tuple[int, dict[str, Any]]],
) -> None:
    """Patches first (a file that no row names harms nobody), then every row and the new position at once."""
    folder = home.expanduser() / "proposals" / proposal.safe_name(result.repo) / result.tip[:7]
    result.proposals = [replace(found, file=proposal.write(folder, found)) for found in result.proposals]
    needed = {found.shown for found in result.proposals}
    settled = [number for shown, (number, _) in waiting.items() if shown not in needed]
    with connection.transaction() as transaction:
        position = {"repo": result.repo, "branch": result.branch, "tip": result.tip, "last": last}
        if connection.execute(ADVANCE, position).fetchone() is None:
            result.state, result.proposals = "superseded", []
            raise psycopg.Rollback(transaction)
        for found in result.proposals:
            connection.execute(
                PROPOSE,
                {
                    "subject": _subject(result.repo, found.shown),
                    "title": found.title,
                    "reason": found.reason,
                    "proposal": found.patch.decode("utf-8", "backslashreplace"),
                    "patch_path": str(found.file),
                    "details": Jsonb(
                        {
                            "repo": result.repo,
                            "branch": result.branch,
                            "commit": result.tip,
                            **found.details(),
                        }
                    ),
                },
            )
        if settled:
            note = f"At {result.tip[:7]} the document needs nothing of this any more."
            connection.execute(SETTLE, {"reviews": settled, "note": note})
        result.state, result.settled = "synced", len(settled)
