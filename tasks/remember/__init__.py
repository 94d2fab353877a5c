"""Memory: documents and accepted answers become nodes, and nodes become passages and hits."""

from tasks.remember.embedding import Encoder, default_encoder
from tasks.remember.recalling import Hit, Question, recall, recall_for_items, recall_many, search
from tasks.remember.storing import merge_recent, remember_board, remember_results

__all__ = [
    "Encoder",
    "Hit",
    "Question",
    "default_encoder",
    "merge_recent",
    "recall",
    "recall_for_items",
    "recall_many",
    "remember_board",
    "remember_results",
    "search",
]
