"""Boards of lanes: kanban.md, TODO.md and Obsidian's Kanban plugin."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.board import ParsedBoard
from models.enums import Declared
from models.errors import SourceError
from sources import parse
from sources.marks import Edit, rewrite
from sources.naming import lane_of

TODO, DOING, DONE, BLOCKED, SKIPPED = (
    Declared.TODO,
    Declared.IN_PROGRESS,
    Declared.DONE,
    Declared.BLOCKED,
    Declared.SKIPPED,
)


def read(text: str, name: str = "board.md", dialect: str | None = None) -> ParsedBoard:
    return parse(text.encode(), name, dialect)


def seen(board: ParsedBoard) -> list[tuple[int, str, Declared]]:
    return [(item.line, item.title, item.status) for item in board.items]


def at(board: ParsedBoard, code: str) -> list[int]:
    return [finding.line for finding in board.findings if finding.code == code]


BOARD = """# Shop

Some words. Rules:

- be kind

## Backlog

- Search
  - by name
  - [ ] by price
  - [x] by colour

## In Progress (2)

1. [ ] Basket
2. Payment
   wrapped text
- [!] Invoices

## Done ✅

- [ ] Login
- [-] Fax
- Logo
- _(nothing more)_
- Total: 3

## Notes

- bring cake
"""


def test_the_lane_gives_the_state_and_a_mark_overrides_it() -> None:
    board = read(BOARD)
    assert board.dialect == "lanes"
    assert seen(board) == [
        (9, "Search", TODO),
        (11, "by price", TODO),
        (12, "by colour", DONE),
        (16, "Basket", DOING),
        (17, "Payment", DOING),
        (19, "Invoices", BLOCKED),
        (23, "Login", DONE),
        (24, "Fax", SKIPPED),
        (25, "Logo", DONE),
    ]
    assert [item.parent_line for item in board.items] == [None, 9, 9, None, None, None, None, None, None]
    search, basket, payment = board.items[0], board.items[3], board.items[4]
    assert search.body == "- by name"
    assert payment.body.strip() == "wrapped text"
    assert basket.labels["lane"] == "In Progress (2)"
    assert (payment.mark, basket.mark and basket.mark.style) == (None, "box")


def test_a_mark_against_its_lane_is_told_once_for_each_lane() -> None:
    board = read(
        "## Todo\n- [x] a\n- [x] b\n- [ ] c\n\n## Doing\n- [~] d\n- [x] e\n\n## Done\n- [!] f\n- [-] g\n"
    )
    assert at(board, "lane_conflict") == [2, 8, 11]
    assert "and 1 more" in next(f.message for f in board.findings if f.line == 2)


def test_a_write_back_closes_a_card() -> None:
    data = BOARD.encode()
    basket = next(item for item in parse(data, "board.md").items if item.title == "Basket")
    assert basket.mark is not None
    written = rewrite(data, "board.md", [Edit(basket.mark, DONE)], date(2026, 1, 1), 10**6).data
    assert written == data.replace(b"1. [ ] Basket", b"1. [x] Basket")
    assert next(item for item in parse(written, "board.md").items if item.title == "Basket").status is DONE


OBSIDIAN = """---

kanban-plugin: board

---

## Ideas

- [ ] Carpets @{2026-05-14}

## Waiting for guest

- [ ] Typewriters
\tno e-mail
- [x] Vans

## Doing: edit

- [ ] **Fog** 📅 2026-06-01
\t- [x] cut
\t- [ ] mix

## Whatever

- [ ] by its mark
- [/] begun

## Out

**Complete**
- [ ] Rust


***

## Alte Folgen

- [ ] Tar

