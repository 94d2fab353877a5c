"""Reading a git repository, and nothing but reading: one runner that every git call goes through.

A repository is foreign input: its configuration can name programs (hooks, fsmonitor, external diff, text
conversion, filters, transports of a partial clone). The runner switches each of them off, passes no variable of the
caller's git environment on, and asks only plumbing commands: contents come as they are stored, never by a checkout.
Needs git 2.36 or newer (`worktree list -z`).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import PenstockError, ServiceError, SourceError

BUDGET = 300.0
"""Seconds that all git calls of one `Git` may take together."""

_GUARDS = (
    "--no-pager",
    "--literal-pathspecs",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.untrackedCache=false",
    "-c",
    "protocol.allow=never",
)
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",  # the user's own configuration is read all the same: safe.directory is there
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",  # never refreshes the index of the repository it reads
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # a partial clone must not fetch behind our back: that writes objects
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


@dataclass(frozen=True, slots=True)
class Worktree:
    """One line of `git worktree list`; `head` is None in a bare repository and on an unborn branch."""

    path: str
    head: str | None
    branch: str | None
    bare: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A path of a tree. `path` holds undecodable bytes as surrogate escapes."""

    path: str
    mode: str
    blob: str

    @property
    def is_file(self) -> bool:
        return self.mode.startswith("100")


def text(data: bytes) -> str:
    """Bytes from git as text that `raw` turns back into the same bytes."""
    return data.decode("utf-8", "surrogateescape")


def raw(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


@dataclass(slots=True)
class Git:
    """A repository that is only read. Raises SourceError for what is no repository, ServiceError when git fails."""

    path: Path
    budget: float = BUDGET
    calls: int = 0
    _ends: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.path = self.path.expanduser().resolve()
        if not self.path.is_dir():
            raise SourceError(
                f"{self.path} is not a folder, so it can't be read as a git repository. "
                "Give the path of a clone."
            )
        self._ends = time.monotonic() + self.budget

    def run(self, *arguments: str, stdin: bytes = b"", accepts: tuple[int, ...] = (0,)) -> bytes:
        """The standard output of `git <arguments>`. A return code outside `accepts` is an error."""
        code, out, problem = self._run(arguments, stdin)
        if code not in accepts:
            if "lazy fetching" in problem or "promisor" in problem:
                raise SourceError(
                    f"{self.path} is a partial clone and lacks contents that are needed; reading must not fetch "
                    "them. Run `git fetch --refetch --no-filter` there, or give a full clone."
                )
            raise ServiceError(f"git {arguments[0]} failed in {self.path}: {problem or f'exit code {code}'}.")
        return out

    def _run(self, arguments: tuple[str, ...], stdin: bytes) -> tuple[int, bytes, str]:
        left = self._ends - time.monotonic()
        late = ServiceError(
            f"Reading {self.path} with git took longer than {self.budget:g} s (at git {arguments[0]}). "
            "Look whether its disk answers, then run this again: nothing was changed."
        )
        if left <= 0:
            raise late
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self.calls += 1
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program; revisions are verified, paths follow "--"
                ["git", *_GUARDS, "-C", str(self.path), *arguments],  # noqa: S607 - the user's own git
                input=stdin,
                capture_output=True,
                env=environment | _ENVIRONMENT,
                timeout=left,
                check=False,
            )
        except FileNotFoundError:
            raise ServiceError(
                "git is not installed or not on the PATH; install it and run this again."
            ) from None
        except subprocess.TimeoutExpired:
            raise late from None
        problem = text(done.stderr).strip().splitlines()
        return done.returncode, done.stdout, problem[0] if problem else ""

    def _refused(self, code: int, problem: str) -> PenstockError:
        """Why git does not read this folder as a repository."""
        if "dubious ownership" in problem:
            return SourceError(
                f"git refuses to read {self.path}: it belongs to another user. If you trust it, run "
                f"`git config --global --add safe.directory {self.path}`."
            )
        if "not a git repository" in problem:
            return SourceError(f"{self.path} is not a git repository. Give the path of a clone.")
        return ServiceError(
            f"git can't read {self.path}: {problem or f'exit code {code}'}. Git 2.36 or newer is needed."
        )

    def place(self) -> tuple[Path, str]:
        """The repository that `path` is in, the same for all of its checkouts, and the path inside of it.

        The repository is named by its main checkout's folder, a bare one by its own. The path inside is "" or ends
        with "/".
        """
        code, out, problem = self._run(
            ("rev-parse", "--path-format=absolute", "--git-common-dir", "--show-prefix"), b""
        )
        if code != 0:
            raise self._refused(code, problem)
        common, _, prefix = text(out).removesuffix("\n").partition("\n")
        repository = Path(common).resolve()
        return repository.parent if repository.name == ".git" else repository, prefix.removesuffix("\n")

    def worktrees(self) -> list[Worktree]:
        """The checkouts of the repository, the main one (whose path names the repository) first."""
        code, out, problem = self._run(("worktree", "list", "--porcelain", "-z"), b"")
        if code != 0:
            raise self._refused(code, problem)
        found = []
        for block in text(out).split("\0\0"):
            facts = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
            if "worktree" not in facts:
                continue
            head = facts.get("HEAD", "")
            found.append(
                Worktree(
                    path=facts["worktree"],
                    head=head if head.strip("0") else None,
                    branch=facts.get("branch", "").removeprefix("refs/heads/") or None,
                    bare="bare" in facts,
                )
            )
        return found

    def commit(self, revision: str) -> str | None:
        """The full id of the commit that a revision names, None where there is none."""
        if not revision or "\0" in revision:
            return None
        code, out, _ = self._run(
            ("rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"), b""
        )
        found = text(out).strip()
        return found if code == 0 and not found.startswith("^") else None  # ^main is what main is not

    def tree(self, commit: str) -> list[Entry]:
        """Every path of a commit, submodules and links included (`Entry.is_file` tells)."""
        entries = []
        for record in text(self.run("ls-tree", "-r", "-z", "--full-tree", commit)).split("\0"):
            if record:
                facts, _, path = record.partition("\t")
                mode, _, blob = facts.split()
                entries.append(Entry(path, mode, blob))
        return entries

    def sizes(self, ids: Iterable[str]) -> dict[str, int]:
        """Bytes by blob id. A blob that is not here (partial clone) is left out."""
        wanted = "".join(f"{blob}\n" for blob in dict.fromkeys(ids)).encode()
        out = text(self.run("cat-file", "--batch-check", stdin=wanted)) if wanted else ""
        return {line.split()[0]: int(line.split()[2]) for line in out.splitlines() if len(line.split()) == 3}

    def blobs(self, ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Contents by blob id, each once, in one call. A blob that is not here (partial clone) is left out."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return
        out = self.run("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in wanted).encode())
        at = 0
        for blob in wanted:
            end = out.index(b"\n", at)
            header = out[at:end].split()
            at = end + 1
            if len(header) == 3:
                size = int(header[2])
                yield blob, out[at : at + size]
                at += size + 1
