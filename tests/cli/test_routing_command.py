"""`penstock routing`: of each model what it did, simulated ones by themselves, what is not known as such."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from models.settings import Settings
from tasks.recipes import load_recipes

TRIES = """
with board as (
  insert into board (source, dialect, encoding, sha256) values ('/routing.md', 'gfm', 'utf-8', '') returning id
), item as (
  insert into item (board_id, key, position, status)
  select id, gen_random_uuid(), n, 4 from board, generate_series(1, 30) n
  returning id, position
), version as (insert into recipe (hash, name, text) values (%(hash)s, 'task', '') on conflict do nothing),
batch as (
  insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size, explores)
  values (1, 'ollama', 'http://a', 'slow', 'task', %(hash)s, 20, false),
         (1, 'ollama', 'http://a', 'quick', 'task', %(hash)s, 8, true),
         (1, 'ollama', 'http://s', 'made', 'task', %(hash)s, 2, false)
  returning id, model
)
insert into attempt (item_id, number, batch_id, model, prompt_hash, seconds, outcome, error_type, cost, simulated)
select item.id, 1, batch.id, batch.model, '', case batch.model when 'slow' then 2 else 1 end,
       case when position %% 2 = 0 then 'retry' else 'accepted' end, case when position %% 2 = 0 then 'rule' end,
       case batch.model when 'quick' then 0.001 end, batch.model = 'made'
  from item
  join batch on batch.model = case when position <= 20 then 'slow' when position <= 28 then 'quick' else 'made' end
"""


@pytest.fixture
def tried(penstock: Any) -> Any:
    with penstock.database.connect() as connection:
        connection.execute(TRIES, {"hash": load_recipes(Settings())["task"].hash})
    yield penstock
    with penstock.database.connect() as connection:
        connection.execute("truncate board, batch, attempt cascade")


def test_figures_of_each_model(tried: Any) -> None:
    found = {each["model"]: each for each in orjson.loads(tried("routing", "--json").out)}
    assert set(found) == {"slow", "quick", "made"}
    slow, quick, made = found["slow"], found["quick"], found["made"]
    assert (slow["tries"], slow["passed"], slow["accepted"], slow["seconds"]) == (20, 10, 0.5, 2.0)
    assert (slow["cost"], quick["cost"]) == (None, 0.001)
    assert (slow["items"], quick["items"], quick["explored"]) == (20, 8, 8)
    assert slow["share"] == pytest.approx(20 / 30)
    low, high = slow["interval"]
    assert (round(low, 3), round(high, 3)) == (0.299, 0.701), "Wilson's for 10 of 20"
    assert [each["simulated"] for each in (slow, quick, made)] == [False, False, True]

    plain = tried("routing", "task", env={"COLUMNS": "100"})
    assert plain.code == 0
    assert "made (simulated)" in plain.out
    [line] = [line for line in plain.out.splitlines() if "slow" in line]
    assert line.split()[-9:] == ["slow", "20", "50%", "30%-70%", "2.0", "s", "?", "0.50", "67%"]


def test_without_any_it_says_so(penstock: Any) -> None:
    assert "No model was asked yet" in penstock("routing").out
    assert penstock("routing", "tusk").code == 2
