"""A drain over a small git repository: a model is given its files, quotes them, and is checked by them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import orjson
import pytest

from flows.execute import stages
from models.calls import ModelAnswer, ModelRequest, Passage
from models.recipe import Evidence, Grounding, Recipe
from models.settings import Settings
from models.verdict import AnswerRow
from sql.connection import Database
from tasks.files import giving
from tasks.recipes import load_recipes
from tasks.validate.patches import patch_problems
from tests.execute.conftest import InProcess, World

PATCH = "It becomes 80:\n```diff\n--- a/src/door.py\n+++ b/src/door.py\n@@ -1 +1 @@\n-LIMIT = 4270\n+LIMIT = 80\n```"
CODE = "LIMIT = 4270\n\n\ndef port() -> int:\n    return LIMIT\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src" / "door.py").write_text(CODE, encoding="utf-8")
    (root / "plan.md").write_text("- [ ] Which port does src/door.py return?\n", encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    giving._indexes.clear()
    return root


def task(tmp_path: Path, **header: object) -> Recipe:
    recipe = load_recipes(Settings(home=tmp_path))["task"]
    values = {"files": 3, "passages": 0, "grounding": Grounding.REQUIRED, "max_attempts": 1, **header}
    return Recipe(
        recipe.header.model_copy(update=values),
        recipe.system,
        recipe.prompt,
        recipe.text,
        recipe.hash,
        recipe.path,
    )


async def run(
    database: Database, repository: Path, tmp_path: Path, answer: str, quote: str, **header: object
) -> World:
    world = World(database, Settings(home=tmp_path / "home", batch_size=16, heartbeat=5.0, retry_delay=0.0))
    world.add(1, board=str(repository / "plan.md"))
    with database.connect() as connection:
        connection.execute("update item_source set title = 'Which port does src/door.py return?'")

    async def reply(request: ModelRequest) -> str:
        assert "[[src/door.py:1-5]]\nLIMIT = 4270" in request.prompt
        cited = [{"cite": "src/door.py:1-5", "quote": quote}]
        return orjson.dumps({"answer": answer, "citations": cited, "confidence": 0.9}).decode()

    recipe = task(tmp_path, **header)
    wired = stages(8192, {"task": recipe}, home=tmp_path / "home")
    await world.drain(InProcess(reply), recipe, stages=wired)
    return world


async def test_an_answer_that_quotes_a_file_is_accepted(
    database: Database, repository: Path, tmp_path: Path
) -> None:
    said = "It returns 4270, the limit at src/door.py:1, as src/door.py:4-5 shows."
    world = await run(database, repository, tmp_path, said, "return LIMIT", verify=[Evidence.FILES])
    assert world.rows("select text, citations -> 0 ->> 'cite' from result") == [(said, "src/door.py:1-5")]


@pytest.mark.parametrize(
    ("answer", "quote", "verify", "check"),
    [
        ("The port is 4270 there.", "return 8080 always", Evidence.FILES, "quote_found"),
        ("The port is 4270, see src/gate.py for the gate.", "return LIMIT", Evidence.FILES, "files"),
        ("The port is 4270, see src/door.py:40-50 for it.", "return LIMIT", Evidence.FILES, "files"),
        (
            PATCH.replace("4270", "9"),
            "return LIMIT",
            Evidence.PATCHES,
            "patches",
        ),
    ],
)
async def test_one_that_invents_is_not(
    database: Database,
    repository: Path,
    tmp_path: Path,
    answer: str,
    quote: str,
    verify: Evidence,
    check: str,
) -> None:
    world = await run(database, repository, tmp_path, answer, quote, verify=[verify])
    assert world.rows("select count(*) from result") == [(0,)]
    [(checks,)] = world.rows("select checks from attempt")
    assert check in {each["check"] for each in checks}


async def test_a_patch_to_a_file_that_was_given_applies(
    database: Database, repository: Path, tmp_path: Path
) -> None:
    world = await run(database, repository, tmp_path, PATCH, "LIMIT = 4270", verify=[Evidence.PATCHES])
    assert world.rows("select count(*) from result") == [(1,)]


def test_a_patch_that_shows_what_was_taken_out_does_not_apply() -> None:
    shown = "KEY = '[redacted: github-token]'\nLIMIT = 4270"
    patch = "--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,2 @@\n KEY = '[redacted: github-token]'\n-LIMIT = 4270\n+LIMIT = 80\n"
    row = AnswerRow(1, "q", ModelAnswer(patch, "m", "stop"), (Passage("a.py:1-2", shown),))
    [problem] = patch_problems(patch, row)
    assert "a secret that was taken out" in problem
