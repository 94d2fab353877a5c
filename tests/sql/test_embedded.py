"""The embedded Postgres is killed, confused and starved here, in every way that was seen to break a supervisor."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from models.errors import DatabaseError
from sql import embedded
from sql.connection import Database
from sql.embedded import EmbeddedPostgres
from sql.tuning import managed_conf

FAST = {"fsync": "off", "shared_buffers": "32MB"}
Start = Callable[[Path], Any]


@pytest.fixture(scope="module")
def made(open_folder: Path) -> Path:
    """A home whose cluster was made and left in order."""
    home = open_folder / "made"
    with EmbeddedPostgres(home, FAST):
        pass
    return home


@pytest.fixture
def home(made: Path, home: Path) -> Path:
    """A copy of it for this test."""
    subprocess.run(["cp", "-a", made, home], check=True)
    return home


def running(home: Path) -> bool:
    """Whether a server process, not a zombie, works on this home's data."""
    data = (home / "postgres/data").resolve()
    for process in psutil.process_iter():
        try:
            if process.name().startswith("postgres") and Path(process.cwd()) == data:
                return True
        except (psutil.Error, OSError):
            continue
    return False


def pid_file(home: Path) -> Path:
    return home / "postgres/data/postmaster.pid"


def pid(home: Path) -> int:
    return int(pid_file(home).read_text().split()[0])


def connect(server: EmbeddedPostgres) -> psycopg.Connection[Any]:
    place = {"host": str(server.socket_folder), "user": "postgres", "dbname": "postgres"}
    return Database(place, embedded=True).connect(autocommit=True, statement_timeout=0)


def works(home: Path) -> int:
    """Open, ask, close; the postmaster's pid."""
    with EmbeddedPostgres(home, FAST, start_timeout=60) as server, connect(server) as connection:
        assert connection.execute("select 41 + 1").fetchone() == (42,)
        return pid(home)


def kill(process_id: int) -> None:
    process = psutil.Process(process_id)
    process.kill()
    deadline = time.monotonic() + 10
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_home_that_is_not_there_is_made_and_the_last_to_leave_stops_it(open_folder: Path) -> None:
    home = open_folder / "new" / "home"
    with EmbeddedPostgres(home, FAST) as server, connect(server) as connection:
        row = connection.execute(
            "select current_setting('listen_addresses'), current_setting('wal_compression'),"
            " current_setting('server_version_num')::int / 10000, current_setting('data_checksums')"
        ).fetchone()
        assert row == ("", "pglz", 18, "on")
        assert server.socket_folder.stat().st_mode & 0o777 == 0o700
    assert not running(home)


def test_two_processes_share_it_and_the_last_one_stops_it(home: Path, owner: Start) -> None:
    first = owner(home)
    started = first.postmaster()
    second = owner(home)
    assert second.postmaster() == started
    first.leave()
    assert running(home)
    second.leave()
    assert not running(home)


def test_two_processes_that_start_at_once_get_one_server(home: Path, owner: Start) -> None:
    several = [owner(home) for _ in range(3)]
    assert len({one.postmaster() for one in several}) == 1
    for one in several:
        one.leave()
    assert not running(home)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_one_of_two_owners_is_killed(home: Path, owner: Start, number: int) -> None:
    first, second = owner(home), owner(home)
    first.postmaster()
    second.postmaster()
    first.kill(number)
    assert running(home)
    second.leave()
    assert not running(home)


def test_all_owners_are_killed_then_the_next_attaches_and_stops_it(home: Path, owner: Start) -> None:
    victim = owner(home)
    started = victim.postmaster()
    victim.kill()
    assert running(home)
    assert works(home) == started
    assert not running(home)


def test_a_killed_server_recovers_what_was_committed(home: Path) -> None:
    with EmbeddedPostgres(home, FAST) as server:
        with connect(server) as connection:
            connection.execute("create table kept as select generate_series(1, 50000) as n")
        kill(pid(home))
        # A second user comes while the first still counts as one: it must restart the dead server.
        with EmbeddedPostgres(home, FAST) as again, connect(again) as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (50000,)
    assert not running(home)


