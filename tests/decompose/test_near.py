"""Near duplicates: told, never dropped; what means another thing is not one."""

from __future__ import annotations

import time

import pytest

from tasks.decompose import near
from tasks.decompose.near import Open, alike, find_near, pairs
from tasks.remember.embedding import default_encoder
from tests.decompose.conftest import Plans


def found(*titles: str) -> list[tuple[str, str]]:
    items = [Open(n, 1, "task", None, title, "", n + 1, "", "/a.md") for n, title in enumerate(titles)]
    return [(item.title, other.title) for item, other in pairs(items, default_encoder())]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Add tests for login", "Add tests for the login"),
        ("Add login tests", "Add tests for login"),
        ("Fix typo in README", "Fix typos in README"),
        ("Update the documentation", "Update documentation"),
        ("Implement user registration form", "Implement the user registration form."),
        ("Настроить резервное копирование", "Настроить резервное копирования"),
        ("Die Anmeldung testen", "Anmeldung testen"),
    ],
)
def test_the_same_in_other_words_is_told(one: str, other: str) -> None:
    assert found(one, other) == [(other, one)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Enable the nightly backup of the database", "Disable the nightly backup of the database"),
        ("Run the migration of phase 1", "Run the migration of phase 2"),
        ("Install the monitoring agent on the server", "Uninstall the monitoring agent on the server"),
        ("Encrypt the customer records at rest", "Decrypt the customer records at rest"),
        ("Deploy the release to staging cluster", "Deploy the release to production cluster"),
        ("Merge the branch with the tests", "Merge the branch without the tests"),
        ("Send the report to Anna", "Send the report to Anne"),
        ("Send the report to the client", "Do not send the report to the client"),
        ("Update the handler in src/api.py", "Update the handler in src/app.py"),
        ("Rename the column user_id", "Rename the column user_ids"),
        ("Включить уведомления для всех клиентов", "Выключить уведомления для всех клиентов"),
        ("Отправлять отчёт клиентам", "Не отправлять отчёт клиентам"),
        ("Passwort aktivieren für alle Nutzer", "Passwort deaktivieren für alle Nutzer"),
        ("Upgrade Postgres to version 15", "Upgrade Postgres to version 16"),
    ],
)
def test_another_thing_in_nearly_the_same_words_is_not(one: str, other: str) -> None:
    assert found(one, other) == []
    left, right = (
        Open(n, 1, "task", None, title, "", n, "", "/a.md") for n, title in enumerate((one, other))
    )
    assert not alike(left, right)


def test_the_body_and_what_it_stands_under_count() -> None:
    one = Open(1, 1, "task", None, "Add tests", "for 3 cases", 1, "Login", "/a.md")
    assert alike(one, Open(2, 1, "task", None, "Add the tests", "for the 3 cases", 2, "Login", "/a.md"))
    assert not alike(one, Open(2, 1, "task", None, "Add the tests", "for the 4 cases", 2, "Login", "/a.md"))
    assert not alike(one, Open(2, 1, "task", None, "Add the tests", "for the 3 cases", 2, "Search", "/a.md"))


def test_the_finding_names_the_other_and_both_are_run(plans: Plans) -> None:
    ids = plans.run(a="- [ ] Add tests for login\n- [ ] Other thing\n", b="\n- [ ] Add tests for the login\n")
    assert find_near(plans.connection, ids) == []
    assert plans.findings() == [("b", "near_duplicate", 2)]
    row = plans.connection.execute("select severity, message from finding").fetchone()
    assert row is not None
    assert row[0] == "info"
    assert "'Add tests for login' (a.md, line 1)" in row[1]
    assert len(plans.ready()) == 3
    plans.settle("a:Add tests for login")
    find_near(plans.connection, ids)
    assert plans.findings() == []


def test_more_than_can_be_compared_is_said(plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MOST", 2)
    ids = plans.run(a="- [ ] Add tests for login\n- [ ] Add tests for the login\n- [ ] Other\n")
    assert find_near(plans.connection, ids) == ["task"]
    assert plans.findings() == []


def test_as_many_as_are_compared_take_seconds() -> None:
    items = [
        Open(n, 1, "task", None, f"Say what number {n:06} of the list is about", "", n, "", "/a.md")
        for n in range(near.MOST)
    ]
    began = time.perf_counter()
    assert list(pairs(items, default_encoder())) == []
    assert time.perf_counter() - began < 30  # about 3 s
