"""What the checks said, as one page: the suites of the recipes, batch after batch, the rows that failed, the figures.

Great Expectations' own Data Docs load from the network when they are opened. This is one file that needs nothing:
no script, no font, no second file; light or dark as the reader's system is. Foreign text is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import orjson
import psycopg

from models.errors import RecipeError
from models.recipe import Check, Recipe
from models.settings import Settings
from sql.statements import statement
from tasks.foreign import cut, visible
from tasks.places import shown
from tasks.recipes import load_recipes
from tasks.validate.explain import Layer, layers_of
from tasks.validate.pages_chart import SPARK, Chart, chart, spark
from tasks.validate.statistics import DAYS, FAILED, LAYERS, RuleCount, Statistics, statistics

MOST_BATCHES = 200
MOST_ROWS = 25
"""Rows that failed, of one batch; the rest is counted, `penstock validation explain` has each."""

STRIP = 60
MOST_RULES = 40
NAME = "validation.html"


@dataclass(frozen=True, slots=True)
class Row:
    """An answer that failed."""

    item_id: int
    place: str
    title: str
    outcome: str
    layers: list[Layer]


@dataclass(frozen=True, slots=True)
class BatchView:
    id: int
    at: str
    recipe: str
    recipe_hash: str
    suite: bool  # the recipe is still there
    current: bool  # and still the same
    backend: str
    model: str
    size: int
    rows: int  # answers that reached the checks; what the call itself refused is not among them
    accepted: int
    retried: int
    deferred: int
    returned: int
    crash: str
    before: list[tuple[str, int]]  # layer and how many rows it failed
    expectations: list[dict[str, Any]]  # as Great Expectations said; those that failed
    failed: int
    shown: list[Row]

    @property
    def mood(self) -> str:
        if self.crash:
            return "bad"
        return "good" if not self.failed else "bad" if self.failed >= self.size else "mixed"


@dataclass(frozen=True, slots=True)
class CheckView:
    says: str
    expect: str
    arguments: str
    optional: bool
    failed: int  # answers of the latest batches that it failed
    crashed: int  # batches in which it could not run


@dataclass(frozen=True, slots=True)
class SuiteView:
    """A recipe's suite as it is now, and how its latest batches went."""

    name: str
    about: str
    recipe_hash: str
    grounding: str
    schema: bool
    checks: list[CheckView]
    strip: list[BatchView]  # oldest first
    checked: int
    failed: int

    @property
    def passed_share(self) -> str:
        return f"{1 - self.failed / self.checked:.0%}" if self.checked else "–"


@dataclass(frozen=True, slots=True)
class TableView:
    """A board's own table, as it was checked when it was read."""

    place: str
    at: str
    rows: int
    success: bool
    crash: str
    expectations: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Page:
    made: str
    scope: str
    suites: list[SuiteView]
    batches: list[BatchView]
    more_batches: int
    boards: list[TableView]
    figures: Statistics
    chart: Chart | None
    simulated: bool

    @property
    def rules(self) -> Sequence[tuple[RuleCount, list[tuple[int, float, str]]]]:
        """Each with its failures day by day."""
        last = max(self.figures.by_day(), default=None)
        shown = self.figures.rules[:MOST_RULES]
        return [(rule, spark(rule.days, last)) for rule in shown] if last is not None else []

    @property
    def used(self) -> list[SuiteView]:
        return [suite for suite in self.suites if suite.checked or suite.strip]

    @property
    def unused(self) -> list[SuiteView]:
        return [suite for suite in self.suites if suite not in self.used]

    @property
    def more_rules(self) -> int:
        return max(0, len(self.figures.rules) - MOST_RULES)


def build(
    connection: psycopg.Connection[Any],
    recipes: Mapping[str, Recipe],
    *,
    boards: Sequence[int] | None = None,
    zone: str = "UTC",
    now: datetime | None = None,
) -> Page:
    """What is stored of these boards (all when None). Reads only."""
    place = ZoneInfo(zone)
    scope: dict[str, Any] = {"boards": None if boards is None else list(boards)}
    found = connection.execute(statement("validate.batches"), scope | {"limit": MOST_BATCHES}).fetchall()
    count = connection.execute(statement("validate.count_batches"), scope).fetchone()
    failing = _failing(connection, scope, [row[0] for row in found])
    batches = [_batch(row, failing.get(row[0], (0, [])), recipes, place) for row in found]
    figures = statistics(connection, boards=boards, zone=zone)
    tables = [_table(row, place) for row in connection.execute(statement("validate.board_tables"), scope)]
    return Page(
        made=_time(now or datetime.now(UTC), place),
        scope=_scope([table.place for table in tables] if boards is not None else None),
        suites=_suites(recipes, batches, figures),
        batches=batches,
        more_batches=max(0, (count[0] if count else 0) - len(batches)),
        boards=tables,
        figures=figures,
        chart=chart(figures.by_day()),
        simulated=any(each.simulated for each in figures.answers),
    )


def render(page: Page) -> str:
    """The page as HTML: one file, that needs nothing else."""
    return _template().render(page=page, days=DAYS, spark_days=SPARK)


