"""A column as the tables have it: `title: str = column.text()`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlmodel import Field


def identity() -> Any:
    return Field(default=None, sa_column=sa.Column(sa.BigInteger, sa.Identity(always=True), primary_key=True))


def reference(target: str, *, nullable: bool = False, ondelete: str | None = None) -> Any:
    column = sa.Column(sa.BigInteger, sa.ForeignKey(target, ondelete=ondelete), nullable=nullable)
    return Field(default=None, sa_column=column)


def text(*, nullable: bool = False, default: str | None = None, **kwargs: Any) -> Any:
    server_default = sa.text(f"'{default}'") if default is not None else None
    column = sa.Column(sa.Text, nullable=nullable, server_default=server_default, **kwargs)
    return Field(default=default, sa_column=column)


def number(
    kind: type[sa.types.TypeEngine[Any]], *, default: int | None = None, nullable: bool = False
) -> Any:
    server_default = sa.text(str(default)) if default is not None else None
    return Field(default=default, sa_column=sa.Column(kind, nullable=nullable, server_default=server_default))


def flag(*, default: bool = False) -> Any:
    return Field(
        default=default,
        sa_column=sa.Column(sa.Boolean, nullable=False, server_default=sa.text(str(default).lower())),
    )


def when(*, now: bool = False, nullable: bool = False) -> Any:
    column = sa.Column(
        TIMESTAMP(timezone=True), nullable=nullable, server_default=sa.func.now() if now else None
    )
    return Field(default=None, sa_column=column)


def json(*, default: str | None = None) -> Any:
    server_default = sa.text(f"'{default}'") if default is not None else None
    column = sa.Column(JSONB, nullable=default is None, server_default=server_default)
    return Field(default=None, sa_column=column)
