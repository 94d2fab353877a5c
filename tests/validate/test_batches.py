"""All layers over a batch, with the real Great Expectations."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from models.enums import ErrorType
from models.recipe import Check, Recipe
from models.verdict import AnswerRow, BatchVerdict, Verdict
from tasks.recipes import Recipes
from tasks.validate import COLUMNS, rules, validate_batch, warm_up
from tasks.validate.engine import ENGINE, _Loaded


async def verdict_of(recipe: Recipe, row: AnswerRow) -> Verdict:
    return (await validate_batch(recipe, [row])).verdicts[row.item_id]


def types(verdict: Verdict) -> list[ErrorType]:
    return [failure.error_type for failure in verdict.failures]


MakeRow = Callable[..., AnswerRow]
MakeRecipe = Callable[..., Recipe]


def check(expect: str, with_: dict[str, Any], **more: Any) -> str:
    return (
        "  - " + json.dumps({"expect": expect, "with": with_, "says": "Expected otherwise.", **more}) + "\n"
    )


async def test_good_and_bad_rows_are_known_by_id(recipes: Recipes, make_row: MakeRow) -> None:
    rows = [
        make_row(101),
        make_row(7, confidence=0.1),
        make_row(55, quote="listens on port 8080"),
        make_row(3, answer="Which port does the door listen on?"),
        make_row(9, text=""),
        make_row(12, text="The port is 4270."),
        make_row(8, confidence=7),
        make_row(2, answer="x"),
        make_row(4, text='{"answer": "cut', finish_reason="length"),
        make_row(5, passages=()),
        make_row(6, answer=" "),
    ]
    batch = await validate_batch(recipes["task"], rows)
    assert {item_id: types(verdict) for item_id, verdict in batch.verdicts.items()} == {
        101: [],
        7: [ErrorType.RULE],
        55: [ErrorType.GROUNDING],
        3: [ErrorType.ECHO],
        9: [ErrorType.EMPTY],
        12: [ErrorType.MALFORMED],
        8: [ErrorType.SCHEMA],
        2: [ErrorType.RULE],
        4: [ErrorType.TRUNCATED],
        5: [ErrorType.NO_EVIDENCE],
        6: [ErrorType.EMPTY],
    }
    good = batch.verdicts[101]
    assert good.passed
    assert good.text == "The port is 4270."
    assert good.data is not None
    assert good.data["confidence"] == 0.9
    assert good.citations == ({"cite": "docs/ops.md:12-18", "quote": "listens on port 4270"},)
    assert batch.verdicts[7].failures[0].message == (
        "The model itself holds the answer for unlikely; it must give 0.3 at least. (seen: confidence 0.1)"
    )
    assert "At 'confidence': 7 is greater than the maximum of 1" in batch.verdicts[8].failures[0].message


async def test_the_record_is_compact_json(recipes: Recipes, make_row: MakeRow) -> None:
    rows = [make_row(n, confidence=0.1 if n % 2 else 0.9) for n in range(200)]
    validation = (await validate_batch(recipes["task"], rows)).validation
    written = orjson.dumps(validation)  # refuses numpy values
    assert len(written) < 2000
    assert validation["rows"] == 200
    assert validation["success"] is False
    assert validation["expectations"][-1]["unexpected"] == 100


async def test_no_rows_need_no_engine(recipes: Recipes) -> None:
    assert (await validate_batch(recipes["task"], [])).verdicts == {}


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("HOLDS: the log of 12 May shows the port open.", True),
        ("FAILS: the error is in line 3, and nobody mended it.", True),
        ("UNKNOWN: no passage speaks of it; a log would show it.", False),
        ("The door listens on port 4270.", False),
        ("HOLDS: yes", False),
    ],
)
async def test_a_check_needs_a_verdict(
    recipes: Recipes, make_row: MakeRow, answer: str, passes: bool
) -> None:
    assert (await verdict_of(recipes["check"], make_row(answer=answer))).passed is passes


@pytest.mark.parametrize(
    ("subtasks", "passes"),
    [
        ([{"title": "Write it", "acceptance": ["it is there"]}] * 2, True),
        ([{"title": "Write it", "acceptance": ["it is there"]}], False),
        ([{"title": "Write it", "acceptance": []}, {"title": "Test it", "acceptance": ["green"]}], False),
        ([{"title": "Write it", "acceptance": ["it is there"]}] * 9, False),
    ],
)
async def test_a_split_has_acceptance_criteria(
    recipes: Recipes, make_row: MakeRow, subtasks: list[dict[str, Any]], passes: bool
) -> None:
    verdict = await verdict_of(recipes["split"], make_row(text=json.dumps({"subtasks": subtasks})))
    assert verdict.passed is passes
    assert verdict.data == {"subtasks": subtasks}
    assert verdict.text.startswith("- title: Write it")


async def test_a_consult_brief_passes_its_checks(recipes: Recipes, make_row: MakeRow) -> None:
    assert (await verdict_of(recipes["consult"], make_row(answer="Which of the two ports is it?"))).passed
    assert not (await verdict_of(recipes["consult"], make_row(answer="No."))).passed


async def test_every_column_can_be_checked(make_recipe: MakeRecipe, make_row: MakeRow) -> None:
    recipe = make_recipe(
        "".join(check("expect_column_values_to_not_be_null", {"column": name}) for name in COLUMNS),
        "grounding: none\nanswer_schema: {type: object, properties: {answer: {type: string}}}",
    )
    assert (await verdict_of(recipe, make_row())).failures == ()


async def test_properties_of_the_answer_can_be_checked(make_recipe: MakeRecipe, make_row: MakeRow) -> None:
    recipe = make_recipe(
        check("expect_column_values_to_be_in_set", {"column": "answer.level", "value_set": ["low", "high"]})
        + check("expect_column_values_to_be_between", {"column": "answer.list", "max_value": 1}),
        "grounding: none\n"
        "answer_schema: {type: object, properties: {answer: {}, level: {type: string}, list: {type: array}}}",
    )

    def answer(item_id: int, **more: Any) -> AnswerRow:
        return make_row(item_id, text=json.dumps({"answer": "a", "level": "low", "list": [], **more}))

    rows = [answer(1), answer(2, level="mid"), answer(3, list=[1, 2]), answer(4, level="mid", list=[1, 2])]
    batch = await validate_batch(recipe, rows)
    assert {n: len(verdict.failures) for n, verdict in batch.verdicts.items()} == {1: 0, 2: 1, 3: 1, 4: 2}


async def test_a_missing_value_is_no_pass_unless_the_check_is_optional(
    make_recipe: MakeRecipe, make_row: MakeRow
) -> None:
    between = ("expect_column_values_to_be_between", {"column": "prompt_tokens", "max_value": 200})
    rows = [make_row(1), make_row(2, prompt_tokens=None), make_row(3, prompt_tokens=300)]
    strict = await validate_batch(make_recipe(check(*between)), rows)
    assert {n: verdict.passed for n, verdict in strict.verdicts.items()} == {1: True, 2: False, 3: False}
    assert strict.verdicts[2].failures[0].message == "Expected otherwise. (seen: prompt_tokens: no value)"
    strict = await validate_batch(make_recipe(check(*between)), rows[:2])
    assert strict.validation["success"] is False
    lenient = await validate_batch(make_recipe(check(*between, optional=True)), rows)
    assert {n: verdict.passed for n, verdict in lenient.verdicts.items()} == {1: True, 2: True, 3: False}


async def test_a_check_of_the_batch_as_a_whole_fails_all_rows(
    make_recipe: MakeRecipe, make_row: MakeRow
) -> None:
    recipe = make_recipe(check("expect_column_mean_to_be_between", {"column": "length", "min_value": 1000}))
    batch = await validate_batch(recipe, [make_row(1), make_row(2)])
    assert [types(verdict) for verdict in batch.verdicts.values()] == [[ErrorType.RULE]] * 2
    assert "the batch as a whole" in batch.verdicts[1].failures[0].message


@pytest.mark.parametrize(
    ("expect", "with_", "said"),
    [
        ("expect_column_values_to_be_between", {"column": "text", "min_value": 1}, "could not run"),
        ("expect_column_values_to_be_between", {"column": "length", "minimum": 1}, "minimum"),
        ("expect_column_values_to_be_between", {"column": "length"}, "cannot both be None"),
    ],
)
async def test_a_check_that_cannot_run_is_no_pass(
    make_recipe: MakeRecipe, make_row: MakeRow, expect: str, with_: dict[str, Any], said: str
) -> None:
    recipe = make_recipe(
        check(expect, with_)
        + check("expect_column_values_to_be_between", {"column": "words", "max_value": 5})
    )
    batch = await validate_batch(recipe, [make_row(1, text="a b"), make_row(2, text="a b c d e f")])
    assert types(batch.verdicts[1]) == [ErrorType.CHECK_CRASHED]
    assert set(types(batch.verdicts[2])) == {ErrorType.CHECK_CRASHED, ErrorType.RULE}
    assert said in batch.verdicts[1].failures[0].message
    assert batch.validation["success"] is False


async def test_two_answers_for_one_item_both_fail(recipes: Recipes, make_row: MakeRow) -> None:
    batch = await validate_batch(recipes["task"], [make_row(1), make_row(2), make_row(1)])
    assert batch.verdicts[2].passed
    assert types(batch.verdicts[1]) == [ErrorType.CHECK_CRASHED] * 2
    assert "2 answers for item 1" in batch.verdicts[1].failures[0].message


async def test_a_schema_that_cannot_be_applied_is_no_pass(recipes: Recipes, make_row: MakeRow) -> None:
    schema = {"type": "object", "properties": {"answer": {"$ref": "http://127.0.0.1:9/none.json"}}}
    task = recipes["task"]
    broken = replace(task, hash="broken", header=task.header.model_copy(update={"answer_schema": schema}))
    verdict = await verdict_of(broken, make_row())
    assert types(verdict) == [ErrorType.CHECK_CRASHED]


async def test_checks_that_take_too_long_are_no_pass(recipes: Recipes, make_row: MakeRow) -> None:
    held = asyncio.Event()
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold() -> None:
        loop.call_soon_threadsafe(held.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)

    holding = ENGINE.submit(hold)
    await asyncio.wait_for(held.wait(), 30)
    batch = await validate_batch(recipes["task"], [make_row(1)], deadline_seconds=0.01)
    assert types(batch.verdicts[1]) == [ErrorType.CHECK_CRASHED]
    assert "did not end within 0.01 seconds" in batch.verdicts[1].failures[0].message
    release.set()
    await asyncio.wrap_future(holding)
    assert (await verdict_of(recipes["task"], make_row())).passed


async def test_a_check_that_never_ends_holds_up_no_other(recipes: Recipes, make_row: MakeRow) -> None:
    """Else every later answer would wait for its deadline, and go to a person unchecked."""
    release = threading.Event()
    holding = ENGINE.submit(release.wait, 60)
    try:
        stuck = await validate_batch(recipes["task"], [make_row(1)], deadline_seconds=0.05)
        assert types(stuck.verdicts[1]) == [ErrorType.CHECK_CRASHED]
        assert (await verdict_of(recipes["task"], make_row())).passed
        assert not holding.done()
    finally:
        release.set()
    assert await asyncio.wrap_future(holding)
    assert (await verdict_of(recipes["task"], make_row())).passed


def test_a_check_that_never_ends_keeps_no_process() -> None:
    code = (
        "import threading; from tasks.validate import engine; import atexit; atexit.unregister(engine.ENGINE.close);"
        "atexit.register(engine.ENGINE.close, 0.1); engine.ENGINE.submit(threading.Event().wait); print('over')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert (ended.stdout, ended.stderr) == ("over\n", "")


def fails(*_: object, **__: object) -> Any:
    raise RuntimeError("the library fell over")


@pytest.mark.parametrize(
    ("where", "how", "said"),
    [
        ((_Loaded, "__init__"), fails, "the library fell over"),  # its import
        ((_Loaded, "_validate"), fails, "the library fell over"),
        ((_Loaded, "run"), lambda *_: [], "checks have 0 outcomes"),  # it says nothing of what it was asked
        ((rules, "table"), fails, "the library fell over"),
    ],
)
async def test_great_expectations_that_falls_over_lets_nothing_pass(
    recipes: Recipes,
    make_row: MakeRow,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[Any, str],
    how: Any,
    said: str,
) -> None:
    ENGINE.close()  # a thread without the library, as at first
    rows = [make_row(1), make_row(2, text="")]
    with monkeypatch.context() as patch:
        patch.setattr(*where, how)
        batch = await validate_batch(recipes["task"], rows)
    assert all(ErrorType.CHECK_CRASHED in types(verdict) for verdict in batch.verdicts.values())
    assert said in batch.verdicts[1].failures[0].message
    assert batch.validation["success"] is False
    ENGINE.close()
    assert (await verdict_of(recipes["task"], make_row())).passed


def explosive() -> str:
    """Defines an expectation whose metric raises, as one of somebody's own may; in the engine's thread."""
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.expectation import ColumnMapExpectation
    from great_expectations.expectations.metrics import ColumnMapMetricProvider, column_condition_partial

    class Explodes(ColumnMapMetricProvider):  # type: ignore[misc]
        condition_metric_name = "column_values.explodes"

        @column_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
        def _pandas(cls, column: Any, **_: Any) -> Any:
            raise ZeroDivisionError("of its own making")

    class ExpectColumnValuesToExplode(ColumnMapExpectation):  # type: ignore[misc]
        map_metric = "column_values.explodes"

    return str(ExpectColumnValuesToExplode.expectation_type)


async def test_an_expectation_of_somebody_s_own_that_raises_fails_all_rows(
    recipes: Recipes, make_row: MakeRow
) -> None:
    name = await asyncio.wrap_future(ENGINE.submit(explosive))
    task = recipes["task"]
    own = Check.model_validate({"expect": name, "with": {"column": "text"}, "says": "never said"})
    header = task.header.model_copy(update={"checks": [*task.header.checks, own]})
    batch = await validate_batch(
        replace(task, hash="explosive", header=header), [make_row(1), make_row(2, confidence=0.1)]
    )
    assert types(batch.verdicts[1]) == [ErrorType.CHECK_CRASHED]
    assert "of its own making" in batch.verdicts[1].failures[0].message
    assert set(types(batch.verdicts[2])) == {ErrorType.CHECK_CRASHED, ErrorType.RULE}
    assert (await verdict_of(task, make_row())).passed


async def test_concurrent_batches_get_their_own_rows(recipes: Recipes, make_row: MakeRow) -> None:
    """A shared batch definition gives threads each other's rows without any error; ours may not."""
    warm_up()

    async def one(number: int) -> tuple[int, BatchVerdict]:
        rows = [
            make_row(number * 100 + n, f"Batch {number}, row {n}.", confidence=0.1 if n == number else 0.9)
            for n in range(12)
        ]
        return number, await validate_batch(recipes["task"], rows)

    def in_a_loop_of_its_own(number: int) -> tuple[int, BatchVerdict]:
        return asyncio.run(one(number))

    here = [one(number) for number in range(6)]
    elsewhere = [asyncio.to_thread(in_a_loop_of_its_own, number) for number in range(6, 12)]
    for number, batch in await asyncio.gather(*here, *elsewhere):
        assert list(batch.verdicts) == [number * 100 + n for n in range(12)]
        assert [n for n in range(12) if not batch.verdicts[number * 100 + n].passed] == [number]
        assert all(
            verdict.text == f"Batch {number}, row {item_id - number * 100}."
            for item_id, verdict in batch.verdicts.items()
        )
