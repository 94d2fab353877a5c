"""The catalogue of findings is what the code emits, and what docs/boards.md lists."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from models.enums import Severity
from models.findings import FINDINGS

ROOT = Path(__file__).resolve().parents[2]
EMITTERS = {"Finding": 0, "find": 0, "_coded": 0, "RowFinding": 2}
"""Calls that make a finding, with the place of the code among their arguments."""


def emitted() -> dict[str, set[str]]:
    """Every code in a call that makes a finding, with the severities that stand beside it."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in ("sources", "tasks", "flows", "interfaces"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for call in ast.walk(tree):
                if isinstance(call, ast.Call):
                    for code, severity in codes_of(call):
                        found[code] |= {severity} - {""}
    return found


def codes_of(call: ast.Call) -> Iterator[tuple[str, str]]:
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    place = EMITTERS.get(name)
    if place is None or len(call.args) < 3:
        return
    severity = next(filter(None, map(_severity, call.args)), "")
    for each in ast.walk(call.args[place]):  # "a" if x else "b" is two codes
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value.isidentifier():
            yield each.value, severity


def _severity(node: ast.expr) -> str:
    named = isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Severity"
    return node.attr.lower() if named and isinstance(node, ast.Attribute) else ""


def test_the_catalogue_has_exactly_the_codes_that_are_emitted() -> None:
    found = emitted()
    assert len(found) > 40
    assert set(found) - set(FINDINGS) == set(), "describe these in models/findings.py"
    assert set(FINDINGS) - set(found) == set(), "nothing emits these: take them out of models/findings.py"


def test_the_usual_severity_is_one_that_is_emitted() -> None:
    for code, severities in emitted().items():
        assert not severities or str(FINDINGS[code].severity) in severities, code


def test_every_finding_is_described_in_sentences() -> None:
    source = (ROOT / "models" / "findings.py").read_text(encoding="utf-8")
    for code, rule in FINDINGS.items():
        assert source.count(f'"{code}",') == 1, f"{code} is described twice"
        assert rule.code == code
        assert rule.severity in Severity
        assert rule.by
        assert not rule.title.endswith(".")
        for text in (rule.title, rule.meaning, rule.remedy):
            assert text[0].isupper(), text
            assert "\n" not in text
        assert rule.meaning.endswith(".")
        assert rule.remedy.endswith(".")


def test_codes_are_found_in_calls() -> None:
    calls = [
        'Finding("one", Severity.INFO, 0, text)',
        'outline.find("two" if x else "three", Severity.WARNING, line, text)',
        'RowFinding(row, line, "four", text)',
        'text.find("five")',
        'text.find("{", at, end)',
    ]
    nodes = [node for call in calls for node in ast.walk(ast.parse(call)) if isinstance(node, ast.Call)]
    assert [found for node in nodes for found in codes_of(node)] == [
        ("one", "info"),
        ("two", "warning"),
        ("three", "warning"),
        ("four", ""),
    ]
