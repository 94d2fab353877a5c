"""Ingest: parsed boards become stored items with identities that last over edits."""

from tasks.ingest.board import COUNTS, Delta, ingest_board, replace_findings

__all__ = ["COUNTS", "Delta", "ingest_board", "replace_findings"]
