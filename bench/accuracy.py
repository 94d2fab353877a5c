"""How truly boards are read: precision and recall of items, marks and parents over the labelled boards of tests/corpus.

A file `<board>.labels.json` beside a board says by hand which lines are items, with which status and parent, and
which lines look like items and are none. `python -m bench.accuracy [FOLDER]` prints every place where Penstock reads
something else; FOLDER may be a corpus of your own.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.harness import Figure, told
from models.board import ParsedBoard
from sources import parse
from sources.checkbox import is_checkbox
from sources.document import visible

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
LABELS = ".labels.json"


@dataclass(slots=True)
class Score:
    """Counts over some boards. An item is right when its line (and ordinal) is; its mark and parent count apart."""

    boards: int = 0
    labelled: int = 0
    read: int = 0
    both: int = 0
    marks: int = 0
    parents: int = 0
    ids: int = 0
    dialects: int = 0
    languages: set[str] = field(default_factory=set)
    mistakes: list[str] = field(default_factory=list)

    def shares(self) -> dict[str, float]:
        """Percentages: of what was read that is right, of what is labelled that was read, and so for the rest."""
        return {
            "precision of items": _percent(self.both, self.read),
            "recall of items": _percent(self.both, self.labelled),
            "marks right": _percent(self.marks, self.labelled),
            "parents right": _percent(self.parents, self.labelled),
            "dialects right": _percent(self.dialects, self.boards),
        }


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 100.0


def boards_of(corpus: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for labels in sorted(corpus.rglob(f"*{LABELS}")):
        yield labels.with_name(labels.name.removesuffix(LABELS)), json.loads(labels.read_text("utf-8"))


def evaluate(corpus: Path = CORPUS) -> dict[str, Score]:
    """Scores by labelled dialect."""
    scores: dict[str, Score] = defaultdict(Score)
    for path, labels in boards_of(corpus):
        place = path.relative_to(corpus).as_posix()
        board = parse(path.read_bytes(), str(path))
        compare(scores[labels["dialect"]], place, board, labels)
    return dict(scores)


def compare(score: Score, place: str, board: ParsedBoard, labels: dict[str, Any]) -> None:
    expected = {(label["line"], label.get("ordinal", 0)): label for label in labels["items"]}
    found = {(item.line, item.ordinal): item for item in board.items if item.kind != "step"}
    score.boards += 1
    score.languages.add(labels["language"])
    score.labelled += len(expected)
    score.read += len(found)
    score.dialects += board.dialect == labels["dialect"]

    def wrong(line: int, what: str) -> None:
        score.mistakes.append(f"{place}:{line}: {what}")

    if board.dialect != labels["dialect"]:
        wrong(0, f"read as {board.dialect}, is {labels['dialect']}")
    for key in sorted(expected.keys() | found.keys()):
        label, item = expected.get(key), found.get(key)
        if label is None and item is not None:
            wrong(key[0], f"no item, read as {item.status} {item.title[:50]!r}")
        elif item is None and label is not None:
            reasons = dict(board.not_items)
            wrong(key[0], f"an item ({label['status']}), not read ({reasons.get(key[0], 'not looked at')})")
        elif label is not None and item is not None:
            score.both += 1
            score.marks += str(item.status) == label["status"]
            score.parents += item.parent_line == label["parent"]
            if str(item.status) != label["status"]:
                wrong(key[0], f"is {label['status']}, read as {item.status}: {item.title[:50]!r}")
            if item.parent_line != label["parent"]:
                wrong(key[0], f"is below line {label['parent']}, read below {item.parent_line}")
            if "id" in label and label["id"] != item.ext_id:
                wrong(key[0], f"has the id {label['id']!r}, read as {item.ext_id!r}")
    accounted = {line for line, _ in board.not_items}
    lines = board.text.split("\n")
    for line in labels.get("not_items", ()):
        looks = is_checkbox(visible(lines[line - 1]).strip().lstrip("> \t"))
        if looks and line not in accounted and (line, 0) not in found:
            wrong(line, "looks like a checkbox, is no item, and is not accounted for")
    reported = Counter(f"{finding.code}:{finding.line}" for finding in board.findings)
    for finding in labels.get("findings", ()):
        if not reported[finding]:
            wrong(int(finding.rpartition(":")[2]), f"the finding {finding} is not reported")


def total(scores: dict[str, Score]) -> Score:
    whole = Score()
    for score in scores.values():
        for name in ("boards", "labelled", "read", "both", "marks", "parents", "dialects"):
            setattr(whole, name, getattr(whole, name) + getattr(score, name))
        whole.languages |= score.languages
        whole.mistakes += score.mistakes
    return whole


def run(quick: bool) -> list[Figure]:
    scores = evaluate()
    whole = total(scores)
    figures = [
        told("boards", whole.boards, f"in {len(scores)} dialects, {len(whole.languages)} languages"),
        told("labelled items", whole.labelled, "items"),
    ]
    for name, value in whole.shares().items():
        figures.append(Figure(name, value, "%", "= 100", value == 100.0))
    return figures


def main(arguments: list[str]) -> int:
    scores = evaluate(Path(arguments[0]) if arguments else CORPUS)
    for score in scores.values():
        for mistake in score.mistakes:
            print(mistake)
    for name, score in sorted(scores.items()):
        shares = "  ".join(f"{what} {value:.1f}" for what, value in score.shares().items())
        print(f"{name:15} {score.boards:3} boards {score.labelled:5} items  {shares}")
    whole = total(scores)
    print(f"{whole.boards} boards, {whole.labelled} items, {len(whole.mistakes)} mistakes; {whole.shares()}")
    return bool(whole.mistakes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