def test_a_worker_that_outlives_a_killed_server_is_ended(home: Path) -> None:
    with EmbeddedPostgres(home, FAST) as server:
        busy = connect(server)

        def spin() -> None:
            # Never looks whether its postmaster lives, as a long index build does not.
            with pytest.raises(psycopg.OperationalError):
                busy.execute("do $$ begin loop perform 1; end loop; end $$")

        thread = threading.Thread(target=spin)
        thread.start()
        with connect(server) as watching:
            active = "select count(*) from pg_stat_activity where query like 'do %' and state = 'active'"
            while watching.execute(active).fetchone() != (1,):
                time.sleep(0.01)
        kill(pid(home))
        assert works(home)
        thread.join(timeout=30)
        assert not thread.is_alive()
        busy.close()
    assert not running(home)


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(lambda: f"{os.getpid()}\n/elsewhere\n1\n5432\n/tmp\n\n1 1\nready   \n", id="pid reused"),
        pytest.param(lambda: "99999999\n/elsewhere\n1\n5432\n/tmp\n\n1 1\nready   \n", id="pid gone"),
        pytest.param(lambda: "123", id="truncated"),
        pytest.param(lambda: "", id="empty"),
        pytest.param(lambda: "\x00\x00nonsense\n", id="garbled"),
    ],
)
def test_a_stale_pid_file_is_no_obstacle(home: Path, left: Callable[[], str]) -> None:
    pid_file(home).write_text(left())
    assert works(home) != os.getpid()
    assert not running(home)


def test_a_pid_file_reused_by_the_servers_own_user(home: Path) -> None:
    """Postgres itself would refuse: it only looks whether a process of its user has that number."""
    account = (home / "postgres/data").stat().st_uid
    sleeper = subprocess.Popen(["sleep", "60"], user=account if os.geteuid() == 0 else None)
    try:
        pid_file(home).write_text(f"{sleeper.pid}\n{home}/postgres/data\n1\n5432\n/tmp\n\n1 1\nready   \n")
        assert works(home) != sleeper.pid
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_killed_initdb_leaves_nothing_in_the_way(home: Path) -> None:
    (home / "postgres/data").rename(home / "postgres/data.new")
    (home / "postgres/data.new/PG_VERSION").unlink()
    works(home)


def test_a_socket_folder_that_was_swept_away(home: Path, owner: Start) -> None:
    other = owner(home)
    started = other.postmaster()
    shutil.rmtree(home / "postgres/socket")
    assert works(home) != started
    other.leave()
    assert not running(home)


@pytest.mark.parametrize("found", ["16", "19"])
def test_another_major_version_is_named(home: Path, found: str) -> None:
    (home / "postgres/data/PG_VERSION").write_text(f"{found}\n")
    with pytest.raises(DatabaseError, match=rf"made by Postgres {found}.*brings Postgres 18.*pg_dump"):
        works(home)
    (home / "postgres/data/PG_VERSION").write_text("18\n")
    works(home)


def test_a_folder_that_is_no_cluster(home: Path) -> None:
    (home / "postgres/data/PG_VERSION").unlink()
    with pytest.raises(DatabaseError, match="no Postgres cluster"):
        works(home)


def test_a_setting_that_stops_the_start_is_quoted_from_the_log(home: Path) -> None:
    with (home / "postgres/data/postgresql.auto.conf").open("a") as configuration:
        configuration.write("shared_preload_libraries = 'no_such_library'\n")
    with pytest.raises(DatabaseError, match=r"no_such_library.*server\.log"):
        works(home)
    assert not running(home)


