"""Golden sets: questions with known properties of a good answer, asked of models and recipes that are to be compared.

`cases.py` reads them, `asking.py` asks through the machinery of a drain, `scoring.py` scores, `results.py` compares
and keeps. No item is made, and nothing is stored but in a file that is asked for: what an evaluation asks and gets is
no part of the backlog, of memory, of the checks' figures or of what routing learns.
"""

from __future__ import annotations

from tasks.evaluate.asking import Seat, Variant, evaluate
from tasks.evaluate.cases import Case, GoldenSet, read_sets
from tasks.evaluate.results import Comparison, Evaluation, VariantResult, against, compare, read_saved

__all__ = [
    "Case",
    "Comparison",
    "Evaluation",
    "GoldenSet",
    "Seat",
    "Variant",
    "VariantResult",
    "against",
    "compare",
    "evaluate",
    "read_saved",
    "read_sets",
]