def page(
    connection: psycopg.Connection[Any],
    recipes: Mapping[str, Recipe],
    *,
    boards: Sequence[int] | None = None,
    zone: str = "UTC",
) -> str:
    """`build` and `render`."""
    return render(build(connection, recipes, boards=boards, zone=zone))


def beside_report(connection: psycopg.Connection[Any], config: Settings, boards: Sequence[int] | None) -> str:
    """`page`, also where a recipe's file is wrong: what was checked is shown without the suites then.

    Which file it is is said by whoever needs the recipes to run; a report must not be lost for it.
    """
    try:
        recipes: Mapping[str, Recipe] = load_recipes(config)
    except RecipeError:
        recipes = {}
    return page(connection, recipes, boards=boards, zone=config.timezone)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = visible
    environment.filters["cut"] = cut
    return environment.from_string(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))


def _failing(
    connection: psycopg.Connection[Any], scope: Mapping[str, Any], batches: Sequence[int]
) -> dict[int, tuple[int, list[Row]]]:
    """By batch how many rows failed, and the first of them."""
    found: dict[int, tuple[int, list[Row]]] = {}
    parameters = {**scope, "batches": list(batches), "charged": list(FAILED), "most": MOST_ROWS}
    for batch, failed, item, source, line, title, outcome, error_type, error, checks in connection.execute(
        statement("validate.unexpected"), parameters
    ):
        place = f"{shown(source)}:{line}"
        found.setdefault(batch, (failed, []))[1].append(
            Row(item, place, title, outcome, layers_of(checks, error_type, error))
        )
    return found


def _batch(
    row: Sequence[Any], failing: tuple[int, list[Row]], recipes: Mapping[str, Recipe], zone: ZoneInfo
) -> BatchView:
    (number, at, recipe, recipe_hash, backend, model, size, accepted, retried, deferred, returned, said) = row
    said = said if isinstance(said, dict) else {}
    now = recipes.get(recipe) if recipe in recipes else None
    before = said.get("failed_before") or {}
    return BatchView(
        id=number,
        at=_time(at, zone),
        recipe=recipe,
        recipe_hash=recipe_hash[:12],
        suite=now is not None,
        current=now is not None and now.hash == recipe_hash,
        backend=backend,
        model=model,
        size=size,
        rows=int(said.get("rows") or 0),
        accepted=accepted,
        retried=retried,
        deferred=deferred,
        returned=returned,
        crash=str(said.get("crash") or ""),
        before=sorted(before.items(), key=lambda each: _place(each[0])),
        expectations=[each for each in _expectations(said) if not each["success"]],
        failed=failing[0],
        shown=failing[1],
    )


def _suites(
    recipes: Mapping[str, Recipe], batches: Sequence[BatchView], figures: Statistics
) -> list[SuiteView]:
    """Those that were used first, by how many answers; then the others by name."""
    views = []
    for name, recipe in recipes.items():
        own = [batch for batch in batches if batch.recipe == name]
        answers = [each for each in figures.answers if each.recipe == name]
        views.append(
            SuiteView(
                name,
                recipe.header.about,
                recipe.hash[:12],
                str(recipe.header.grounding),
                recipe.header.answer_schema is not None,
                list(_checks(recipe.header.checks, own)),
                list(reversed(own[:STRIP])),
                sum(each.checked for each in answers),
                sum(each.failed for each in answers),
            )
        )
    return sorted(views, key=lambda view: (-view.checked, view.name))


def _checks(checks: Sequence[Check], batches: Sequence[BatchView]) -> Iterable[CheckView]:
    """Each expectation with how often it failed, by its words: a recipe may have two of one type on one column."""
    failed: Counter[str] = Counter()
    crashed: Counter[str] = Counter()
    for batch in batches:
        for each in batch.expectations:
            failed[each["says"]] += int(each.get("unexpected") or 0)
            crashed[each["says"]] += bool(each.get("crash"))
    for check in checks:
        yield CheckView(
            check.says,
            check.expect,
            orjson.dumps(check.with_).decode(),
            check.optional,
            failed[check.says],
            crashed[check.says],
        )


def _table(row: Sequence[Any], zone: ZoneInfo) -> TableView:
    _, source, at, said = row
    said = said if isinstance(said, dict) else {}
    return TableView(
        shown(source),
        _time(at, zone),
        int(said.get("rows") or 0),
        bool(said.get("success")),
        str(said.get("crash") or ""),
        _expectations(said),
    )


def _expectations(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As the engine wrote them; what is not of that form is left out, it may be an older one."""
    listed = said.get("expectations")
    return [
        {
            "says": str(each.get("says") or each.get("expectation") or ""),
            "expectation": str(each.get("expectation") or ""),
            "success": bool(each.get("success")),
            "unexpected": each.get("unexpected"),
            "crash": str(each.get("crash") or ""),
        }
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict)
    ]


def _place(layer: str) -> int:
    return LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def _scope(places: Sequence[str] | None) -> str:
    if places is None:
        return "all boards"
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return ", ".join(places[:3]) + more if places else "boards without a table"


def _time(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"
