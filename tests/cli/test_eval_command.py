"""`penstock eval` with the set of the repository: out of the box, compared, and held to a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[2]
EXTRACTIVE = {"PENSTOCK_BACKEND": "extractive", "COLUMNS": "140"}


def test_out_of_the_box_then_a_variant_that_is_worse(penstock: Any, tmp_path: Path) -> None:
    base = tmp_path / "base.json"
    first = penstock("eval", str(ROOT / "evals"), "--save", str(base), env=EXTRACTIVE)
    assert first.code == 0, first.err
    [line] = [line for line in first.out.splitlines() if line.startswith("extractive ")]
    assert "%" in line
    assert base.exists()

    text = (ROOT / "recipes" / "task.md").read_text(encoding="utf-8")
    worse = tmp_path / "strict.md"
    worse.write_text(
        text.replace("confidence, min_value: 0.3", "confidence, min_value: 0.99"), encoding="utf-8"
    )
    told = ["eval", str(ROOT / "evals"), "--baseline", str(base)]
    same = penstock(*told, env=EXTRACTIVE)
    assert same.code == 0
    assert "score +0.00 over 9 cases" in same.out

    both = penstock(*told, "--recipe-file", str(worse), "--json", env=EXTRACTIVE)
    assert both.code == 4
    said = orjson.loads(both.out)
    assert [each["name"] for each in said["variants"]] == ["extractive", "extractive, strict.md"]
    [compared] = said["compared"]
    assert compared["difference"] < -0.05
    assert compared["interval"][1] < 0
    assert [each["regressed"] for each in said["baseline"]] == [False, True]
    allowed = penstock(*told, "--recipe-file", str(worse), "--threshold", "0.9", env=EXTRACTIVE)
    assert allowed.code == 0
    assert "strict.md against extractive: score -" in " ".join(allowed.out.split())


def test_bad_input_is_said(penstock: Any, tmp_path: Path) -> None:
    nowhere = penstock("eval", str(tmp_path / "nowhere"), env=EXTRACTIVE)
    assert (nowhere.code, "is not there" in nowhere.err) == (2, True)
    (tmp_path / "task.yaml").write_text("recipe: tusk\ncases: [{id: a, title: b}]\n")
    assert penstock("eval", str(tmp_path), env=EXTRACTIVE).code == 2
    other = str(ROOT / "recipes" / "check.md")
    wrong = penstock("eval", str(ROOT / "evals"), "--recipe-file", other, env=EXTRACTIVE)
    assert (wrong.code, "no golden set here is for" in wrong.err) == (2, True)
