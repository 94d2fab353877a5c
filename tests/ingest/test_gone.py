"""Files that were renamed or deleted: a renamed board keeps what is known of it, one that is gone is taken off."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sources
from flows.ingest import store, take_off
from models.settings import Settings, settings
from sql.connection import Database
from tasks.decompose import decompose_boards
from tasks.recipes import load_recipes
from tests.decompose.conftest import Plans, settle

TWO = "# Plan\n\n- [ ] Dig the ditch\n- [ ] Fill the ditch\n"
Run = Callable[..., list[str]]


@pytest.fixture
def plans(database_env: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Plans]:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    monkeypatch.chdir(tmp_path)
    with database_env.connect(autocommit=True) as connection:
        yield Plans(connection, load_recipes(Settings()))
    settings.cache_clear()


@pytest.fixture
def run(plans: Plans) -> Run:
    """The steps of a run before anything is executed. Gives what is said of files."""

    def run(*given: str) -> list[str]:
        stored = store.fn(sources.expand(given), None)
        assert stored["unreadable"] == []
        boards = [delta["board_id"] for delta in stored["boards"]]
        said: list[str] = stored["renamed"]
        said += take_off.fn(boards, [os.path.realpath(path) for path in given if os.path.isdir(path)])
        decompose_boards(plans.connection, boards, plans.recipes, plans.wishes)
        if more := take_off.fn(boards, []):
            said += more
            decompose_boards(plans.connection, boards, plans.recipes, plans.wishes)
        return said

    return run


def ask(plans: Plans, name: str) -> int:
    """Send an item to a person."""
    item = plans.item(name)
    plans.connection.execute("update item set status = 3, ready = false where id = %s", [item])
    row = plans.connection.execute(
        "insert into review (subject, kind, item_id, title, reason, error_type)"
        " values ('item:' || %s, 'item', %s, '', '', 'rule') returning id",
        [item, item],
    ).fetchone()
    assert row is not None
    return int(row[0])


def decision(plans: Plans, review: int) -> str | None:
    row = plans.connection.execute("select decision from review where id = %s", [review]).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def cites(plans: Plans) -> set[str]:
    rows = plans.connection.execute("select cite from node where superseded_at is null and kind <> 'answer'")
    return {row[0].partition(":")[0] for row in rows}


@pytest.mark.parametrize("to", ["c.md", "sub/c.md"])
def test_a_renamed_file_keeps_all_that_is_known(plans: Plans, run: Run, tmp_path: Path, to: str) -> None:
    folder = tmp_path / "work"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text(TWO)
    assert run("work") == []
    before = plans.connection.execute("select id, key from item order by id").fetchall()
    review = ask(plans, "a:Dig the ditch")
    settle(plans.connection, [plans.item("a:Fill the ditch")])
    (folder / "a.md").rename(folder / to)

    assert run("work") == [f"work/a.md was renamed to work/{to}."]
    assert plans.states() == {"c:Dig the ditch": "waiting", "c:Fill the ditch": "done"}
    assert plans.connection.execute("select id, key from item order by id").fetchall() == before
    assert decision(plans, review) is None
    assert plans.findings() == []
    assert cites(plans) == {f"work/{to}"}
    assert run("work") == []


def test_a_copy_is_no_rename(plans: Plans, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(TWO)
    run("a.md")
    (tmp_path / "c.md").write_text(TWO)
    assert run("c.md") == []
    assert set(plans.states().values()) == {"ready", "skipped"}
    assert [code for _, code, _ in plans.findings()] == ["duplicate_work"] * 2


def test_findings_elsewhere_name_the_new_file(plans: Plans, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(TWO)
    (tmp_path / "b.md").write_text("# Other\n\n- [ ] Dig the ditch\n")
    run("a.md", "b.md")
    (tmp_path / "a.md").rename(tmp_path / "c.md")
    assert run("c.md") == ["a.md was renamed to c.md."]
    rows = plans.connection.execute("select message from finding where code = 'duplicate_work'").fetchall()
    assert ["(c.md, line 3)" in message for (message,) in rows] == [True]


@pytest.mark.parametrize("given", [".", "c.md"])
def test_a_file_that_is_gone_gives_its_work_to_others(
    plans: Plans, run: Run, tmp_path: Path, given: str
) -> None:
    """Renamed and edited: in a run of the folder, and in one of the new file alone, whose items were refused."""
    (tmp_path / "a.md").write_text(TWO)
    run("a.md")
    review = ask(plans, "a:Dig the ditch")
    settle(plans.connection, [plans.item("a:Fill the ditch")])
    (tmp_path / "a.md").unlink()
    (tmp_path / "c.md").write_text(TWO + "- [ ] Plant a hedge\n")

    (said,) = run(given)
    assert said == "a.md is gone: its 2 items were taken off, 1 open review was closed."
    assert plans.ready() == {"c:Dig the ditch", "c:Fill the ditch", "c:Plant a hedge"}
    assert plans.findings() == []
    assert decision(plans, review) == "superseded"
    assert cites(plans) == {"c.md"}
    removed = plans.states(removed=True)
    assert (removed["a:Dig the ditch"], removed["a:Fill the ditch"]) == ("cancelled", "done")
    assert run(given) == []


def test_a_deleted_file_is_taken_off_and_read_anew_when_it_is_back(
    plans: Plans, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text(TWO)
    (tmp_path / "b.md").write_text("- [ ] Paint it\n")
    run(".")
    settle(plans.connection, [plans.item("a:Fill the ditch")])
    (tmp_path / "a.md").unlink()
    assert run("b.md") == [], "a run of another file says nothing of it: it holds nothing up"
    assert run(".") == ["a.md is gone: its 2 items were taken off."]
    assert plans.states() == {"b:Paint it": "ready"}
    (tmp_path / "a.md").write_text(TWO)
    assert run(".") == []
    assert plans.states()["a:Fill the ditch"] == "done"
    assert plans.states()["a:Dig the ditch"] == "ready"


def test_what_is_no_file_of_this_machine_is_never_gone(plans: Plans, run: Run, tmp_path: Path) -> None:
    one = "- [ ] Dig the ditch\n"
    inbox = tmp_path / "home" / "inbox"
    inbox.mkdir(parents=True)
    (inbox / "a.md").write_text(one)
    run("home/inbox/a.md")
    (inbox / "a.md").unlink()
    (tmp_path / "c.md").write_text(one)
    assert run("c.md") == []
    assert plans.states() == {"a:Dig the ditch": "ready", "c:Dig the ditch": "skipped"}
    for source in ("git:/nowhere:a.md", "stdin:0123456789ab", "github:acme/pumps", "/no/such/drive/a.md"):
        plans.connection.execute("update board set source = %s where source not like '%%/c.md'", [source])
        assert run(".") == []
        rows = plans.connection.execute("select removed_at from item_source").fetchall()
        assert rows == [(None,), (None,)]
    plans.connection.execute(
        "update board set source = %s where source not like '%%/c.md'", [f"{tmp_path}/a.md"]
    )
    assert run("c.md") == ["a.md is gone: its item was taken off."], "the same, of a file that was there"