%% kanban:settings
```
{"kanban-plugin":"board"}
- [ ] none
```
%%
"""


def test_a_board_of_the_plugin() -> None:
    board = read(OBSIDIAN)
    assert board.dialect == "lanes"
    assert [(item.title, item.status) for item in board.items] == [
        ("Carpets", TODO),
        ("Typewriters", BLOCKED),
        ("Vans", DONE),
        ("**Fog**", DOING),
        ("cut", DONE),
        ("mix", TODO),
        ("by its mark", TODO),
        ("begun", DOING),
        ("Rust", DONE),
        ("Tar", DONE),
    ]
    assert [item.labels.get("due") for item in board.items[:4]] == ["2026-05-14", None, None, "2026-06-01"]
    assert board.items[1].body.strip() == "no e-mail"
    assert board.not_items == [(OBSIDIAN.split("\n").index("- [ ] none") + 1, "comment")]


@pytest.mark.parametrize(
    ("lanes", "statuses"),
    [
        (("К выполнению", "В работе", "Готово"), (TODO, DOING, DONE)),
        (("Зробити", "В роботі", "Зроблено"), (TODO, DOING, DONE)),
        (("Zu erledigen", "In Arbeit", "Gestrichen"), (TODO, DOING, SKIPPED)),
        (("À faire", "En cours", "Terminé"), (TODO, DOING, DONE)),
        (("Por hacer", "En curso", "Hecho"), (TODO, DOING, DONE)),
        (("A fazer", "Em andamento", "Concluído"), (TODO, DOING, DONE)),
        (("Da fare", "In corso", "Fatto"), (TODO, DOING, DONE)),
        (("Te doen", "Bezig", "Klaar"), (TODO, DOING, DONE)),
        (("Do zrobienia", "W trakcie", "Zrobione"), (TODO, DOING, DONE)),
        (("Yapılacak", "Beklemede", "Tamamlandı"), (TODO, BLOCKED, DONE)),
        (("待办", "进行中", "已完成"), (TODO, DOING, DONE)),
        (("未着手", "対応中", "完了"), (TODO, DOING, DONE)),
        (("할 일", "진행 중", "완료"), (TODO, DOING, DONE)),
        (("📥 TODO (4)", "**Doing**", "DONE ✓"), (TODO, DOING, DONE)),
        (("Up next", "Code review", "Won’t do"), (TODO, DOING, SKIPPED)),
    ],
)
def test_lanes_in_many_languages(lanes: tuple[str, ...], statuses: tuple[Declared, ...]) -> None:
    board = read("\n".join(f"## {lane}\n\n- card {n}\n" for n, lane in enumerate(lanes)))
    assert (board.dialect, [item.status for item in board.items]) == ("lanes", list(statuses))


@pytest.mark.parametrize(
    "text",
    [
        "Todo\n----\n- a\n\nDone\n----\n- b\n",
        "**To do**\n- a\n\n**Done**\n- b\n",
        "Todo:\n- a\n\nDone:\n- b\n",
        "# TODO\n* a\n\n# DONE\n* b\n",
        "# TODO\n\n## To do\n### Backend\n- a\n\n## Done\n+ b\n",
        "# Plan\n## Todo\n- a\n## Notes\n- no card\n## Done\n- b\n",
    ],
)
def test_lanes_by_any_kind_of_heading(text: str) -> None:
    board = read(text)
    assert board.dialect == "lanes"
    assert [(item.title, item.status) for item in board.items] == [("a", TODO), ("b", DONE)]


def test_lanes_in_lanes() -> None:
    board = read("## Backend\n### Todo\n- a\n### Done\n- b\n## Site\n### Todo\n- c\n## Other\n- d\n")
    assert [(item.title, item.status) for item in board.items] == [("a", TODO), ("b", DONE), ("c", TODO)]


def test_ids_and_priorities() -> None:
    board = read(
        "## Todo\n### High priority\n- [ ] SHOP-12: Basket\n### Low\n- [SHOP-7](https://x.example/7) Logo\n"
        "## Done\n- z\n"
    )
    assert [(item.ext_id, item.title, item.priority) for item in board.items] == [
        ("SHOP-12", "Basket", 1),
        ("SHOP-7", "Logo", 3),
        (None, "z", 2),
    ]


@pytest.mark.parametrize(
    ("text", "name", "dialect"),
    [
        ("# Guide\n\n## Testing\n\n- run make\n\n## Install\n\n- pip\n", "README.md", "document"),
        ("# x\n\n## Ideas\n\n- one\n\n## Why\n\n- two\n", "notes.md", "document"),
        ("# x\n\n## Testing\n\n- [ ] unit\n\n## Docs\n\n- [ ] guide\n", "x.md", "gfm"),
        ("## High priority\n- [ ] a\n## Done\n- [x] b\n", "x.md", "priority_todo"),
        ("## Next step\nFix it.\n\n## Done\n- a\n\n## Blocked\n- b\n", "focus.md", "handoff"),
        ("## Todo\n- [ ] EP A-1 — x\n  [ ] T A-1.1 — y\n\n## Done\n- [x] T A-2 — z\n", "x.md", "kanban"),
        ("## Todo\n- [ ] A-1: x\n- [ ] A-2: y\n\n## Done\n- [x] A-3: z\n", "x.md", "lanes"),
        ("# Project\n\n## Todo\n- a\n", "TODO.md", "lanes"),
        ("# Project\n\n## Todo\n- a\n", "project.md", "document"),
    ],
)
def test_what_is_a_board_of_lanes(text: str, name: str, dialect: str) -> None:
    assert read(text, name).dialect == dialect


def test_names_of_lanes() -> None:
    assert lane_of("Doing: research") is DOING
    assert lane_of("Waiting for guest") is BLOCKED
    assert lane_of("Blocked Berlin") is None
    assert lane_of("Blocked Berlin", loose=True) is BLOCKED
    assert lane_of("Open for business") is None
    assert lane_of("How to get things done") is None
    assert lane_of("x" * 100) is None


PIECES = st.sampled_from(
    [
        "## Todo", "## Doing", "## Done", "# TODO", "### Blocked", "**Complete**", "***", "## Archive", "Todo:",
        "Done\n----", "- card", "1. card", "- [ ] card", "- [x] card", "- [?] card", "\t- [ ] sub", "  - text",
        "- [x](y)", "- [ ]", "- _(none)_", "- card 📅 2026-01-01", "%% kanban:settings", "%%", "```", "", "text",
        "---\nkanban-plugin: board\n---", "☐ card", "- [TODO] x",
    ]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=12), max_size=25).map("\n".join), st.sampled_from([None, "lanes"]))
@settings(deadline=None)
def test_any_text_is_read_and_every_card_has_its_place(text: str, dialect: str | None) -> None:
    try:
        board = read(text, "TODO.md", dialect)
    except SourceError:
        return
    lines = [item.line for item in board.items]
    assert lines == sorted(set(lines))
    assert all(item.title.strip() for item in board.items)
    assert not {line for line, _ in board.not_items} & set(lines)
    by_line = {item.line: item for item in board.items}
    assert all(item.parent_line is None or item.parent_line in by_line for item in board.items)


@given(
    st.lists(st.tuples(st.sampled_from([TODO, DOING, DONE, BLOCKED]), st.booleans()), min_size=2, max_size=12)
)
@settings(deadline=None)
def test_cards_have_the_state_of_their_lane(cards: list[tuple[Declared, bool]]) -> None:
    names = {TODO: "Backlog", DOING: "In progress", DONE: "Done", BLOCKED: "On hold"}
    text = "".join(
        f"## {names[status]}\n\n- {'[ ] ' if box else ''}card {n}\n\n"
        for n, (status, box) in enumerate(cards)
    )
    board = read(text, dialect="lanes")
    assert [item.status for item in board.items] == [status for status, _ in cards]
    assert [item.mark is not None for item in board.items] == [box for _, box in cards]


def test_cards_right_below_the_title_of_a_to_do_file() -> None:
    board = read(
        "# TODO\n\n- Fix the pump\n- [x] Call Ann\n\n## Ideas\n\n- robot\n\n## About\n\n- no card\n",
        "TODO.md",
    )
    assert seen(board) == [(3, "Fix the pump", TODO), (4, "Call Ann", DONE), (8, "robot", TODO)]


def test_a_roadmap_by_its_name() -> None:
    text = "# Roadmap\n\n## Now\n\n- **API-1** Search\n\n## Next\n\n- Dark mode\n\n## Later\n\n- Offline\n"
    assert [(item.ext_id, item.title) for item in read(text, "ROADMAP.md").items] == [
        ("API-1", "Search"),
        (None, "Dark mode"),
        (None, "Offline"),
    ]
    assert read(text, "notes.md").dialect == "document"
