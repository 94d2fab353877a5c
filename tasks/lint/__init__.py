"""Lint: the findings of boards alone. No database, no model, no network."""

from tasks.lint.boards import lint

__all__ = ["lint"]
