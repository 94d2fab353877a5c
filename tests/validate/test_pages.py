"""The page of what the checks said: complete, offline, and safe with what others wrote."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recipe import Recipe
from models.settings import Settings
from sql.connection import Database
from tasks.validate import pages
from tasks.validate.pages import beside_report, build, render
from tasks.validate.pages_chart import HEIGHT, SPARK, WIDTH, chart, spark

from .kept import Kept

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
EVIL = "<script>alert(1)</script> \"&' <img src=http://x/y>"
RULE = {
    "layer": "rules",
    "check": "expect_x(words)",
    "error_type": "rule",
    "message": f"Too short (seen: {EVIL})",
}
VALIDATION = {
    "suite": "mine",
    "rows": 8,
    "failed_before": {"shape": 1},
    "success": False,
    "expectations": [
        {
            "expectation": "expect_x",
            "with": {},
            "says": "An answer has three words.",
            "success": False,
            "unexpected": 2,
        },
        {"expectation": "expect_y", "with": {}, "says": "It ends.", "success": True},
    ],
}


class Reader(HTMLParser):
    """All elements, in balance, and where they lead."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.leads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has a script in {name}"
            if name in ("href", "src", "action", "data", "xlink:href"):
                self.leads.append(value or "")
            if name == "id":
                assert value not in self.ids
                self.ids.add(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def kept(database: Database) -> Kept:
    return Kept(database, f"/boards/{EVIL}.md")


def read(kept: Kept, recipes: dict[str, Recipe], **scope: object) -> str:
    with kept.database.connect() as connection:
        return render(build(connection, recipes, now=NOW, **scope))  # type: ignore[arg-type]


def test_it_has_the_suites_the_batches_and_the_rows_that_failed(
    kept: Kept, recipes: dict[str, Recipe]
) -> None:
    batch = kept.batch(VALIDATION, recipe="task")
    bad = kept.item(f"How deep {EVIL}?", recipe="task")
    kept.attempt(bad, batch, "Deep.", "retry", error_type="rule", checks=[RULE])
    kept.attempt(kept.item("Which pump?", recipe="task"), batch, "Pump seven.")
    text = read(kept, recipes)
    page = Reader(text)
    assert page.open == []
    for recipe in recipes.values():
        assert f'id="suite-{recipe.name}"' in text
        assert all(check.expect in text for check in recipe.header.checks)
    assert f'id="batch-{batch}"' in text
    assert f'<td class="n">{bad}</td>' in text
    assert "1 of 8 failed" in text
    assert "Failed before the rules: shape 1" in text
    assert "An answer has three words. <strong>2 rows</strong>" in text
    assert "Too short" in text
    assert "It ends." not in text, "of a batch only what failed is told"


def test_it_needs_no_network_and_no_script(kept: Kept, recipes: dict[str, Recipe]) -> None:
    kept.attempt(
        kept.item(EVIL), kept.batch(VALIDATION, model=EVIL), EVIL, "retry", error_type="rule", checks=[RULE]
    )
    text = read(kept, recipes)
    page = Reader(text)
    assert page.seen.isdisjoint({"script", "img", "link", "iframe", "object", "embed", "form", "base"})
    assert page.leads
    assert all(lead.startswith("#") and lead[1:] in page.ids for lead in page.leads)
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in style


def test_an_empty_database_has_a_page_too(database: Database, recipes: dict[str, Recipe]) -> None:
    with database.connect() as connection:
        text = render(build(connection, recipes))
    assert Reader(text).open == []
    assert "No batch was checked yet" in text
    assert "No check failed." in text


def test_of_many_batches_the_latest_are_shown_and_the_others_counted(
    kept: Kept, recipes: dict[str, Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_BATCHES", 2)
    numbers = [kept.batch(VALIDATION, recipe="task") for _ in range(5)]
    text = read(kept, recipes)
    assert [f'id="batch-{number}"' in text for number in numbers] == [False, False, False, True, True]
    assert "The latest 2; 3 older ones are not shown." in text


def test_of_many_rows_the_first_are_shown_and_all_are_counted(
    kept: Kept, recipes: dict[str, Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_ROWS", 2)
    batch = kept.batch(VALIDATION)
    for number in range(5):
        item = kept.item(f"question {number}")
        kept.attempt(item, batch, "x", "retry", error_type="rule", checks=[RULE])
    text = read(kept, recipes)
    assert [f"question {number}" in text for number in range(5)] == [True, True, False, False, False]
    assert "5 of 8 failed" in text
    assert "3 more." in text


def test_of_some_boards_only_their_batches_and_rows(kept: Kept, recipes: dict[str, Recipe]) -> None:
    other = Kept(kept.database, "/boards/other.md")
    batch = kept.batch(VALIDATION)
    kept.attempt(kept.item("mine it is"), batch, "x", "retry", error_type="rule", checks=[RULE])
    other.attempt(other.item("theirs it is"), batch, "x", "retry", error_type="rule", checks=[RULE])
    text = read(kept, recipes, boards=[other.board])
    assert "theirs it is" in text
    assert "mine it is" not in text
    assert "other.md" in text
    third = Kept(kept.database, "/boards/third.md")
    assert "No batch was checked yet" in read(kept, recipes, boards=[third.board])


def test_checks_that_could_not_run_are_said(kept: Kept, recipes: dict[str, Recipe]) -> None:
    kept.batch(
        {"suite": "mine", "rows": 4, "success": False, "crash": "The checks could not run: out of it."}
    )
    said = {
        "says": "An answer has words.",
        "success": False,
        "crash": "no such column",
        "expectation": "e",
        "with": {},
    }
    kept.batch({"suite": "mine", "rows": 4, "success": False, "expectations": [said]})
    text = read(kept, recipes)
    assert "checks could not run" in text
    assert "The checks could not run: out of it." in text
    assert "could not run: no such column" in text


def test_a_recipe_that_is_wrong_costs_the_suites_and_not_the_page(kept: Kept, settings_env: object) -> None:
    config = Settings()
    kept.batch(VALIDATION)
    folder = config.home / "recipes"
    folder.mkdir(parents=True)
    with kept.database.connect() as connection:
        assert 'id="suite-task"' in beside_report(connection, config, None)
        (folder / "bad.md").write_text("no recipe", encoding="utf-8")
        text = beside_report(connection, config, None)
    assert 'id="suite-task"' not in text
    assert "An answer has three words." in text


DAY = date(2026, 11, 27)
DAYS = st.dictionaries(
    st.integers(0, 400).map(lambda days: DAY - timedelta(days=days)),
    st.integers(0, 10**6).flatmap(lambda checked: st.tuples(st.just(checked), st.integers(0, checked))),
    max_size=40,
)


@given(DAYS)
def test_bars_stay_inside_and_are_as_high_as_their_numbers(counts: dict[date, tuple[int, int]]) -> None:
    found = chart(counts)
    if not counts:
        assert found is None
        return
    assert found is not None
    for bar in found.bars:
        assert 0 <= bar.top <= bar.middle <= bar.bottom <= HEIGHT
        assert bar.x + bar.width <= WIDTH
    places = [bar.x for bar in found.bars]
    assert places == sorted(set(places))
    last = max(counts)
    shown = {day: each for day, each in counts.items() if (last - day).days < 90 and each[0]}
    assert [re.sub(r":.*", "", bar.says) for bar in found.bars] == [str(day) for day in sorted(shown)]


@given(
    st.dictionaries(st.integers(0, 60).map(lambda days: DAY - timedelta(days=days)), st.integers(1, 10**6))
)
def test_a_small_chart_has_a_bar_for_each_of_its_days(counts: dict[date, int]) -> None:
    found = spark(counts, DAY)
    assert len(found) == sum((DAY - day).days < SPARK for day in counts)
    assert all(0 < height <= 16 and 0 <= x < SPARK * 4 for x, height, _ in found)
