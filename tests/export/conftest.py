"""Boards that were really read, with items in any state."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

import sources
from models.board import ParsedBoard
from models.enums import Status
from sql.connection import Database
from tasks.ingest import ingest_board


@dataclass
class Read:
    database: Database

    def board(self, name: str, text: str) -> tuple[int, ParsedBoard]:
        """Reads a board: its number, and what its rows are."""
        parsed = sources.parse(text.encode(), name)
        with self.database.connect() as connection:
            delta = ingest_board(connection, parsed, source=f"/plans/{name}")
        return delta.board_id, parsed

    def settle(self, boards: list[int], seed: int) -> None:
        """Any state for each item of these boards, with the history that it has then."""
        chance = random.Random(seed)
        with self.database.connect() as connection:
            connection.execute(
                "insert into recipe (hash, name, text) values ('h', 'task', '') on conflict do nothing"
            )
            row = connection.execute(
                "insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size)"
                " values (1, 'openai', 'x', 'm', 'task', 'h', 1) returning id"
            ).fetchone()
            assert row is not None
            mine = connection.execute("select id from item where board_id = any(%s) order by id", [boards])
            for (item,) in mine.fetchall():
                status = chance.choice(list(Status))
                connection.execute(
                    "update item set status = %s, ready = %s, recipe = 'task' where id = %s",
                    [int(status), status is Status.READY, item],
                )
                for number in range(1, chance.randint(1, 4)):
                    answered = chance.random() < 0.7
                    connection.execute(
                        "insert into attempt (item_id, number, batch_id, model, prompt_hash, prompt_tokens, seconds,"
                        " outcome, error_type, answer) values (%s, %s, %s, 'm', '', %s, 0, 'retry', 'rule', %s)",
                        [item, number, row[0], chance.choice([None, 7]), "said" if answered else None],
                    )
                for text in ("old", "new")[: chance.randint(0, 2)]:
                    connection.execute(
                        "update result set superseded_at = now() where item_id = %s and superseded_at is null",
                        [item],
                    )
                    connection.execute(
                        "insert into result (item_id, text, accepted_by) values (%s, %s, 'checks')",
                        [item, f"{text} of {item}"],
                    )
                for _ in range(chance.randint(0, 2)):
                    connection.execute(
                        "update review set decided_at = now() where item_id = %s and decided_at is null",
                        [item],
                    )
                    connection.execute(
                        "insert into review (subject, kind, item_id, title, reason, error_type)"
                        " values (%s, 'item', %s, '', 'why', 'rule')",
                        [f"item:{item}", item],
                    )


@pytest.fixture
def read(database: Database) -> Read:
    return Read(database)
