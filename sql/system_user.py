"""Which system user Postgres runs as. Postgres refuses to run as root, so root lends it an unprivileged user."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from models.errors import DatabaseError

__all__ = ["ServerUser", "server_user"]

NAME = "penstock"
FALLBACK = "nobody"


@dataclass(frozen=True)
class ServerUser:
    """The user that the server process runs as: the caller, or the one that root lends."""

    name: str
    uid: int
    gid: int

    @property
    def is_lent(self) -> bool:
        return os.geteuid() != self.uid

    def run(
        self, arguments: Sequence[str | Path], *, timeout: float, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, in an environment without the caller's secrets and PG* variables.

        Raises OSError when it can't be executed, subprocess.TimeoutExpired after `timeout` seconds.
        """
        return subprocess.run(  # noqa: S603 - programs named in this package, no shell string from outside
            [str(argument) for argument in arguments],
            user=self.uid if self.is_lent else None,
            group=self.gid if self.is_lent else None,
            extra_groups=[] if self.is_lent else None,
            umask=0o077,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def reaches(self, path: Path) -> bool:
        """Whether this user may walk to the folder `path`. The kernel answers: mode bits alone miss ACLs."""
        if not self.is_lent:
            return os.access(path, os.X_OK)
        return self.run(["/bin/sh", "-c", 'test -x "$1"', "sh", path], timeout=30).returncode == 0

    def make_folder(self, path: Path) -> None:
        """Make `path`, 0700, as this user. Does nothing where something is there already; look what it is."""
        if self.is_lent:
            self._do('mkdir -m 700 -- "$1" || test -e "$1" || test -L "$1"', path)
        else:
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)

    def write(self, path: Path, text: str, *, append: bool = False) -> None:
        """Write a file as this user: were root to write where it may plant links, it could aim root anywhere."""
        if self.is_lent:
            self._do('cat >> "$1"' if append else 'cat > "$1"', path, text)
        else:
            with path.open("a" if append else "w", encoding="utf-8") as file:
                file.write(text)

    def _do(self, script: str, path: Path, text: str = "") -> None:
        done = self.run(["/bin/sh", "-c", script, "sh", path], timeout=30, stdin=text)
        if done.returncode != 0:
            raise OSError(errno.EIO, done.stdout.strip() or f"sh ended with {done.returncode}", str(path))


def server_user(data: Path) -> ServerUser:
    """The user for the server over `data`: its owner if it exists, else us, else one that root lends.

    Raises DatabaseError when the data belongs to somebody we can't act as, or to root.
    """
    me = os.geteuid()
    if data.exists():
        owner = data.stat().st_uid
        if owner == 0:
            raise DatabaseError(
                f"The database folder {data} belongs to root, and Postgres refuses to run as root. "
                f"Give it to an unprivileged user (`chown -R {FALLBACK} {data}`), or move it away to start anew."
            )
        if owner != me and me != 0:
            raise DatabaseError(
                f"The database folder {data} belongs to {_name(owner)}, and you are {_name(me)}. "
                "Run as that user, or set PENSTOCK_HOME to a folder of your own."
            )
        entry = _entry(owner)
        return ServerUser(_name(owner), owner, entry.pw_gid if entry else data.stat().st_gid)
    if me != 0:
        return ServerUser(_name(me), me, os.getegid())
    entry = _lent()
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _lent() -> pwd.struct_passwd:
    """An existing `penstock` user, else a new one where the system can make one, else `nobody`."""
    entry = _named(NAME) or _made() or _named(FALLBACK)
    if entry is None:
        raise DatabaseError(
            "Postgres refuses to run as root, and this system has neither a user 'penstock' nor 'nobody'. "
            "Create one (`useradd --system penstock`), or run Penstock as a normal user."
        )
    return entry


def _made() -> pwd.struct_passwd | None:
    useradd = shutil.which("useradd", path=f"{os.defpath}:/usr/sbin:/sbin")
    if useradd is None:
        return None
    command = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", "--comment", "Penstock's embedded Postgres", NAME]
    # Its failure (a read-only /etc, or another process that made the user just now) shows in the look-up.
    subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
    )
    return _named(NAME)


def _named(name: str) -> pwd.struct_passwd | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return entry if entry.pw_uid != 0 else None


def _entry(uid: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None  # usual in containers that run under a bare number


def _name(uid: int) -> str:
    entry = _entry(uid)
    return entry.pw_name if entry else f"user {uid}"
