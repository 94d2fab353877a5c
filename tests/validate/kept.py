"""A database with answers in it, as drains leave them: batches, attempts, results, reviews."""

from __future__ import annotations

import itertools
from typing import Any

import orjson

from models.enums import Status
from sql.connection import Database

HASH = "0" * 64
_numbers = itertools.count(1)


class Kept:
    def __init__(self, database: Database, source: str = "/boards/plan.md") -> None:
        self.database = database
        self.source = source
        self.board = self.one(
            "insert into board (source, dialect, encoding, sha256, validation)"
            " values (%s, 'gfm', 'utf-8', 'x', %s::jsonb) returning id",
            source,
            orjson.dumps({"suite": "items", "rows": 3, "success": True, "expectations": []}).decode(),
        )

    def one(self, query: str, *values: object) -> Any:
        with self.database.connect(autocommit=True) as connection:
            row = connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return row[0]

    def do(self, query: str, *values: object) -> None:
        with self.database.connect(autocommit=True) as connection:
            connection.execute(query.encode(), values)

    def item(
        self,
        title: str,
        status: Status = Status.DONE,
        *,
        recipe: str | None = "mine",
        parent: int | None = None,
        needs: int | None = None,
    ) -> int:
        number = next(_numbers)
        item = self.one(
            "insert into item (board_id, parent_id, key, position, status, ready, recipe, attempts, tries)"
            " values (%s, %s, gen_random_uuid(), %s, %s, %s, %s, 0, 0) returning id",
            self.board,
            parent,
            number,
            int(status),
            status is Status.READY,
            recipe,
        )
        self.do(
            "insert into item_source (item_id, kind, title, line, declared, content_hash)"
            " values (%s, 'task', %s, %s, 'todo', '')",
            item,
            title,
            number,
        )
        if needs is not None:
            self.do("insert into need (item_id, needs_id) values (%s, %s)", item, needs)
        return int(item)

    def batch(
        self, validation: dict[str, Any] | None = None, *, recipe: str = "mine", model: str = "m"
    ) -> int:
        self.do(
            "insert into recipe (hash, name, text) values (%s, %s, '') on conflict do nothing", HASH, recipe
        )
        said = orjson.dumps(validation).decode() if validation is not None else None
        return int(
            self.one(
                "insert into batch (lease, backend, endpoint, model, recipe, recipe_hash, size, validation,"
                " finished_at) values (1, 'ollama', 'http://x', %s, %s, %s, 8, %s::jsonb, now()) returning id",
                model,
                recipe,
                HASH,
                said,
            )
        )

    def attempt(
        self,
        item: int,
        batch: int,
        answer: str | None,
        outcome: str = "accepted",
        *,
        error_type: str | None = None,
        error: str | None = None,
        checks: list[dict[str, Any]] | None = None,
        days_ago: int = 0,
    ) -> int:
        number = self.one("update item set tries = tries + 1 where id = %s returning tries", item)
        return int(
            self.one(
                "insert into attempt (item_id, number, batch_id, model, prompt_hash, seconds, outcome, error_type,"
                " error, answer, checks, finished_at)"
                " values (%s, %s, %s, (select model from batch where id = %s), '', 0.5,"
                " %s, %s, %s, %s, %s::jsonb, now() - %s * interval '1 day') returning id",
                item,
                number,
                batch,
                batch,
                outcome,
                error_type,
                error,
                answer,
                orjson.dumps(checks).decode() if checks is not None else None,
                days_ago,
            )
        )

    def accepted(
        self,
        title: str,
        answer: str,
        *,
        data: dict[str, Any] | None = None,
        by: str = "checks",
        recipe: str = "mine",
        parent: int | None = None,
        citations: list[dict[str, str]] | None = None,
    ) -> int:
        """An item that is done, with its result."""
        item = self.item(title, recipe=recipe, parent=parent)
        attempt = self.attempt(item, self.batch(recipe=recipe), answer)
        self.do(
            "insert into result (item_id, attempt_id, text, data, accepted_by, citations)"
            " values (%s, %s, %s, %s::jsonb, %s, %s::jsonb)",
            item,
            attempt,
            answer,
            orjson.dumps(data).decode() if data is not None else None,
            by,
            orjson.dumps(citations or []).decode(),
        )
        return item

    def waiting(
        self,
        title: str,
        answer: str,
        error_type: str = "rule",
        checks: list[dict[str, Any]] | None = None,
    ) -> tuple[int, int]:
        """An item whose answer did not pass, and its open review."""
        item = self.item(title, Status.WAITING)
        self.attempt(
            item,
            self.batch(),
            answer,
            "deferred",
            error_type=error_type,
            error="it did not pass",
            checks=checks,
        )
        review = self.one(
            "insert into review (subject, kind, item_id, title, reason, error_type, proposal)"
            " values (%s, 'item', %s, %s, 'it did not pass', %s, %s) returning id",
            f"item:{item}",
            item,
            title,
            error_type,
            answer,
        )
        return item, int(review)

    def status(self, item: int) -> Status:
        return Status(self.one("select status from item where id = %s", item))

    def current(self, item: int) -> int:
        """How many results of it stand."""
        return int(self.one("select count(*) from result where item_id = %s and superseded_at is null", item))
