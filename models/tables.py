"""The stored rows, as SQLModel classes. They mirror sql/migrations; a test compares the two.

These classes serve schema, administration and reports. The hot path (claim, complete, insert in bulk) is raw
psycopg with the named statements of sql/*.sql: 40 times less client CPU a row (docs/database.md).
"""

from __future__ import annotations

import uuid
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL, TIMESTAMP, TSVECTOR
from sqlmodel import Field, SQLModel

EMBEDDING_DIMENSIONS = 768

TOKENS = sa.Sequence("lease_token", data_type=sa.BigInteger, metadata=SQLModel.metadata)


def _identity() -> Any:
    return Field(default=None, sa_column=sa.Column(sa.BigInteger, sa.Identity(always=True), primary_key=True))


def _reference(target: str, *, nullable: bool = False, ondelete: str | None = None) -> Any:
    column = sa.Column(sa.BigInteger, sa.ForeignKey(target, ondelete=ondelete), nullable=nullable)
    return Field(default=None, sa_column=column)


def _text(*, nullable: bool = False, default: str | None = None, **kwargs: Any) -> Any:
    server_default = sa.text(f"'{default}'") if default is not None else None
    column = sa.Column(sa.Text, nullable=nullable, server_default=server_default, **kwargs)
    return Field(default=default, sa_column=column)


def _number(
    kind: type[sa.types.TypeEngine[Any]], *, default: int | None = None, nullable: bool = False
) -> Any:
    server_default = sa.text(str(default)) if default is not None else None
    return Field(default=default, sa_column=sa.Column(kind, nullable=nullable, server_default=server_default))


def _flag(*, default: bool = False) -> Any:
    return Field(
        default=default,
        sa_column=sa.Column(sa.Boolean, nullable=False, server_default=sa.text(str(default).lower())),
    )


def _when(*, now: bool = False, nullable: bool = False) -> Any:
    column = sa.Column(
        TIMESTAMP(timezone=True), nullable=nullable, server_default=sa.func.now() if now else None
    )
    return Field(default=None, sa_column=column)


def _json(*, default: str | None = None) -> Any:
    server_default = sa.text(f"'{default}'") if default is not None else None
    column = sa.Column(JSONB, nullable=default is None, server_default=server_default)
    return Field(default=None, sa_column=column)


class Board(SQLModel, table=True):
    """One parsed document of a source."""

    __table_args__ = (
        sa.Index("board_sha256", "sha256"),
        sa.Index("board_held", "id", postgresql_where=sa.text("held_by is not null")),
    )
    id: int | None = _identity()
    source: str = _text(unique=True)
    dialect: str = _text()
    encoding: str = _text()
    title: str = _text(default="")
    sha256: str = _text()
    revision: str | None = _text(nullable=True)
    validation: dict[str, Any] | None = _json()
    delta: dict[str, Any] | None = _json()
    decomposed_sha256: str | None = _text(nullable=True)
    remembered_sha256: str | None = _text(nullable=True)
    folder: str | None = Field(
        default=None,
        sa_column=sa.Column(
            sa.Text,
            sa.Computed(
                "case when source !~ '^(stdin|github):'::text then \"substring\"(source, '^.*[/:]'::text)"
                " else null::text end",
                persisted=True,
            ),
        ),
    )
    approve_plans: bool = _flag()
    lane: int = _number(sa.SmallInteger, default=1)
    wip: int | None = _number(sa.Integer, nullable=True)
    held_by: uuid.UUID | None = Field(default=None, sa_column=sa.Column(sa.Uuid, nullable=True))
    ingested_at: datetime = _when(now=True)


