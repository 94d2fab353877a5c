"""Obsidian Tasks: the fields at the end of a line, as signs and as Dataview's."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.board import ParsedBoard, ParsedItem
from models.enums import Declared
from models.errors import SourceError
from sources import parse


def read(text: str, dialect: str | None = None) -> ParsedBoard:
    return parse(text.encode(), "tasks.md", dialect)


def one(line: str) -> ParsedItem:
    (item,) = read(line, "obsidian_tasks").items
    return item


def codes(board: ParsedBoard) -> list[tuple[str, int]]:
    return [(finding.code, finding.line) for finding in board.findings]


def test_every_field_as_a_sign() -> None:
    item = one(
        "- [ ] #task Water the plants #garden 🔺 🔁 every 3 days when done 🏁 delete ➕ 2026-01-01 🛫 2026-01-02 "
        "⏳ 2026-01-03 📅 2026-01-04 ⏰ 2026-01-04 09:30 🆔 a-1 ⛔ b2, c_3 ^block1"
    )
    assert item.title == "Water the plants #garden"
    assert item.labels == {
        "priority": "highest", "recurrence": "every 3 days when done", "on_completion": "delete",
        "created": "2026-01-01", "start": "2026-01-02", "scheduled": "2026-01-03", "due": "2026-01-04",
        "reminder": "2026-01-04 09:30", "block": "block1",
    }  # fmt: skip
    assert (item.ext_id, item.needs, item.priority, item.status) == ("a-1", ["b2", "c_3"], 0, Declared.TODO)


def test_every_field_as_dataview_writes_it() -> None:
    item = one(
        "- [x] Rapport (due:: 2026-04-05) [priority:: low], [id:: rap]  [dependsOn:: a,b] [repeat:: every month] "
        "[start:: 2026-01-01] [scheduled:: 2026-01-02] [created:: 2026-01-03] [completion:: 2026-02-01] "
        "[owner:: Ann] [effort:: 2d]"
    )
    assert item.title == "Rapport"
    assert item.labels == {
        "due": "2026-04-05", "priority": "low", "recurrence": "every month", "start": "2026-01-01",
        "scheduled": "2026-01-02", "created": "2026-01-03", "completed": "2026-02-01", "owner": "Ann", "estimate": "2d",
    }  # fmt: skip
    assert (item.ext_id, item.needs, item.priority) == ("rap", ["a", "b"], 3)


@pytest.mark.parametrize(
    ("sign", "name", "priority"),
    [
        ("🔺", "highest", 0),
        ("⏫", "high", 1),
        ("🔼", "medium", 2),
        ("", None, 2),
        ("🔽", "low", 3),
        ("⏬\ufe0f", "lowest", 4),
    ],
)
def test_six_priorities(sign: str, name: str | None, priority: int) -> None:
    item = one(f"- [ ] a {sign}")
    assert (item.title, item.labels.get("priority"), item.priority) == ("a", name, priority)


@pytest.mark.parametrize(
    ("mark", "status"), [("/", "in_progress"), ("-", "skipped"), ("x", "done"), ("!", "blocked")]
)
def test_marks(mark: str, status: str) -> None:
    assert str(one(f"- [{mark}] a 🔼").status) == status


def test_fields_are_read_from_the_end() -> None:
    item = one("- [ ] Ask 📅 2026-01-01 whether ⏫ is high 🔽")
    assert (item.title, item.labels) == ("Ask 📅 2026-01-01 whether ⏫ is high", {"priority": "low"})
    assert one("- [ ] call [[Ann]] (see:: ) now").title == "call [[Ann]] (see:: ) now"
    assert one("- [ ] 📅 2026-01-01").title == "📅 2026-01-01"  # nothing else is there to call it


def test_needs_become_edges_and_unknown_ones_are_told() -> None:
    board = read("- [x] a 🆔 one ✅ 2026-01-01\n- [ ] b 🆔 two ⛔ one\n  - [ ] c ⛔ nine\n- [ ] d 🆔 two\n")
    assert board.dialect == "obsidian_tasks"
    assert [item.needs for item in board.items] == [[], ["one"], ["nine"], []]
    assert codes(board) == [("unknown_dependency", 3), ("duplicate_id", 4)]
    assert board.items[2].parent_line == 2


def test_dates_that_contradict_the_mark_or_the_calendar() -> None:
    board = read(
        "- [ ] a ✅ 2026-01-01\n- [x] b ✅ 2026-01-01\n- [/] c ❌ 2026-01-02\n- [-] d ❌ 2026-01-02\n"
        "- [ ] e 📅 2026-02-30\n"
    )
    assert codes(board) == [("evidence_conflict", 1), ("evidence_conflict", 3), ("invalid_date", 5)]
    assert board.items[4].labels["due"] == "2026-02-30"


def test_queries_are_no_items() -> None:
    board = read("- [ ] a 📅 2026-01-01\n\n```tasks\nnot done\n- [ ] b\n```\n")
    assert [item.title for item in board.items] == ["a"]
    assert board.not_items == [(5, "code")]


def test_a_list_without_fields_is_plain() -> None:
    assert read("- [ ] a\n- [x] b ⏰\n").dialect == "gfm"
    assert read("- [ ] a\n" * 40 + "- [ ] b ⏫\n").dialect == "obsidian_tasks"


TITLES = st.text("abc xyzжд(),.!", min_size=1, max_size=20).filter(lambda text: text.strip(" (),.!") != "")
DAYS = st.dates().map(str)
IDS = st.text("abcXYZ019_-", min_size=1, max_size=8)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "due": DAYS, "scheduled": DAYS, "start": DAYS, "created": DAYS, "id": IDS,
        "needs": st.lists(IDS, min_size=1, max_size=4, unique=True),
        "recurrence": st.sampled_from(["every day", "every 2 weeks on Thursday", "every month when done"]),
        "priority": st.sampled_from(["highest", "high", "medium", "low", "lowest"]),
    },
)  # fmt: skip
SIGNS = {
    "due": "📅",
    "scheduled": "⏳",
    "start": "🛫",
    "created": "➕",
    "id": "🆔",
    "needs": "⛔",
    "recurrence": "🔁",
}
LEVELS = {"highest": "🔺", "high": "⏫", "medium": "🔼", "low": "🔽", "lowest": "⏬"}
KEYS = {
    **{name: name for name in SIGNS},
    "needs": "dependsOn",
    "recurrence": "repeat",
    "priority": "priority",
}


def written(name: str, value: str | list[str], dataview: bool) -> str:
    text = value if isinstance(value, str) else ", ".join(value)
    if dataview:
        return f"[{KEYS[name]}:: {text}]"
    return LEVELS[text] if name == "priority" else f"{SIGNS[name]} {text}"


@given(TITLES, FIELDS, st.booleans(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_fields_come_back_as_they_were_written(
    title: str, fields: dict[str, str | list[str]], dataview: bool, random: Random
) -> None:
    order = sorted(fields)
    random.shuffle(order)
    item = one(" ".join(["- [ ]", title, *(written(name, fields[name], dataview) for name in order)]))
    labels = {name: value for name, value in fields.items() if name not in ("id", "needs")}
    assert item.title == title.strip()
    assert {name: value for name, value in item.labels.items() if name != "section"} == labels
    assert item.ext_id == fields.get("id")
    assert item.needs == [need for need in fields.get("needs", []) if need != item.ext_id]


@given(
    st.lists(
        st.sampled_from(
            [
                "- [ ] ",
                "📅",
                "2026-01-01",
                " ",
                "⛔ a,b",
                "🆔",
                "[due::",
                "]",
                "(id:: x)",
                "#tag",
                "^b",
                "🔁 every",
                "\ufe0f",
            ]
        ),
        max_size=30,
    )
)
@settings(deadline=None)
def test_any_line_is_read(pieces: list[str]) -> None:
    try:
        board = read("".join(pieces), "obsidian_tasks")
    except SourceError:
        return
    assert all(item.title.strip() for item in board.items)
