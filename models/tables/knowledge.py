"""What is remembered, and what was run."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlmodel import Field, SQLModel

from models.tables import column

EMBEDDING_DIMENSIONS = 768


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
    id: int | None = column.identity()
    kind: str = column.text()
    source: str = column.text()
    cite: str = column.text()
    heading: str = column.text(default="")
    text: str = column.text()
    tsv: Any = Field(
        default=None,
        sa_column=sa.Column(
            TSVECTOR,
            sa.Computed("to_tsvector('russian'::regconfig, (heading || ' '::text) || text)", persisted=True),
        ),
    )
    embedding: Any = Field(sa_column=sa.Column(HALFVEC(EMBEDDING_DIMENSIONS), nullable=False))
    encoder: str = column.text()
    board_id: int | None = column.reference("board.id", nullable=True, ondelete="CASCADE")
    result_id: int | None = column.reference("result.id", nullable=True, ondelete="CASCADE")
    line_start: int | None = column.number(sa.Integer, nullable=True)
    line_end: int | None = column.number(sa.Integer, nullable=True)
    content_hash: str = column.text()
    indexed: bool = column.flag()
    valid_from: datetime = column.when(now=True)
    superseded_at: datetime | None = column.when(nullable=True)


class DocSync(SQLModel, table=True):
    """How far the documentation of a repository was synced."""

    __tablename__ = "doc_sync"
    repo: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    branch: str = column.text()
    last_commit: str = column.text()
    synced_at: datetime = column.when(now=True)


class Run(SQLModel, table=True):
    """One `penstock run` or one run of the pipeline deployment."""

    id: uuid.UUID = Field(sa_column=sa.Column(sa.Uuid, primary_key=True))
    started_at: datetime = column.when(now=True)
    finished_at: datetime | None = column.when(nullable=True)
    state: str = column.text(default="running")
    wish: str | None = column.text(nullable=True)
    wished_by: str = column.text(default="")
    stage: str = column.text(default="ingest")
    flow_run_id: str | None = column.text(nullable=True)
    board_ids: list[int] = Field(
        default_factory=list,
        sa_column=sa.Column(ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'")),
    )
    backend: str | None = column.text(nullable=True)
    endpoint: str | None = column.text(nullable=True)
    model: str | None = column.text(nullable=True)
    error: str | None = column.text(nullable=True)
    params: dict[str, Any] = column.json(default="{}")


class Delivery(SQLModel, table=True):
    """A webhook delivery that was accepted: the same id starts one run."""

    id: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    source: str = column.text()
    parameters: dict[str, Any] = column.json(default="{}")
    flow_run_id: str | None = column.text(nullable=True)
    received_at: datetime = column.when(now=True)
