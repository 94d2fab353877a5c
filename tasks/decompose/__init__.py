"""Decompose: a board's structure becomes a graph of what waits for what."""

from tasks.decompose.again import look_again
from tasks.decompose.board import Decomposition, decompose_board, decompose_boards
from tasks.decompose.plan import WHOLE, parse_plan, plan_text, split_problem
from tasks.decompose.split import apply_plan, apply_split, split_problems
from tasks.decompose.wishes import Wishes

__all__ = [
    "WHOLE",
    "Decomposition",
    "Wishes",
    "apply_plan",
    "apply_split",
    "decompose_board",
    "decompose_boards",
    "look_again",
    "parse_plan",
    "plan_text",
    "split_problem",
    "split_problems",
]
