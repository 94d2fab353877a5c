"""Figures in documents: what stands between `<!-- bench: NAME -->` and `<!-- /bench -->` comes from
bench/results/NAME.json and is written here, never by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bench.harness import RESULTS
from bench.missed import MISSED

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(?P<begin><!-- bench: (?P<name>\w+) -->\n).*?(?P<end><!-- /bench -->)", re.DOTALL)


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def table(name: str) -> str:
    """The figures of one benchmark as a Markdown table. Raises FileNotFoundError where it was never run in full."""
    rows = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    lines = ["| figure | value | goal | holds |", "| --- | ---: | --- | --- |"]
    for row in rows:
        holds = {True: "yes", False: "**no**", None: ""}[row["holds"]]
        lines.append(
            f"| {row['figure']} | {_shown(row['value'])} {row['unit']} | {row['goal'] or ''} | {holds} |"
        )
    commands = sorted({row["command"] for row in rows})
    missed = [f"- Not reached: {figure}. {why}" for figure, why in MISSED.get(name, {}).items()]
    return "\n".join(
        [f"Repeat with `{'`, `'.join(commands)}`.", "", *lines, *(["", *missed] if missed else []), ""]
    )


def filled(text: str) -> str:
    """The document with its figures as they are in bench/results."""
    return BLOCK.sub(lambda block: f"{block['begin']}{table(block['name'])}{block['end']}", text)


def refresh() -> None:
    for path in documents():
        text = path.read_text(encoding="utf-8")
        # A document may show a benchmark that was not run in full yet; the tests refuse that, not this.
        names = {block["name"] for block in BLOCK.finditer(text)}
        known = all((RESULTS / f"{name}.json").exists() for name in names)
        if known and (new := filled(text)) != text:
            path.write_text(new, encoding="utf-8")


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
