"""What was merged on a branch since the last synced commit.

The unit is a commit of the branch's first-parent history: that is a merge commit, a squash merge or a rebased
commit alike. Which files changed is the difference of the two ends (what came and went in between cancels out);
which commit did it is looked up per file in the commits of the range.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from models.board import Finding
from models.enums import Severity
from models.errors import SourceError
from sources.git import Git, Worktree, text

FIRST_SYNC_COMMITS = 50
"""How far a first sync looks back when it is not told: first-parent commits. Older drift is not its task."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_PULL_REQUEST = re.compile(r"\(#(\d+)\)$|^Merge pull request #(\d+)|^Merge branch .*!(\d+)")


@dataclass(frozen=True, slots=True)
class Merge:
    """One commit of the first-parent history."""

    sha: str
    parent: str | None
    parents: int
    subject: str

    @property
    def short(self) -> str:
        return self.sha[:7]

    @property
    def kind(self) -> str:
        """merge (two or more parents), squash (one parent and a pull request's number), else commit."""
        if self.parents > 1:
            return "merge"
        return "squash" if self.pull_request else "commit"

    @property
    def pull_request(self) -> int | None:
        found = _PULL_REQUEST.search(self.subject)
        return int(next(number for number in found.groups() if number)) if found else None


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path that differs. `status` is A, M, D or R; a blob is None where the path is no regular file."""

    status: str
    old: str | None
    new: str | None
    old_blob: str | None
    new_blob: str | None


@dataclass(slots=True)
class Range:
    """From `base` (seen already) to `tip` (the branch now)."""

    branch: str
    base: str
    tip: str
    merges: list[Merge] = field(default_factory=list)  # oldest first
    files: list[FileChange] = field(default_factory=list)  # between the two ends, by path
    steps: dict[str, list[FileChange]] = field(default_factory=dict)  # per commit, against its first parent
    findings: list[Finding] = field(default_factory=list)


def default_branch(git: Git, worktrees: list[Worktree]) -> str:
    """The branch that merges land on: what the origin calls its default; else main or master; else HEAD's.

    A bare repository's HEAD is its default branch. A remote's branch counts only where no local one has its name.
    Raises SourceError for a repository without a commit.
    """
    refs = {}
    pattern = ("refs/heads", "refs/remotes/origin")
    for line in text(git.run("for-each-ref", "--format=%(refname)%00%(symref)", *pattern)).splitlines():
        name, _, target = line.partition("\0")
        refs[name] = target
    head = text(git.run("rev-parse", "--symbolic-full-name", "HEAD", accepts=(0, 128))).strip()
    if worktrees and worktrees[0].bare and head in refs:
        return head.removeprefix("refs/heads/")
    wanted = [refs.get("refs/remotes/origin/HEAD", "").removeprefix("refs/remotes/origin/"), "main", "master"]
    for name in filter(None, wanted):
        if f"refs/heads/{name}" in refs:
            return name
        if f"refs/remotes/origin/{name}" in refs:
            return f"origin/{name}"
    if head in refs:
        return head.removeprefix("refs/heads/")
    if git.commit("HEAD"):
        return "HEAD"
    raise SourceError(
        f"{git.path} has no commit yet, so there is nothing to sync. Commit once, then sync again."
    )


def branch_tip(git: Git, branch: str) -> str | None:
    """The commit of a branch: the local one, the origin's, or any revision of that name."""
    for name in (f"refs/heads/{branch}", f"refs/remotes/origin/{branch}", branch):
        if sha := git.commit(name):
            return sha
    return None


def read_range(git: Git, branch: str, tip: str, *, last: str | None, since: str | None) -> Range:
    """What `tip` has that `last` (the last synced commit) had not.

    `since` (a revision, or a day as YYYY-MM-DD) wins over `last`. Without both, the last FIRST_SYNC_COMMITS
    commits. A `last` that is no longer in the branch's history (force push) falls back to the merge base, one that
    is not known at all to the first sync's start; both with a finding. Raises SourceError for an unknown `since`.
    """
    findings: list[Finding] = []
    base = _since(git, tip, since) if since else _base(git, tip, last, findings)
    if base is None:
        recent = text(git.run("rev-list", "--first-parent", f"--max-count={FIRST_SYNC_COMMITS + 1}", tip))
        base = recent.split()[-1]
    span = Range(branch=branch, base=base, tip=tip, findings=findings)
    if base == tip:
        return span
    log = git.run(
        "rev-list",
        "--first-parent",
        "--reverse",
        "--encoding=UTF-8",
        "--no-commit-header",
        "--format=%H%x00%P%x00%s",
        f"{base}..{tip}",
    )
    for line in text(log).split("\n"):
        if line:
            sha, parents, subject = line.split("\0", 2)
            known = parents.split()
            span.merges.append(Merge(sha, known[0] if known else None, len(known), subject))
    span.files = _differences(git.run(*_DIFF, "--end-of-options", base, tip))
    span.steps = _steps(git, span.merges)
    return span


def _since(git: Git, tip: str, since: str) -> str:
    sha = git.commit(since)
    if sha is None and _DATE.fullmatch(since):
        before = git.run("rev-list", "--first-parent", "--max-count=1", f"--before={since}T00:00:00", tip)
        sha = text(before).strip() or text(git.run("rev-list", "--first-parent", tip)).split()[-1]
    if sha is None:
        raise SourceError(
            f"{since!r} names no commit of {git.path}. Give a commit, a tag, a branch or a day (2026-01-31)."
        )
    return _merge_base(git, sha, tip) or sha


def _base(git: Git, tip: str, last: str | None, findings: list[Finding]) -> str | None:
    if last is None:
        return None
    if git.commit(last) is None:
        findings.append(
            Finding(
                "unknown_commit",
                Severity.WARNING,
                0,
                f"The last synced commit {last[:12]} is not in the repository (shallow clone or rewritten "
                f"history); read the last {FIRST_SYNC_COMMITS} merges instead.",
            )
        )
        return None
    base = _merge_base(git, last, tip)
    if base != last:
        where = f"the common ancestor {base[:12]}" if base else f"the last {FIRST_SYNC_COMMITS} merges"
        findings.append(
            Finding(
                "history_rewritten",
                Severity.WARNING,
                0,
                f"The last synced commit {last[:12]} is no longer part of the branch (force push, or another "
                f"branch); read from {where} instead.",
            )
        )
    return base


def _merge_base(git: Git, one: str, other: str) -> str | None:
    return text(git.run("merge-base", "--end-of-options", one, other, accepts=(0, 1))).strip() or None


_DIFF = ("diff-tree", "-r", "-z", "-M", "--raw", "--no-abbrev", "--no-ext-diff", "--no-textconv")


def _steps(git: Git, merges: list[Merge]) -> dict[str, list[FileChange]]:
    pairs = "".join(f"{merge.sha} {merge.parent}\n" for merge in merges if merge.parent)
    if not pairs:
        return {}
    out = git.run(*_DIFF, "--stdin", "-m", stdin=pairs.encode())
    steps: dict[str, list[FileChange]] = {}
    shas = {merge.sha.encode() for merge in merges}
    sha, start, fields = "", 0, out.split(b"\0")
    at = 0
    while at < len(fields):
        if fields[at].startswith(b":"):
            at += 3 if fields[at].rsplit(b" ", 1)[-1][:1] in (b"R", b"C") else 2
            continue
        if sha:
            steps[sha] = _differences(b"\0".join(fields[start:at]))
        sha = text(fields[at]) if fields[at] in shas else ""
        at += 1
        start = at
    return steps


def _differences(out: bytes) -> list[FileChange]:
    """The records of `diff-tree --raw -z`: ":<modes> <blobs> <status>", then one path, two for a rename."""
    fields = iter(text(out).split("\0"))
    changes = []
    for facts in fields:
        if not facts:
            continue
        old_mode, new_mode, old_blob, new_blob, status = facts.lstrip(":").split(" ")
        path = next(fields)
        target = next(fields) if status[0] in "RC" else path
        letter = "M" if status[0] == "T" else status[0]
        changes.append(
            FileChange(
                status=letter,
                old=None if letter == "A" else path,
                new=None if letter == "D" else target,
                old_blob=old_blob if old_mode.startswith("100") else None,
                new_blob=new_blob if new_mode.startswith("100") else None,
            )
        )
    return sorted(changes, key=lambda change: (change.old or change.new or "", change.new or ""))
