"""`penstock cache`: what needed no call; and `penstock items show` says where such an answer is from."""

from __future__ import annotations

from typing import Any

import orjson

NOTE = "From the cache: item 7 asked the very same of tiny; that answer was accepted. No call was made."


def stored(connection: Any) -> int:
    """An item that was asked, one whose answer was found, one that was asked together with another."""
    board = connection.execute(
        "insert into board (source, dialect, encoding, sha256) values ('cached.md', 'gfm', 'utf-8', '') returning id"
    ).fetchone()[0]
    connection.execute("insert into recipe (hash, name, text) values ('hash-cached', 'cached', '')")
    batch = connection.execute(
        "insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size)"
        " values (1, 'openai', 'x', 'tiny', 'cached', 'hash-cached', 3) returning id"
    ).fetchone()[0]
    attempt = (
        "insert into attempt (item_id, number, batch_id, model, prompt_hash, prompt_tokens, completion_tokens,"
        " seconds, outcome, answer, cached, checks) values (%s, 1, %s, 'tiny', 'x', 900, 100, 1, 'accepted', 'Yes.',"
        " %s, %s) returning id"
    )
    last = 0
    for position, check in enumerate([None, "cached", "shared"]):
        (item,) = connection.execute(
            "insert into item (board_id, key, position, status, recipe)"
            " values (%s, gen_random_uuid(), %s, 4, 'cached') returning id",
            [board, position],
        ).fetchone()
        connection.execute(
            "insert into item_source (item_id, kind, title, line, declared, content_hash)"
            " values (%s, 'task', 'Paint', 1, 'todo', '')",
            [item],
        )
        note = [{"layer": "call", "check": check, "error_type": None, "message": NOTE}] if check else []
        made = connection.execute(
            attempt, [item, batch, check is not None, orjson.dumps(note).decode()]
        ).fetchone()
        if check is None:
            connection.execute(
                "insert into answer_cache (key, attempt_id, finish_reason) values ('\\x01', %s, 'stop')", made
            )
        last = item - 1 if check == "shared" else last
    return last


def test_what_needed_no_call_is_shown_and_forgotten(penstock: Any) -> None:
    with penstock.database.connect(autocommit=True) as connection:
        connection.execute("truncate answer_cache")
        item = stored(connection)
    env = {"COLUMNS": "120"}
    shown = orjson.loads(penstock("cache", "--json").out)
    (mine,) = [each for each in shown["saved"] if each["recipe"] == "cached"]
    assert (mine["answers"], mine["cached"], mine["shared"], mine["tokens"]) == (3, 1, 1, 2000)
    assert shown["kept"] == 1
    plain = penstock("cache", env=env).out
    assert "1 accepted answer can be found again" in plain
    assert "2,000" in plain
    assert "67%" in plain
    of_item = penstock("items", "show", str(item), env=env).out
    assert "no call" in of_item
    assert "item 7 asked the very same" in " ".join(of_item.split())
    explained = penstock("validation", "explain", str(item), env=env).out
    assert "put right" not in explained
    assert "From the cache" in explained
    cleared = penstock("cache", "--clear", env=env)
    assert (cleared.code, cleared.out.strip()) == (
        0,
        "1 kept answer forgotten. Results and attempts stay.",
    )
    assert orjson.loads(penstock("cache", "--json").out)["kept"] == 0
    off = penstock("cache", env=env | {"PENSTOCK_CACHE_DAYS": "0"})
    assert "Nothing is used again: cache_days is 0." in off.out
    with penstock.database.connect(autocommit=True) as connection:
        connection.execute("delete from board where source = 'cached.md'")
