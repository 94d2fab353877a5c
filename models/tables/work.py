"""What there is to do: boards, their items, what these wait for, and what was seen in them."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from models.tables import column


class Board(SQLModel, table=True):
    """One parsed document of a source."""

    __table_args__ = (
        sa.Index("board_sha256", "sha256"),
        sa.Index("board_held", "id", postgresql_where=sa.text("held_by is not null")),
    )
    id: int | None = column.identity()
    source: str = column.text(unique=True)
    dialect: str = column.text()
    encoding: str = column.text()
    title: str = column.text(default="")
    sha256: str = column.text()
    revision: str | None = column.text(nullable=True)
    validation: dict[str, Any] | None = column.json()
    delta: dict[str, Any] | None = column.json()
    decomposed_sha256: str | None = column.text(nullable=True)
    remembered_sha256: str | None = column.text(nullable=True)
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
    approve_plans: bool = column.flag()
    lane: int = column.number(sa.SmallInteger, default=1)
    wip: int | None = column.number(sa.Integer, nullable=True)
    held_by: uuid.UUID | None = Field(default=None, sa_column=sa.Column(sa.Uuid, nullable=True))
    ingested_at: datetime = column.when(now=True)


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
    id: int | None = column.identity()
    board_id: int = column.reference("board.id", ondelete="CASCADE")
    parent_id: int | None = column.number(sa.BigInteger, nullable=True)
    key: uuid.UUID = Field(sa_column=sa.Column(sa.Uuid, nullable=False))
    position: int = column.number(sa.Integer)
    status: int = column.number(sa.SmallInteger, default=0)
    ready: bool = column.flag()
    priority: int = column.number(sa.SmallInteger, default=2)
    lane: int = column.number(sa.SmallInteger, default=1)
    hurried: bool = column.flag()
    deadline: datetime | None = column.when(nullable=True)
    urgency: int | None = Field(
        default=None,
        sa_column=sa.Column(
            sa.SmallInteger,
            sa.Computed("lane * 10 + case when hurried then 0 else priority + 1 end", persisted=True),
            nullable=False,
        ),
    )
    length: int = column.number(sa.SmallInteger, default=0)
    recipe: str | None = column.text(nullable=True)
    backend: str | None = column.text(nullable=True)
    model: str | None = column.text(nullable=True)
    named: str | None = column.text(nullable=True)
    avoid: str | None = column.text(nullable=True)
    run_after: datetime = column.when(now=True)
    attempts: int = column.number(sa.SmallInteger, default=0)
    tries: int = column.number(sa.SmallInteger, default=0)
    tried_before: int = column.number(sa.SmallInteger, default=0)
    lease: int | None = column.number(sa.BigInteger, nullable=True)
    rollup: bool = column.flag(default=True)
    rolled_of: int | None = column.number(sa.BigInteger, nullable=True)
    again: bool = column.flag()


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
    ext_id: str | None = column.text(nullable=True)
    kind: str = column.text()
    title: str = column.text()
    body: str = column.text(default="")
    line: int = column.number(sa.Integer)
    depth: int = column.number(sa.SmallInteger, default=0)
    declared: str = column.text()
    labels: dict[str, Any] = column.json(default="{}")
    needs: list[str] = Field(
        default_factory=list,
        sa_column=sa.Column(ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
    )
    content_hash: str = column.text()
    origin: str = column.text(default="board")
    complexity: int | None = column.number(sa.SmallInteger, nullable=True)
    removed_at: datetime | None = column.when(nullable=True)


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
    id: int | None = column.identity()
    board_id: int = column.reference("board.id", ondelete="CASCADE")
    folder: str = column.text()
    item_id: int = column.reference("item.id", ondelete="CASCADE")
    reference: str = column.text()
    needs_id: int | None = column.reference("item.id", nullable=True, ondelete="CASCADE")


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
    ring: bool = column.flag()


class LookAgain(SQLModel, table=True):
    """A board to decompose again though it did not change. Owned by tasks/decompose."""

    __tablename__ = "look_again"
    __table_args__ = (sa.Index("look_again_board", "board_id"),)
    id: int | None = column.identity()
    board_id: int = column.reference("board.id", ondelete="CASCADE")


class WorkKey(SQLModel, table=True):
    """Which item does a work; another that would do the same is refused. Owned by tasks/decompose."""

    __tablename__ = "work_key"
    __table_args__ = (sa.Index("work_key_item", "item_id"),)
    fingerprint: uuid.UUID = Field(sa_column=sa.Column(sa.Uuid, primary_key=True))
    item_id: int = column.number(sa.BigInteger)
    claimed_at: datetime = column.when(now=True)


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
    id: int | None = column.identity()
    board_id: int = column.reference("board.id", ondelete="CASCADE")
    stage: str = column.text()
    code: str = column.text()
    severity: str = column.text()
    line: int = column.number(sa.Integer)
    message: str = column.text()


class Issue(SQLModel, table=True):
    """An issue of a GitHub repository as its latest webhook said. Owned by tasks/ingest/origins.py."""

    repository: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    number: int = Field(sa_column=sa.Column(sa.BigInteger, primary_key=True, autoincrement=False))
    updated_at: datetime = column.when()
    removed: bool = column.flag()
    fields: dict[str, Any] = Field(sa_column=sa.Column(JSONB, nullable=False))