class Run(SQLModel, table=True):
    """One `penstock run` or one run of the pipeline deployment."""

    id: uuid.UUID = Field(sa_column=sa.Column(sa.Uuid, primary_key=True))
    started_at: datetime = _when(now=True)
    finished_at: datetime | None = _when(nullable=True)
    state: str = _text(default="running")
    wish: str | None = _text(nullable=True)
    wished_by: str = _text(default="")
    stage: str = _text(default="ingest")
    flow_run_id: str | None = _text(nullable=True)
    board_ids: list[int] = Field(
        default_factory=list,
        sa_column=sa.Column(ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'")),
    )
    backend: str | None = _text(nullable=True)
    endpoint: str | None = _text(nullable=True)
    model: str | None = _text(nullable=True)
    error: str | None = _text(nullable=True)
    params: dict[str, Any] = _json(default="{}")


class RecipeVersion(SQLModel, table=True):
    """The text of a recipe as it was when first used; attempts refer to it through their batch."""

    __tablename__ = "recipe"
    hash: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    name: str = _text()
    text: str = _text()
    first_used_at: datetime = _when(now=True)


class Lease(SQLModel, table=True):
    """Who may use an endpoint, until when. Owned by tasks/execute/lease.py."""

    resource: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    backend: str = _text()
    token: int = _number(sa.BigInteger)
    holder: str = _text()
    model: str | None = _text(nullable=True)
    device: str | None = _text(nullable=True)
    want: int = _number(sa.SmallInteger, default=0)
    weight: int = _number(sa.SmallInteger, default=1)
    seated_at: datetime | None = _when(nullable=True)
    idle_at: datetime = _when(now=True)
    acquired_at: datetime = _when(now=True)
    expires_at: datetime = _when()


class Process(SQLModel, table=True):
    """Which process does a flow run now. Owned by tasks/life.py."""

    flow_run_id: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    holder: str = _text()
    seen_at: datetime = _when(now=True)


class Seat(SQLModel, table=True):
    """One request that a device takes at once. Owned by tasks/execute/seats.py."""

    device: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    number: int = Field(sa_column=sa.Column(sa.SmallInteger, primary_key=True))
    token: int | None = _number(sa.BigInteger, nullable=True)


class EndpointState(SQLModel, table=True):
    """How many requests at once an endpoint bears now. Owned by tasks/execute/pace.py."""

    __tablename__ = "endpoint"
    resource: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    backend: str = _text()
    url: str = _text()
    device: str | None = _text(nullable=True)
    slots: int = _number(sa.SmallInteger)
    allowed: float = _number(sa.REAL)
    held_until: datetime | None = _when(nullable=True)
    reason: str = _text(default="")
    changed_at: datetime = _when(now=True)


class ModelState(SQLModel, table=True):
    """A model on an endpoint: its times and its breaker. Owned by tasks/execute/breaker.py and switching.py."""

    __tablename__ = "model_state"
    resource: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    model: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    load_seconds: float | None = _number(sa.REAL, nullable=True)
    loads: int = _number(sa.Integer, default=0)
    item_seconds: float | None = _number(sa.REAL, nullable=True)
    failures: int = _number(sa.SmallInteger, default=0)
    open_until: datetime | None = _when(nullable=True)
    trial: int | None = _number(sa.BigInteger, nullable=True)
    error: str | None = _text(nullable=True)


class Residency(SQLModel, table=True):
    """A model that takes memory of a device. Owned by tasks/execute/switching.py."""

    __table_args__ = (sa.Index("residency_device", "device"),)
    resource: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    model: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    device: str = _text()
    memory: float = _number(sa.REAL)
    state: str = _text()
    token: int = _number(sa.BigInteger)
    since: datetime = _when(now=True)
    used_at: datetime = _when(now=True)


class Pause(SQLModel, table=True):
    """What people, or a limit, stopped. Owned by tasks/pause.py."""

    kind: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    name: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    until: datetime | None = _when(nullable=True)
    reason: str = _text(default="")
    by: str = _text(default="")
    at: datetime = _when(now=True)


class Account(SQLModel, table=True):
    """What the workers of one account share. Owned by tasks/execute/budget.py."""

    name: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    cooldown_until: datetime | None = _when(nullable=True)
    reason: str = _text(default="")
    minute: datetime | None = _when(nullable=True)
    minute_requests: int = _number(sa.Integer, default=0)
    minute_tokens: int = _number(sa.BigInteger, default=0)


class Spend(SQLModel, table=True):
    """What an account used on one day. Owned by tasks/execute/budget.py."""

    account: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    day: date = Field(sa_column=sa.Column(sa.Date, primary_key=True))
    requests: int = _number(sa.Integer, default=0)
    tokens: int = _number(sa.BigInteger, default=0)
    usd: float = _number(sa.Double, default=0)
    unpriced: int = _number(sa.Integer, default=0)
    warned: list[str] = Field(
        default_factory=list,
        sa_column=sa.Column(ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
    )


class Reservation(SQLModel, table=True):
    """What a drain has asked of an account and not reported yet. Owned by tasks/execute/budget.py."""

    account: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    day: date = Field(sa_column=sa.Column(sa.Date, primary_key=True))
    token: int = Field(sa_column=sa.Column(sa.BigInteger, primary_key=True))
    requests: int = _number(sa.Integer)
    tokens: int = _number(sa.BigInteger)
    usd: float = _number(sa.Double)


class Streak(SQLModel, table=True):
    """Answers of a recipe by a model that were not accepted, in a row. Owned by tasks/execute/strikes.py."""

    recipe: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    model: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    failures: int = _number(sa.Integer, default=0)
    items: list[int] = Field(
        default_factory=list,
        sa_column=sa.Column(ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'")),
    )
    error: str | None = _text(nullable=True)


class Packing(SQLModel, table=True):
    """How well a model answers several items of a recipe in one request. Owned by tasks/execute/pack_record.py."""

    recipe: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    model: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    asked: int = _number(sa.Integer, default=0)
    bad: int = _number(sa.Integer, default=0)
    calls: int = _number(sa.BigInteger, default=0)
    members: int = _number(sa.BigInteger, default=0)


class Item(SQLModel, table=True):
    """One unit of work: the narrow hot row. What the board says of it is in ItemSource."""

    __table_args__ = (
        sa.UniqueConstraint("board_id", "key"),
        sa.Index(
            "item_ready",
            sa.text("coalesce(backend, '')"),
            "recipe",
            sa.text("coalesce(model, '')"),
            "urgency",
            "board_id",
            sa.text("coalesce(parent_id, 0)"),
            sa.text("length desc"),
            "id",
            postgresql_where=sa.text("ready"),
        ),
        sa.Index(
            "item_waiting",
            sa.text("coalesce(backend, '')"),
            "recipe",
            sa.text("coalesce(model, '')"),
            "run_after",
            postgresql_where=sa.text("ready"),
        ),
        sa.Index(
            "item_board_waiting",
            "board_id",
            sa.text("coalesce(backend, '')"),
            "recipe",
            sa.text("coalesce(model, '')"),
            "run_after",
            postgresql_where=sa.text("ready"),
        ),
        sa.Index(
            "item_deadline",
            "deadline",
            postgresql_where=sa.text("deadline is not null and not hurried and status < 2"),
        ),
        sa.Index("item_ready_order", "priority", "id", postgresql_where=sa.text("ready")),
        sa.Index("item_parent", "parent_id", "id"),
        sa.Index("item_running", "lease", postgresql_where=sa.text("lease is not null")),
    )
    id: int | None = _identity()
    board_id: int = _reference("board.id", ondelete="CASCADE")
    parent_id: int | None = _number(sa.BigInteger, nullable=True)
    key: uuid.UUID = Field(sa_column=sa.Column(sa.Uuid, nullable=False))
    position: int = _number(sa.Integer)
    status: int = _number(sa.SmallInteger, default=0)
    ready: bool = _flag()
    priority: int = _number(sa.SmallInteger, default=2)
    lane: int = _number(sa.SmallInteger, default=1)
    hurried: bool = _flag()
    deadline: datetime | None = _when(nullable=True)
    urgency: int | None = Field(
        default=None,
        sa_column=sa.Column(
            sa.SmallInteger,
            sa.Computed("lane * 10 + case when hurried then 0 else priority + 1 end", persisted=True),
            nullable=False,
        ),
    )
    length: int = _number(sa.SmallInteger, default=0)
    recipe: str | None = _text(nullable=True)
    backend: str | None = _text(nullable=True)
    model: str | None = _text(nullable=True)
    named: str | None = _text(nullable=True)
    avoid: str | None = _text(nullable=True)
    run_after: datetime = _when(now=True)
    attempts: int = _number(sa.SmallInteger, default=0)
    tries: int = _number(sa.SmallInteger, default=0)
    tried_before: int = _number(sa.SmallInteger, default=0)
    lease: int | None = _number(sa.BigInteger, nullable=True)
    rollup: bool = _flag(default=True)
    rolled_of: int | None = _number(sa.BigInteger, nullable=True)
    again: bool = _flag()


class ItemSource(SQLModel, table=True):
    """What the board says of an item. Owned by tasks/ingest."""

    __tablename__ = "item_source"
    __table_args__ = (
        sa.Index(
            "item_source_ext_id",
            sa.text("lower(ext_id)"),
            postgresql_where=sa.text("ext_id is not null and removed_at is null"),
        ),
        sa.Index("item_source_split", "item_id", postgresql_where=sa.text("origin = 'split'")),
        sa.Index("item_source_removed", "item_id", postgresql_where=sa.text("removed_at is not null")),
    )
    item_id: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.ForeignKey("item.id", ondelete="CASCADE"), primary_key=True)
    )
    ext_id: str | None = _text(nullable=True)
    kind: str = _text()
    title: str = _text()
    body: str = _text(default="")
    line: int = _number(sa.Integer)
    depth: int = _number(sa.SmallInteger, default=0)
    declared: str = _text()
    labels: dict[str, Any] = _json(default="{}")
    needs: list[str] = Field(
        default_factory=list,
        sa_column=sa.Column(ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
    )
    content_hash: str = _text()
    origin: str = _text(default="board")
    complexity: int | None = _number(sa.SmallInteger, nullable=True)
    removed_at: datetime | None = _when(nullable=True)


class Need(SQLModel, table=True):
    """`item_id` may start only after `needs_id` settled."""

    __table_args__ = (sa.Index("need_needs", "needs_id"),)
    item_id: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.ForeignKey("item.id", ondelete="CASCADE"), primary_key=True)
    )
    needs_id: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.ForeignKey("item.id", ondelete="CASCADE"), primary_key=True)
    )


