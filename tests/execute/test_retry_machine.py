"""Whatever goes wrong in whatever order: what is not an item's fault costs it nothing, and everything has an end.

A state machine over the decision (tasks/execute/policy.py) and the statements that keep it: two endpoints claim one
item at a time, its try ends in any way, time passes, leases lapse, a person says to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import psycopg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from models.calls import ModelAnswer, ModelCallError, Passage
from models.endpoint import Endpoint
from models.enums import Decision, ErrorType, Fault, Status
from models.recipe import Recipe
from models.settings import Settings
from models.verdict import Verdict
from sql.connection import Database
from sql.statements import statement
from tasks.execute import policy
from tasks.execute.asking import prompt_of
from tasks.execute.order import Group
from tasks.execute.reporting import Reporter
from tasks.execute.store import Scope, Store, Wish
from tasks.execute.work import Batch
from tasks.review import decide

from .conftest import no_split, plain_prompt, recipe

URLS = ("test://one", "test://two")
ITEMS = 2
AWAY = 60.0
SOME = Settings(retry_delay=AWAY, retry_delay_cap=900.0)

KINDS = st.sampled_from([kind for kind in ErrorType if kind.rule.fault is not Fault.NOBODY])
RECIPES = st.builds(
    lambda ladder, most, fallback, limit, passages: recipe(
        ladder=["small", "middle", "large"][:ladder] if ladder > 1 else [],
        max_attempts=max(most, ladder),
        fallback="plain" if fallback else None,
        give_up_after=limit,
        passages=passages,
    ),
    st.integers(1, 3),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([None, 600.0, 5000.0]),
    st.integers(0, 1),
)
T = TypeVar("T")


class Retries(RuleBasedStateMachine):
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.sync: psycopg.Connection[Any] = self.database.connect(autocommit=True)
        self.connection = self.run(self.database.aconnect(autocommit=True))
        self.begun: dict[int, int] = {}  # tries of an item before its present story

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    @initialize(known=RECIPES)
    def begin(self, known: Recipe) -> None:
        self.recipes = {"task": known, "plain": recipe("plain", max_attempts=2)}
        rows = self.sync.execute("select coalesce(max(id), 0) + 1 from board").fetchone()
        assert rows is not None
        board = self.sync.execute(
            "insert into board (source, dialect, encoding, sha256) values (%s, 'gfm', 'utf-8', '') returning id",
            [f"/{rows[0]}.md"],
        ).fetchone()
        assert board is not None
        self.board = int(board[0])
        ids = self.sync.execute(
            "insert into item (board_id, key, position, status, ready, recipe)"
            " select %s, gen_random_uuid(), n, 1, true, 'task' from generate_series(1, %s) n returning id",
            [self.board, ITEMS],
        ).fetchall()
        self.begun = {row[0]: 0 for row in ids}
        self.sync.execute(
            "insert into item_source (item_id, kind, title, line, declared, content_hash)"
            " select id, 'task', 'item', 1, 'todo', '' from unnest(%s::bigint[]) id",
            [list(self.begun)],
        )
        self.sync.execute("delete from lease")
        self.tokens = {url: self.lease(url) for url in URLS}

    def lease(self, url: str) -> int:
        row = self.sync.execute(
            "insert into lease (resource, backend, token, holder, expires_at)"
            " values (%s, 'openai', nextval('lease_token'), 'x', now() + interval '1 day')"
            " on conflict (resource) do update set token = excluded.token, expires_at = excluded.expires_at"
            " returning token",
            [f"openai {url}"],
        ).fetchone()
        assert row is not None
        return int(row[0])

    def claim(self, url: str) -> Batch | None:
        store = Store(self.connection, self.tokens[url], away=AWAY)
        scope = Scope("openai", tuple(self.recipes), (self.board,))

        def choose(groups: list[Group]) -> Wish | None:
            return Wish(groups[0], 1) if groups else None

        def describe(name: str, model: str | None) -> dict[str, Any]:
            known = self.recipes[name]
            return {
                "backend": "openai",
                "endpoint": url,
                "model": model or known.header.first_model or "m",
                "recipe": name,
                "recipe_hash": known.hash,
                "hash": known.hash,
                "name": name,
                "text": "",
                "flow_run_id": "",
                "explores": False,
            }

        return self.run(store.claim(scope, frozenset(), choose, describe))

    def end(self, url: str, batch: Batch, kind: ErrorType | None) -> str:
        """The try of a batch of one ends with this error, or well. Gives its outcome."""
        store = Store(self.connection, self.tokens[url], away=AWAY)
        (item,) = batch.items
        known = self.recipes[batch.recipe]
        past = self.run(store.past(batch.items))
        endpoint = Endpoint(backend="openai", url=url)
        passages = [Passage("a.md:1", "words")] * known.header.passages
        prompt = prompt_of(plain_prompt, known, item, passages, past.get(item.id), endpoint)
        answer = ModelAnswer("yes", batch.model, "stop", 1, 1, 0.1)
        reply = answer if kind is None else ModelCallError(kind, f"it was {kind}")
        verdict = Verdict(item.id, (), "yes") if kind is None else None
        report = Reporter(self.recipes, SOME, past).report(known, item, prompt, reply, verdict, 1.0)
        before = self.row(item.id)
        tally = self.run(
            store.settle(batch, [report], recipe=known, validation={}, trace_id="", on_split=no_split)
        )
        after = self.row(item.id)
        outcome = report.next.outcome
        assert getattr(tally, outcome) == 1
        cost = int(kind is not None and kind.charged)
        assert after["attempts"] == (0 if outcome == "fallback" else before["attempts"] + cost)
        if kind is not None and outcome == "fallback":
            assert after["recipe"] == "plain"
            assert after["model"] is None
        if outcome == "deferred":
            self.told(item.id, kind)
        return outcome

    def told(self, item_id: int, kind: ErrorType | None) -> None:
        """The person is told the cause, and every try."""
        row = self.sync.execute(
            "select error_type, reason, details -> 'attempts' from review where item_id = %s and decided_at is null",
            [item_id],
        ).fetchone()
        assert row is not None
        error_type, reason, attempts = row
        assert error_type == kind
        assert f"it was {kind}" in reason
        tries = self.sync.execute(
            "select number from attempt where item_id = %s order by 1", [item_id]
        ).fetchall()
        assert [one["number"] for one in attempts] == [number for (number,) in tries]
        assert all(one["endpoint"] in URLS and one["model"] for one in attempts)

    def row(self, item_id: int) -> dict[str, Any]:
        columns = "recipe, model, attempts, tries, status, ready"
        cursor = self.sync.execute(f"select {columns} from item where id = %s".encode(), [item_id])
        found = cursor.fetchone()
        assert found is not None
        return dict(zip(columns.split(", "), found, strict=True))

    # --- what may happen ------------------------------------------------------------------------------------

    @rule(url=st.sampled_from(URLS), kind=st.one_of(KINDS, KINDS, KINDS, st.none()))
    def a_try_ends(self, url: str, kind: ErrorType | None) -> None:
        if batch := self.claim(url):
            self.end(url, batch, kind)

    @rule(url=st.sampled_from(URLS))
    def a_claim_is_given_back(self, url: str) -> None:
        if batch := self.claim(url):
            before = self.row(batch.items[0].id)["attempts"]
            store = Store(self.connection, self.tokens[url])
            self.run(store.give_back([batch.items[0].id]))
            assert self.row(batch.items[0].id)["attempts"] == before

    @rule(url=st.sampled_from(URLS), kind=KINDS)
    def a_drain_dies_and_reports_late(self, url: str, kind: ErrorType) -> None:
        batch = self.claim(url)
        if batch is None:
            return
        (item,) = batch.items
        stale = Store(self.connection, self.tokens[url])
        self.tokens[url] = self.lease(url)
        self.sync.execute(statement("lease.recover"))
        before = self.row(item.id)
        known = self.recipes[batch.recipe]
        prompt = plain_prompt(known, item, (), None)
        report = Reporter(self.recipes, SOME, {}).report(
            known, item, prompt, ModelCallError(kind, "late"), None
        )
        tally = self.run(
            stale.settle(batch, [report], recipe=known, validation={}, trace_id="", on_split=no_split)
        )
        assert tally.ignored == 1
        assert self.row(item.id) == before

    @rule(seconds=st.sampled_from([1, 70, 700, 6000]))
    def time_passes(self, seconds: int) -> None:
        self.sync.execute(
            "update item set run_after = run_after - %s * interval '1 second' where board_id = %s",
            [seconds, self.board],
        )
        self.sync.execute(
            "update attempt set finished_at = finished_at - %s * interval '1 second' where item_id = any(%s)",
            [seconds, list(self.begun)],
        )

    @rule(pick=st.integers(0, ITEMS - 1))
    def a_person_says_again(self, pick: int) -> None:
        item_id = list(self.begun)[pick]
        review = self.sync.execute(
            "select id from review where item_id = %s and decided_at is null", [item_id]
        ).fetchone()
        if review is not None:
            self.run(decide(self.connection, review[0], Decision.RETRY, by="me"))
            row = self.row(item_id)
            self.begun[item_id] = row["tries"]
            assert (row["status"], row["attempts"], row["model"]) == (Status.READY, 0, None)

    # --- what is always so ----------------------------------------------------------------------------------

    @invariant()
    def each_is_somewhere_and_within_its_bound(self) -> None:
        for item_id, begun in self.begun.items():
            row = self.row(item_id)
            assert row["status"] in (Status.READY, Status.WAITING, Status.DONE)
            assert row["ready"] is (row["status"] == Status.READY)
            tries = self.tries(item_id, begun)
            most = policy.most_tries(self.recipes["task"], self.recipes, SOME)
            assert tries <= most
            if row["ready"]:
                assert row["attempts"] < policy.most_attempts(self.recipes[row["recipe"]], SOME)

    def tries(self, item_id: int, begun: int) -> int:
        row = self.sync.execute(
            "select count(*) from attempt where item_id = %s and number > %s", [item_id, begun]
        ).fetchone()
        assert row is not None
        return int(row[0])

    def teardown(self) -> None:
        """Whatever is left fails in turns, until nothing is ready: that has an end, within the bound."""
        if self.begun:
            kinds = [ErrorType.TIMEOUT] * (policy.MAX_RETURNS - 1) + [ErrorType.SCHEMA]  # the longest way
            most = policy.most_tries(self.recipes["task"], self.recipes, SOME) * ITEMS
            for _ in range(most + 1):
                self.time_passes(1000)
                batch = self.claim(URLS[0])
                if batch is None:
                    break
                (item,) = batch.items
                tries = self.tries(item.id, self.begun[item.id])
                self.end(URLS[0], batch, kinds[tries % len(kinds)])
            assert not any(self.row(item_id)["ready"] for item_id in self.begun)
            self.each_is_somewhere_and_within_its_bound()
        self.run(self.connection.close())
        self.sync.close()
        self.loop.close()


def test_everything_ends_and_the_servers_faults_cost_nothing(database: Database) -> None:
    run_state_machine_as_test(
        type("Here", (Retries,), {"database": database}),
        settings=settings(
            max_examples=10,
            stateful_step_count=20,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
