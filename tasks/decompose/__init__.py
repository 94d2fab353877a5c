"""Decompose: a board's structure becomes a graph of what waits for what."""

from tasks.decompose.board import Decomposition, decompose_board
from tasks.decompose.split import apply_split, split_problem
from tasks.decompose.wishes import Wishes

__all__ = ["Decomposition", "Wishes", "apply_split", "decompose_board", "split_problem"]
