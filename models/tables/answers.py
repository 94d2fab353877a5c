"""What was asked and what came of it: attempts, answers, waits for a person, decisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REAL
from sqlmodel import Field, SQLModel

from models.tables import column


class RecipeVersion(SQLModel, table=True):
    """The text of a recipe as it was when first used; attempts refer to it through their batch."""

    __tablename__ = "recipe"
    hash: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    name: str = column.text()
    text: str = column.text()
    first_used_at: datetime = column.when(now=True)


class Batch(SQLModel, table=True):
    """Items with the same backend, model and recipe that ran together."""

    __table_args__ = (sa.Index("batch_version", "recipe", "recipe_hash", "id"),)
    id: int | None = column.identity()
    lease: int = column.number(sa.BigInteger)
    backend: str = column.text()
    endpoint: str = column.text()
    model: str = column.text()
    recipe: str = column.text()
    recipe_hash: str = Field(sa_column=sa.Column(sa.Text, sa.ForeignKey("recipe.hash"), nullable=False))
    size: int = column.number(sa.Integer)
    accepted: int = column.number(sa.Integer, default=0)
    retried: int = column.number(sa.Integer, default=0)
    deferred: int = column.number(sa.Integer, default=0)
    returned: int = column.number(sa.Integer, default=0)
    validation: dict[str, Any] | None = column.json()
    explores: bool = column.flag()
    flow_run_id: str | None = column.text(nullable=True)
    started_at: datetime = column.when(now=True)
    finished_at: datetime | None = column.when(nullable=True)


class Attempt(SQLModel, table=True):
    """One try at one item. Append-only."""

    __table_args__ = (sa.UniqueConstraint("item_id", "number"), sa.Index("attempt_batch", "batch_id"))
    id: int | None = column.identity()
    item_id: int = column.reference("item.id", ondelete="CASCADE")
    number: int = column.number(sa.SmallInteger)
    batch_id: int = column.reference("batch.id")
    model: str = column.text()
    model_digest: str | None = column.text(nullable=True)
    prompt_hash: str = column.text()
    prompt_tokens: int | None = column.number(sa.Integer, nullable=True)
    completion_tokens: int | None = column.number(sa.Integer, nullable=True)
    cached_tokens: int | None = column.number(sa.Integer, nullable=True)
    cost: float | None = Field(default=None, sa_column=sa.Column(sa.Double, nullable=True))
    seconds: float = Field(sa_column=sa.Column(REAL, nullable=False))
    outcome: str = column.text()
    error_type: str | None = column.text(nullable=True)
    error: str | None = column.text(nullable=True)
    answer: str | None = column.text(nullable=True)
    checks: list[dict[str, Any]] | None = column.json()
    tried: str | None = column.text(nullable=True)
    trace_id: str | None = column.text(nullable=True)
    simulated: bool = column.flag()
    cached: bool = column.flag()
    members: int | None = column.number(sa.SmallInteger, nullable=True)
    finished_at: datetime = column.when(now=True)


class AnswerCache(SQLModel, table=True):
    """Accepted answers by what was asked. Owned by tasks/execute/calls.py."""

    __tablename__ = "answer_cache"
    __table_args__ = (sa.Index("answer_cache_at", "at", postgresql_using="brin"),)
    key: bytes = Field(sa_column=sa.Column(sa.LargeBinary, primary_key=True))
    attempt_id: int = column.number(sa.BigInteger)
    finish_reason: str = column.text()
    at: datetime = column.when(now=True)


class ProviderBatch(SQLModel, table=True):
    """A batch that a provider answers later. Owned by tasks/execute/provider_batch.py."""

    __tablename__ = "provider_batch"
    __table_args__ = (
        sa.Index("provider_batch_open", "resource", postgresql_where=sa.text("closed_at is null")),
    )
    id: int | None = column.identity()
    batch_id: int = column.reference("batch.id")
    resource: str = column.text()
    label: str = column.text(unique=True)
    provider_id: str | None = column.text(nullable=True)
    model: str = column.text()
    recipe: str = column.text()
    token: int = column.number(sa.BigInteger)
    size: int = column.number(sa.Integer)
    done: int = column.number(sa.Integer, default=0)
    state: str = column.text(default="sending")
    detail: str = column.text(default="")
    created_at: datetime = column.when(now=True)
    submitted_at: datetime | None = column.when(nullable=True)
    polled_at: datetime | None = column.when(nullable=True)
    closed_at: datetime | None = column.when(nullable=True)


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
    claim: int = column.number(sa.SmallInteger)
    item: str = column.text()
    prompt: str = column.text()
    simulated: bool = column.flag()


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
    id: int | None = column.identity()
    item_id: int = column.reference("item.id", ondelete="CASCADE")
    attempt_id: int | None = column.reference("attempt.id", nullable=True, ondelete="SET NULL")
    text: str = column.text()
    data: dict[str, Any] | None = column.json()
    citations: list[dict[str, Any]] = column.json(default="[]")
    accepted_by: str = column.text()
    simulated: bool = column.flag()
    remembered: bool = column.flag()
    accepted_at: datetime = column.when(now=True)
    superseded_at: datetime | None = column.when(nullable=True)


class Review(SQLModel, table=True):
    """A wait for a person and what the person said. Open while `decided_at` is null."""

    __table_args__ = (
        sa.Index("review_open", "subject", unique=True, postgresql_where=sa.text("decided_at is null")),
        sa.Index("review_item", "item_id"),
    )
    id: int | None = column.identity()
    subject: str = column.text()
    kind: str = column.text()
    item_id: int | None = column.reference("item.id", nullable=True, ondelete="CASCADE")
    title: str = column.text()
    reason: str = column.text()
    error_type: str = column.text()
    proposal: str | None = column.text(nullable=True)
    patch_path: str | None = column.text(nullable=True)
    details: dict[str, Any] = column.json(default="{}")
    opened_at: datetime = column.when(now=True)
    decision: str | None = column.text(nullable=True)
    text: str | None = column.text(nullable=True)
    note: str | None = column.text(nullable=True)
    decided_by: str | None = column.text(nullable=True)
    decided_at: datetime | None = column.when(nullable=True)


class Council(SQLModel, table=True):
    """An item whose recipe asks several; its parts are their opinions. Owned by tasks/council."""

    item_id: int = Field(
        sa_column=sa.Column(sa.BigInteger, sa.ForeignKey("item.id", ondelete="CASCADE"), primary_key=True)
    )
    recipe: str = column.text()
    quorum: int = column.number(sa.SmallInteger)
    asked_at: datetime = column.when(now=True)


class DecisionRecord(SQLModel, table=True):
    """What a council came to. Owned by tasks/council; a person's word on it comes with tasks/review."""

    __tablename__ = "decision_record"
    __table_args__ = (
        sa.Index("decision_record_item", "item_id"),
        sa.Index("decision_record_result", "result_id"),
        sa.Index("decision_record_review", "review_id"),
    )
    id: int | None = column.identity()
    item_id: int = column.reference("item.id", ondelete="CASCADE")
    attempt_id: int | None = column.reference("attempt.id", nullable=True, ondelete="SET NULL")
    result_id: int | None = column.reference("result.id", nullable=True, ondelete="SET NULL")
    review_id: int | None = column.reference("review.id", nullable=True, ondelete="SET NULL")
    question: str = column.text()
    decision: str = column.text()
    reasons: list[str] = column.json(default="[]")
    risks: list[dict[str, Any]] = column.json(default="[]")
    risk: str = column.text()
    confidence: float | None = column.number(sa.REAL, nullable=True)
    claimed: float | None = column.number(sa.REAL, nullable=True)
    agreement: float | None = column.number(sa.REAL, nullable=True)
    members: list[dict[str, Any]] = column.json(default="[]")
    citations: list[dict[str, Any]] = column.json(default="[]")
    recipe: str = column.text()
    recipe_hash: str = column.text()
    calls: int = column.number(sa.Integer, default=0)
    prompt_tokens: int = column.number(sa.BigInteger, default=0)
    completion_tokens: int = column.number(sa.BigInteger, default=0)
    cost: float | None = column.number(sa.Double, nullable=True)
    began_at: datetime | None = column.when(nullable=True)
    created_at: datetime = column.when(now=True)
    approved_by: str | None = column.text(nullable=True)
    edited: bool = column.flag()
    simulated: bool = column.flag()