def test_a_full_disk_is_one_sentence_and_the_next_start_works(open_folder: Path, home: Path) -> None:
    shutil.rmtree(home / "postgres/data")
    script = (
        "import resource, sys; from pathlib import Path; from models.errors import DatabaseError;"
        "from sql.embedded import EmbeddedPostgres\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try: EmbeddedPostgres(Path(sys.argv[1])).open()\n"
        "except DatabaseError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, home], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "can't be created" in done.stdout
    assert "Free space" in done.stdout
    works(home)


@pytest.mark.parametrize("unfit", ["$(touch x)", 'a"b', "a`b", "a\\b", "a\nb"])
def test_a_home_that_the_start_program_would_misread_is_refused(tmp_path: Path, unfit: str) -> None:
    with pytest.raises(DatabaseError, match="can't take"):
        EmbeddedPostgres(tmp_path / unfit).open()


def test_a_home_with_other_odd_letters_works(open_folder: Path, made: Path) -> None:
    odd = open_folder / "it's a %20 дом; x"
    subprocess.run(["cp", "-a", made, odd], check=True)
    works(odd)


def test_a_home_below_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match=r"Not a directory.*PENSTOCK_HOME"):
        EmbeddedPostgres(tmp_path / "file" / "home").open()


def test_a_server_that_cannot_be_seen_is_not_doubled(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(home / "postgres/socket/.s.PGSQL.5432"))
        other.listen()
        with pytest.raises(DatabaseError, match="two containers share"):
            works(home)


def test_a_long_home_gets_a_short_socket(
    open_folder: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = open_folder / ("x" * 100)
    subprocess.run(["cp", "-a", made, long], check=True)
    with EmbeddedPostgres(long, FAST) as server, connect(server) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        folder = server.socket_folder
        assert len(os.fsencode(folder)) < 100
        monkeypatch.setattr(tempfile, "gettempdir", lambda: "/another/session/has/another")
        assert works(long) == pid(long)
    assert not folder.exists()


def test_a_short_socket_folder_of_somebody_else_is_refused(
    open_folder: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = open_folder / ("y" * 100)
    subprocess.run(["cp", "-a", made, long], check=True)
    base = Path(tempfile.mkdtemp(prefix="pk", dir="/tmp"))
    base.chmod(0o1777)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(base))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with EmbeddedPostgres(long, FAST) as server:
        folder = server.socket_folder
    assert folder.parent == base
    (base / "target").mkdir()
    folder.symlink_to(base / "target")
    with pytest.raises(DatabaseError, match="Somebody else made it"):
        works(long)
    shutil.rmtree(base)


def test_the_log_is_kept_in_bounds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LARGEST_LOG", 10)
    works(home)
    works(home)
    assert (home / "postgres/server.log.1").exists()


def test_the_configuration_quotes_what_it_is_given() -> None:
    text = managed_conf(Path("/it's"), {"shared_buffers": "32MB"})
    assert "unix_socket_directories = '/it''s'" in text
    assert text.count("shared_buffers") == 1


@pytest.fixture
def closed(open_folder: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=open_folder))
    assert folder.stat().st_mode & 0o777 == 0o700
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends a user")
def test_root_is_told_of_a_closed_folder_and_nothing_is_opened(closed: Path) -> None:
    with pytest.raises(DatabaseError, match=rf"chmod o\+x {closed}"):
        EmbeddedPostgres(closed / "home", FAST).open()
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends a user")
def test_root_copies_binaries_that_the_lent_user_cannot_read(
    closed: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec(embedded.PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    hidden = closed / embedded.PACKAGE
    hidden.mkdir()
    (hidden / "__init__.py").touch()
    subprocess.run(["cp", "-a", package / "pginstall18", hidden], check=True)
    subprocess.run(["cp", "-a", package.parent / f"{embedded.PACKAGE}.libs", closed], check=True)
    monkeypatch.syspath_prepend(str(closed))
    shutil.rmtree(home / "postgres/data")
    works(home)
    assert (home / "binaries").is_dir()
    works(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends a user")
def test_root_writes_through_no_link_of_the_lent_user(home: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("root's")
    (home / "postgres/data/managed.conf").unlink()
    (home / "postgres/data/managed.conf").symlink_to(precious)
    with pytest.raises(DatabaseError, match=r"Permission denied.*managed\.conf"):
        works(home)
    assert precious.read_text() == "root's"


@pytest.mark.skipif(os.geteuid() != 0, reason="a normal user owns what it makes")
def test_a_cluster_of_root_is_refused(home: Path) -> None:
    os.chown(home / "postgres/data", 0, 0)
    with pytest.raises(DatabaseError, match="belongs to root"):
        works(home)