class Wanted(SQLModel, table=True):
    """An id that an item needs and its own board has not. Owned by tasks/decompose."""

    __table_args__ = (
        sa.Index("wanted_board", "board_id"),
        sa.Index("wanted_reference", "folder", "reference"),
        sa.Index("wanted_needs", "needs_id"),
    )
    id: int | None = _identity()
    board_id: int = _reference("board.id", ondelete="CASCADE")
    folder: str = _text()
    item_id: int = _reference("item.id", ondelete="CASCADE")
    reference: str = _text()
    needs_id: int | None = _reference("item.id", nullable=True, ondelete="CASCADE")


class BoardLink(SQLModel, table=True):
    """Items of `item_board` need items of `needs_board`. Owned by tasks/decompose."""

    __tablename__ = "board_link"
    __table_args__ = (sa.Index("board_link_needs", "needs_board"),)
    item_board: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.ForeignKey("board.id", ondelete="CASCADE"), primary_key=True)
    )
    needs_board: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.ForeignKey("board.id", ondelete="CASCADE"), primary_key=True)
    )
    ring: bool = _flag()


class LookAgain(SQLModel, table=True):
    """A board to decompose again though it did not change. Owned by tasks/decompose."""

    __tablename__ = "look_again"
    __table_args__ = (sa.Index("look_again_board", "board_id"),)
    id: int | None = _identity()
    board_id: int = _reference("board.id", ondelete="CASCADE")


