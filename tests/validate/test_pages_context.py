"""The recipes as a Great Expectations project: another process runs its checkpoints as its users do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models.errors import InputError
from tasks.recipes import Recipes
from tasks.validate import validate_batch
from tasks.validate.pages_context import write_context

if TYPE_CHECKING:
    from .conftest import MakeRecipe, MakeRow

AS_ITS_USERS_DO = """
import json, sys
import great_expectations as gx, pandas as pd
context = gx.get_context(mode="file", project_root_dir=sys.argv[1])
frame = pd.DataFrame({"item_id": [7, 8], "in_order": [True, True], "length": [40, 1], "confidence": [0.9, 0.9]})
result = context.checkpoints.get("task").run(batch_parameters={"dataframe": frame})
[run] = result.run_results.values()
print(json.dumps({
    "suites": sorted(suite.name for suite in context.suites.all()),
    "telemetry": context.variables.config.analytics_enabled,
    "failed": [
        [each.expectation_config.notes, [int(row["item_id"]) for row in each.result["unexpected_index_list"]]]
        for each in run.results if not each.success
    ],
}))
"""


def read(folder: Path) -> dict[str, object]:
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AS_ITS_USERS_DO, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    assert said.returncode == 0, said.stderr
    found: dict[str, object] = json.loads(said.stdout.splitlines()[-1])
    return found


async def test_a_checkpoint_of_the_project_names_the_rows_that_fail(
    recipes: Recipes, tmp_path: Path, make_row: MakeRow
) -> None:
    assert write_context(recipes, tmp_path / "project") == tmp_path / "project" / "gx"
    assert read(tmp_path / "project") == {
        "suites": sorted(recipes),
        "telemetry": False,
        "failed": [["An answer has 2 to 20,000 characters.", [8]]],
    }
    verdicts = (await validate_batch(recipes["task"], [make_row(1)])).verdicts
    assert verdicts[1].passed, "this process checks on, with a context of its own"


def test_it_is_renewed_and_keeps_what_others_added(
    recipes: Recipes, tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    mine = make_recipe(
        "  - expect: expect_column_values_to_be_between\n"
        "    with: {column: words, min_value: 3}\n    says: Three words.\n"
    )
    write_context({"mine": mine}, tmp_path / "project")
    folder = tmp_path / "project" / "gx" / "expectations"
    theirs = json.loads((folder / "mine.json").read_text(encoding="utf-8")) | {"name": "theirs", "meta": {}}
    theirs.pop("id")
    (folder / "theirs.json").write_text(json.dumps(theirs), encoding="utf-8")
    write_context({"task": recipes["task"]}, tmp_path / "project")
    assert sorted(path.stem for path in folder.glob("*.json")) == ["task", "theirs"]
    assert [path.stem for path in (folder.parent / "checkpoints").glob("*.json")] == ["task"]


def test_what_can_not_be_written_or_used_is_one_sentence(
    recipes: Recipes, tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="Name another folder with --out"):
        write_context(recipes, tmp_path / "file")
    bad = make_recipe(
        "  - expect: expect_column_values_to_be_between\n    with: {column: words}\n    says: Nothing.\n"
    )
    with pytest.raises(
        InputError, match=r"mine\.md: the check expect_column_values_to_be_between can't be used"
    ):
        write_context({"mine": bad}, tmp_path / "project")
