"""The report: every error type has words, foreign text stays text, long lists are cut in the Markdown only."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.enums import ErrorType
from models.errors import InputError
from tasks.report import BoardReport, Counts, ItemReport, Report, as_markdown, shown, write
from tasks.report.blocked import explain
from tasks.report.words import MEANING


def item(number: int, **more: object) -> ItemReport:
    values = {
        "item_id": number,
        "parent": None,
        "line": number,
        "id": None,
        "kind": "task",
        "title": f"title {number}",
        "declared": "todo",
        "status": "waiting",
        "work": True,
    }
    return ItemReport.model_validate(values | more)


def board(items: list[ItemReport], **more: object) -> BoardReport:
    waiting = sum(each.status == "waiting" for each in items)
    counts = Counts(
        items=len(items), steps=0, ticked=0, to_do=len(items), done=0, waiting=waiting, blocked=0,
        queued=0, failed=0, rejected=0,
    )  # fmt: skip
    values: dict[str, object] = {
        "board_id": 1,
        "source": "plan.md",
        "path": "/x/plan.md",
        "dialect": "gfm",
        "title": "Plan",
        "counts": counts,
        "declared": {},
        "statuses": {},
        "items": items,
        "findings": [],
    }
    return BoardReport.model_validate(values | more)


def report(*boards: BoardReport, **more: object) -> Report:
    values: dict[str, object] = {
        "run_id": None,
        "state": "waiting",
        "started_at": None,
        "finished_at": None,
        "backend": "extractive",
        "endpoint": None,
        "model": None,
        "simulated": False,
        "error": None,
        "calls": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "boards": list(boards),
    }
    return Report.model_validate(values | more)


def test_every_error_type_has_words() -> None:
    assert set(MEANING) == set(ErrorType)


def test_a_long_list_is_cut_in_the_markdown_and_whole_in_the_json(tmp_path: Path) -> None:
    found = report(board([item(n, error_type="schema", review=n, reason="r" * 900) for n in range(1, 101)]))
    markdown, data = write(found, tmp_path / "new" / "folder")
    text = markdown.read_text()
    assert text.count("- review ") == 15
    assert "and 85 more items" in text
    assert "100 × **schema**" in text
    assert len(text) < 12_000
    assert Report.model_validate_json(data.read_bytes()) == found


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="--out"):
        write(report(), tmp_path / "file" / "below")


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_foreign_text_forges_no_structure(title: str, reason: str, message: str) -> None:
    finding = {"code": "odd", "severity": "warning", "line": 1, "message": message}
    plain = as_markdown(
        report(board([item(1, title="t", reason="r", error_type="rule")], findings=[finding]))
    )
    odd = as_markdown(
        report(
            board(
                [item(1, title=title, reason=reason, error_type="rule")],
                title=title or "x",
                findings=[finding],
            )
        )
    )

    def headings(text: str) -> int:
        return sum(line.startswith("#") for line in text.splitlines())

    assert headings(odd) == headings(plain)
    assert len(odd.split("\n")) == len(plain.split("\n"))


def test_what_blocks_is_told_down_to_what_somebody_can_act_on() -> None:
    items = [
        item(1, title="Phase A", work=False, status="pending"),
        item(2, parent=1, review=7),
        item(3, parent=1, review=5),
        item(4, title="Phase B", work=False, status="pending"),
        item(5, parent=4, status="pending"),
        item(6, status="pending"),
        item(7, status="pending"),
    ]
    explain(items, {5: [1], 6: [4], 7: [2]})
    by_id = {each.item_id: each for each in items}
    assert by_id[5].waits_for[0].why == "2 of its items wait for a person (review 5, 7)"
    assert by_id[6].waits_for[0].why == "it is blocked itself, by Phase A"
    assert by_id[7].waits_for[0].why == "it waits for a person (review 7)"
    assert by_id[2].waits_for == []


def test_places_are_short_only_below_the_working_directory(tmp_path: Path) -> None:
    assert shown(str(tmp_path / "a" / "b.md"), tmp_path) == "a/b.md"
    assert shown("/elsewhere/b.md", tmp_path) == "/elsewhere/b.md"
    assert shown("stdin:0123", tmp_path) == "stdin:0123"