class WorkKey(SQLModel, table=True):
    """Which item does a work; another that would do the same is refused. Owned by tasks/decompose."""

    __tablename__ = "work_key"
    __table_args__ = (sa.Index("work_key_item", "item_id"),)
    fingerprint: uuid.UUID = Field(sa_column=sa.Column(sa.Uuid, primary_key=True))
    item_id: int = _number(sa.BigInteger)
    claimed_at: datetime = _when(now=True)


class Duplicate(SQLModel, table=True):
    """An item that is not run, because another does the same work. Owned by tasks/decompose."""

    __table_args__ = (sa.Index("duplicate_fingerprint", "fingerprint"),)
    item_id: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.ForeignKey("item.id", ondelete="CASCADE"), primary_key=True)
    )
    fingerprint: uuid.UUID = Field(sa_column=sa.Column(sa.Uuid, nullable=False))


class FindingRow(SQLModel, table=True):
    """Something wrong or odd seen in a board; each stage replaces its own."""

    __tablename__ = "finding"
    __table_args__ = (sa.Index("finding_board", "board_id", "stage"),)
    id: int | None = _identity()
    board_id: int = _reference("board.id", ondelete="CASCADE")
    stage: str = _text()
    code: str = _text()
    severity: str = _text()
    line: int = _number(sa.Integer)
    message: str = _text()


