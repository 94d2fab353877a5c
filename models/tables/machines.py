"""Who may ask which model server now: leases, seats, paces, breakers, budgets, pauses."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from models.tables import column

TOKENS = sa.Sequence("lease_token", data_type=sa.BigInteger, metadata=SQLModel.metadata)


class Lease(SQLModel, table=True):
    """Who may use an endpoint, until when. Owned by tasks/execute/lease.py."""

    resource: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    backend: str = column.text()
    token: int = column.number(sa.BigInteger)
    holder: str = column.text()
    model: str | None = column.text(nullable=True)
    device: str | None = column.text(nullable=True)
    want: int = column.number(sa.SmallInteger, default=0)
    weight: int = column.number(sa.SmallInteger, default=1)
    seated_at: datetime | None = column.when(nullable=True)
    idle_at: datetime = column.when(now=True)
    acquired_at: datetime = column.when(now=True)
    expires_at: datetime = column.when()


class Process(SQLModel, table=True):
    """Which process does a flow run now. Owned by tasks/life.py."""

    flow_run_id: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    holder: str = column.text()
    seen_at: datetime = column.when(now=True)


class Seat(SQLModel, table=True):
    """One request that a device takes at once. Owned by tasks/execute/seats.py."""

    device: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    number: int = Field(sa_column=sa.Column(sa.SmallInteger, primary_key=True))
    token: int | None = column.number(sa.BigInteger, nullable=True)


class EndpointState(SQLModel, table=True):
    """How many requests at once an endpoint bears now. Owned by tasks/execute/pace.py."""

    __tablename__ = "endpoint"
    resource: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    backend: str = column.text()
    url: str = column.text()
    device: str | None = column.text(nullable=True)
    slots: int = column.number(sa.SmallInteger)
    allowed: float = column.number(sa.REAL)
    held_until: datetime | None = column.when(nullable=True)
    reason: str = column.text(default="")
    changed_at: datetime = column.when(now=True)


class ModelState(SQLModel, table=True):
    """A model on an endpoint: its times and its breaker. Owned by tasks/execute/breaker.py and switching.py."""

    __tablename__ = "model_state"
    resource: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    model: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    load_seconds: float | None = column.number(sa.REAL, nullable=True)
    loads: int = column.number(sa.Integer, default=0)
    item_seconds: float | None = column.number(sa.REAL, nullable=True)
    failures: int = column.number(sa.SmallInteger, default=0)
    open_until: datetime | None = column.when(nullable=True)
    trial: int | None = column.number(sa.BigInteger, nullable=True)
    error: str | None = column.text(nullable=True)


class Residency(SQLModel, table=True):
    """A model that takes memory of a device. Owned by tasks/execute/switching.py."""

    __table_args__ = (sa.Index("residency_device", "device"),)
    resource: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    model: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    device: str = column.text()
    memory: float = column.number(sa.REAL)
    state: str = column.text()
    token: int = column.number(sa.BigInteger)
    since: datetime = column.when(now=True)
    used_at: datetime = column.when(now=True)


class Pause(SQLModel, table=True):
    """What people, or a limit, stopped. Owned by tasks/pause.py."""

    kind: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    name: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    until: datetime | None = column.when(nullable=True)
    reason: str = column.text(default="")
    by: str = column.text(default="")
    at: datetime = column.when(now=True)


class Account(SQLModel, table=True):
    """What the workers of one account share. Owned by tasks/execute/budget.py."""

    name: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    cooldown_until: datetime | None = column.when(nullable=True)
    reason: str = column.text(default="")
    minute: datetime | None = column.when(nullable=True)
    minute_requests: int = column.number(sa.Integer, default=0)
    minute_tokens: int = column.number(sa.BigInteger, default=0)


class Spend(SQLModel, table=True):
    """What an account used on one day. Owned by tasks/execute/budget.py."""

    account: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    day: date = Field(sa_column=sa.Column(sa.Date, primary_key=True))
    requests: int = column.number(sa.Integer, default=0)
    tokens: int = column.number(sa.BigInteger, default=0)
    usd: float = column.number(sa.Double, default=0)
    unpriced: int = column.number(sa.Integer, default=0)
    warned: list[str] = Field(
        default_factory=list,
        sa_column=sa.Column(ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'")),
    )


class Reservation(SQLModel, table=True):
    """What a drain has asked of an account and not reported yet. Owned by tasks/execute/budget.py."""

    account: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    day: date = Field(sa_column=sa.Column(sa.Date, primary_key=True))
    token: int = Field(sa_column=sa.Column(sa.BigInteger, primary_key=True))
    requests: int = column.number(sa.Integer)
    tokens: int = column.number(sa.BigInteger)
    usd: float = column.number(sa.Double)


class Streak(SQLModel, table=True):
    """Answers of a recipe by a model that were not accepted, in a row. Owned by tasks/execute/strikes.py."""

    recipe: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    model: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    failures: int = column.number(sa.Integer, default=0)
    items: list[int] = Field(
        default_factory=list,
        sa_column=sa.Column(ARRAY(sa.BigInteger), nullable=False, server_default=sa.text("'{}'")),
    )
    error: str | None = column.text(nullable=True)


class Packing(SQLModel, table=True):
    """How well a model answers several items of a recipe in one request. Owned by tasks/execute/pack_record.py."""

    recipe: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    model: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    asked: int = column.number(sa.Integer, default=0)
    bad: int = column.number(sa.Integer, default=0)
    calls: int = column.number(sa.BigInteger, default=0)
    members: int = column.number(sa.BigInteger, default=0)
