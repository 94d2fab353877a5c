"""The labelled answers of tests/answers: made as their makers say, and judged as their labels say."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from bench.validators import SETS, STRICT, UNSEEN, judged, labelled

ANSWERS = Path(__file__).parents[1] / "answers"


@pytest.mark.parametrize("name", [*SETS, UNSEEN])
def test_the_file_is_what_its_maker_makes(name: str) -> None:
    made = runpy.run_path(str(ANSWERS / "make.py"))
    assert (ANSWERS / name).read_text(encoding="utf-8") == made["text"](made["FILES"][name])


@pytest.mark.parametrize("name", SETS)
async def test_nothing_bad_passes_transport_shape_and_grounding_and_nothing_good_fails(name: str) -> None:
    found = await judged(labelled(name))
    assert len(found) > 300
    assert {one.label["layer"] for one in found} >= {*STRICT, "-"}
    wrong = [
        (one.label["id"], one.label["class"], [failure.message for failure in one.verdict.failures])
        for one in found
        if not one.right and one.label["layer"] in (*STRICT, "-")
    ]
    assert wrong == []