class Batch(SQLModel, table=True):
    """Items with the same backend, model and recipe that ran together."""

    __table_args__ = (sa.Index("batch_version", "recipe", "recipe_hash", "id"),)
    id: int | None = _identity()
    lease: int = _number(sa.BigInteger)
    backend: str = _text()
    endpoint: str = _text()
    model: str = _text()
    recipe: str = _text()
    recipe_hash: str = Field(sa_column=sa.Column(sa.Text, sa.ForeignKey("recipe.hash"), nullable=False))
    size: int = _number(sa.Integer)
    accepted: int = _number(sa.Integer, default=0)
    retried: int = _number(sa.Integer, default=0)
    deferred: int = _number(sa.Integer, default=0)
    returned: int = _number(sa.Integer, default=0)
    validation: dict[str, Any] | None = _json()
    explores: bool = _flag()
    flow_run_id: str | None = _text(nullable=True)
    started_at: datetime = _when(now=True)
    finished_at: datetime | None = _when(nullable=True)


class Attempt(SQLModel, table=True):
    """One try at one item. Append-only."""

    __table_args__ = (sa.UniqueConstraint("item_id", "number"), sa.Index("attempt_batch", "batch_id"))
    id: int | None = _identity()
    item_id: int = _reference("item.id", ondelete="CASCADE")
    number: int = _number(sa.SmallInteger)
    batch_id: int = _reference("batch.id")
    model: str = _text()
    model_digest: str | None = _text(nullable=True)
    prompt_hash: str = _text()
    prompt_tokens: int | None = _number(sa.Integer, nullable=True)
    completion_tokens: int | None = _number(sa.Integer, nullable=True)
    cached_tokens: int | None = _number(sa.Integer, nullable=True)
    cost: float | None = Field(default=None, sa_column=sa.Column(sa.Double, nullable=True))
    seconds: float = Field(sa_column=sa.Column(REAL, nullable=False))
    outcome: str = _text()
    error_type: str | None = _text(nullable=True)
    error: str | None = _text(nullable=True)
    answer: str | None = _text(nullable=True)
    checks: list[dict[str, Any]] | None = _json()
    tried: str | None = _text(nullable=True)
    trace_id: str | None = _text(nullable=True)
    simulated: bool = _flag()
    cached: bool = _flag()
    members: int | None = _number(sa.SmallInteger, nullable=True)
    finished_at: datetime = _when(now=True)


class AnswerCache(SQLModel, table=True):
    """Accepted answers by what was asked. Owned by tasks/execute/calls.py."""

    __tablename__ = "answer_cache"
    __table_args__ = (sa.Index("answer_cache_at", "at", postgresql_using="brin"),)
    key: bytes = Field(sa_column=sa.Column(sa.LargeBinary, primary_key=True))
    attempt_id: int = _number(sa.BigInteger)
    finish_reason: str = _text()
    at: datetime = _when(now=True)


