"""Ingest: parsed boards become stored items with identities that last over edits."""

from tasks.ingest.board import Delta, ingest_board, replace_findings

__all__ = ["Delta", "ingest_board", "replace_findings"]