class ProviderBatch(SQLModel, table=True):
    """A batch that a provider answers later. Owned by tasks/execute/provider_batch.py."""

    __tablename__ = "provider_batch"
    __table_args__ = (
        sa.Index("provider_batch_open", "resource", postgresql_where=sa.text("closed_at is null")),
    )
    id: int | None = _identity()
    batch_id: int = _reference("batch.id")
    resource: str = _text()
    label: str = _text(unique=True)
    provider_id: str | None = _text(nullable=True)
    model: str = _text()
    recipe: str = _text()
    token: int = _number(sa.BigInteger)
    size: int = _number(sa.Integer)
    done: int = _number(sa.Integer, default=0)
    state: str = _text(default="sending")
    detail: str = _text(default="")
    created_at: datetime = _when(now=True)
    submitted_at: datetime | None = _when(nullable=True)
    polled_at: datetime | None = _when(nullable=True)
    closed_at: datetime | None = _when(nullable=True)


class ProviderBatchItem(SQLModel, table=True):
    """What was asked in a provider's batch, until its answers are settled."""

    __tablename__ = "provider_batch_item"
    __table_args__ = (sa.Index("provider_batch_item_item", "item_id"),)
    provider_batch_id: int = Field(
        sa_column=sa.Column(
            sa.BigInteger, sa.ForeignKey("provider_batch.id", ondelete="CASCADE"), primary_key=True
        )
    )
    item_id: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.ForeignKey("item.id", ondelete="CASCADE"), primary_key=True)
    )
    claim: int = _number(sa.SmallInteger)
    item: str = _text()
    prompt: str = _text()
    simulated: bool = _flag()


class Result(SQLModel, table=True):
    """An accepted answer. At most one per item is current."""

    __table_args__ = (
        sa.Index("result_current", "item_id", unique=True, postgresql_where=sa.text("superseded_at is null")),
        sa.Index(
            "result_to_remember",
            "id",
            postgresql_where=sa.text("not remembered and not simulated and superseded_at is null"),
        ),
        sa.Index(
            "result_to_forget",
            "id",
            postgresql_where=sa.text("remembered and superseded_at is not null"),
        ),
    )
    id: int | None = _identity()
    item_id: int = _reference("item.id", ondelete="CASCADE")
    attempt_id: int | None = _reference("attempt.id", nullable=True, ondelete="SET NULL")
    text: str = _text()
    data: dict[str, Any] | None = _json()
    citations: list[dict[str, Any]] = _json(default="[]")
    accepted_by: str = _text()
    simulated: bool = _flag()
    remembered: bool = _flag()
    accepted_at: datetime = _when(now=True)
    superseded_at: datetime | None = _when(nullable=True)


class Review(SQLModel, table=True):
    """A wait for a person and what the person said. Open while `decided_at` is null."""

    __table_args__ = (
        sa.Index("review_open", "subject", unique=True, postgresql_where=sa.text("decided_at is null")),
        sa.Index("review_item", "item_id"),
    )
    id: int | None = _identity()
    subject: str = _text()
    kind: str = _text()
    item_id: int | None = _reference("item.id", nullable=True, ondelete="CASCADE")
    title: str = _text()
    reason: str = _text()
    error_type: str = _text()
    proposal: str | None = _text(nullable=True)
    patch_path: str | None = _text(nullable=True)
    details: dict[str, Any] = _json(default="{}")
    opened_at: datetime = _when(now=True)
    decision: str | None = _text(nullable=True)
    text: str | None = _text(nullable=True)
    note: str | None = _text(nullable=True)
    decided_by: str | None = _text(nullable=True)
    decided_at: datetime | None = _when(nullable=True)


class Council(SQLModel, table=True):
    """An item whose recipe asks several; its parts are their opinions. Owned by tasks/council."""

    item_id: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.ForeignKey("item.id", ondelete="CASCADE"), primary_key=True)
    )
    recipe: str = _text()
    quorum: int = _number(sa.SmallInteger)
    asked_at: datetime = _when(now=True)


class DecisionRecord(SQLModel, table=True):
    """What a council came to. Owned by tasks/council; a person's word on it comes with tasks/review."""

    __tablename__ = "decision_record"
    __table_args__ = (
        sa.Index("decision_record_item", "item_id"),
        sa.Index("decision_record_result", "result_id"),
        sa.Index("decision_record_review", "review_id"),
    )
    id: int | None = _identity()
    item_id: int = _reference("item.id", ondelete="CASCADE")
    attempt_id: int | None = _reference("attempt.id", nullable=True, ondelete="SET NULL")
    result_id: int | None = _reference("result.id", nullable=True, ondelete="SET NULL")
    review_id: int | None = _reference("review.id", nullable=True, ondelete="SET NULL")
    question: str = _text()
    decision: str = _text()
    reasons: list[str] = _json(default="[]")
    risks: list[dict[str, Any]] = _json(default="[]")
    risk: str = _text()
    confidence: float | None = _number(sa.REAL, nullable=True)
    claimed: float | None = _number(sa.REAL, nullable=True)
    agreement: float | None = _number(sa.REAL, nullable=True)
    members: list[dict[str, Any]] = _json(default="[]")
    citations: list[dict[str, Any]] = _json(default="[]")
    recipe: str = _text()
    recipe_hash: str = _text()
    calls: int = _number(sa.Integer, default=0)
    prompt_tokens: int = _number(sa.BigInteger, default=0)
    completion_tokens: int = _number(sa.BigInteger, default=0)
    cost: float | None = _number(sa.Double, nullable=True)
    began_at: datetime | None = _when(nullable=True)
    created_at: datetime = _when(now=True)
    approved_by: str | None = _text(nullable=True)
    edited: bool = _flag()
    simulated: bool = _flag()


class Node(SQLModel, table=True):
    """A piece of knowledge: text, embedding, provenance, validity."""

    __table_args__ = (
        sa.Index(
            "node_hnsw",
            "embedding",
            postgresql_using="hnsw",
            postgresql_with={"m": 16, "ef_construction": 100},
            postgresql_ops={"embedding": "halfvec_cosine_ops"},
            postgresql_where=sa.text("indexed and superseded_at is null"),
        ),
        sa.Index(
            "node_tsv", "tsv", postgresql_using="gin", postgresql_where=sa.text("superseded_at is null")
        ),
        sa.Index("node_recent", "id", postgresql_where=sa.text("not indexed and superseded_at is null")),
        sa.Index("node_board", "board_id", postgresql_where=sa.text("superseded_at is null")),
        sa.Index("node_result", "result_id", postgresql_where=sa.text("superseded_at is null")),
    )
    id: int | None = _identity()
    kind: str = _text()
    source: str = _text()
    cite: str = _text()
    heading: str = _text(default="")
    text: str = _text()
    tsv: Any = Field(
        default=None,
        sa_column=sa.Column(
            TSVECTOR,
            sa.Computed("to_tsvector('russian'::regconfig, (heading || ' '::text) || text)", persisted=True),
        ),
    )
    embedding: Any = Field(sa_column=sa.Column(HALFVEC(EMBEDDING_DIMENSIONS), nullable=False))
    encoder: str = _text()
    board_id: int | None = _reference("board.id", nullable=True, ondelete="CASCADE")
    result_id: int | None = _reference("result.id", nullable=True, ondelete="CASCADE")
    line_start: int | None = _number(sa.Integer, nullable=True)
    line_end: int | None = _number(sa.Integer, nullable=True)
    content_hash: str = _text()
    indexed: bool = _flag()
    valid_from: datetime = _when(now=True)
    superseded_at: datetime | None = _when(nullable=True)


class DocSync(SQLModel, table=True):
    """How far the documentation of a repository was synced."""

    __tablename__ = "doc_sync"
    repo: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    branch: str = _text()
    last_commit: str = _text()
    synced_at: datetime = _when(now=True)


class Issue(SQLModel, table=True):
    """An issue of a GitHub repository as its latest webhook said. Owned by tasks/ingest/origins.py."""

    repository: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    number: int = Field(sa_column=sa.Column(sa.BigInteger, primary_key=True, autoincrement=False))
    updated_at: datetime = _when()
    removed: bool = _flag()
    fields: dict[str, Any] = Field(sa_column=sa.Column(JSONB, nullable=False))


class Delivery(SQLModel, table=True):
    """A webhook delivery that was accepted: the same id starts one run."""

    id: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    source: str = _text()
    parameters: dict[str, Any] = _json(default="{}")
    flow_run_id: str | None = _text(nullable=True)
    received_at: datetime = _when(now=True)
