"""Rows as items: which tables are work, what a row's status is, and where it is written back."""

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
from sources.phases import phase_of


def read(text: str, dialect: str | None = None) -> ParsedBoard:
    return parse(text.encode(), "plan.md", dialect)


def seen(board: ParsedBoard) -> list[tuple[str, str]]:
    return [(item.title, str(item.status)) for item in board.items]


def table(header: str, *rows: str) -> str:
    columns = header.strip("|").count("|") + 1
    return "\n".join([header, "|" + "---|" * columns, *rows]) + "\n"


@pytest.mark.parametrize(
    ("cell", "status"),
    [
        ("✅", "done"), ("✅ Done", "done"), ("**Done**", "done"), ("[Done](log.md)", "done"), ("`done`", "done"),
        ("100 %", "done"), ("5/5", "done"), ("5 of 5", "done"), ("[x]", "done"), (":white_check_mark:", "done"),
        ("сделано", "done"), ("完了", "done"), ("60%", "partial"), ("▓▓▓░░ 60 %", "partial"), ("2/5 done", "partial"),
        ("3 von 5", "partial"), ("частично", "partial"), ("0 %", "todo"), ("0/5", "todo"), ("", "todo"), ("-", "todo"),
        ("—", "todo"), ("[ ]", "todo"), ("⬜", "todo"), ("not done", "todo"),
        ("🚧", "in_progress"), ("in Arbeit", "in_progress"), ("[~]", "in_progress"), ("en cours", "in_progress"),
        ("⛔", "blocked"), ("hängt", "blocked"), ("[!]", "blocked"), ("阻塞", "blocked"),
        ("Cancelled", "skipped"), ("İptal edildi", "skipped"), ("[-]", "skipped"), ("entfällt", "skipped"),
    ],
)  # fmt: skip
def test_statuses_of_cells(cell: str, status: str) -> None:
    board = read(table("| Task | Status |", "| a | done |", f"| b | {cell} |"))
    assert seen(board) == [("a", "done"), ("b", status)]


def test_tables_without_outer_bars_and_aligned() -> None:
    board = read(
        "Step | Who | Progress\n:--- | :-: | ---:\nInventory | Femi | 100%\n**Cables** | Ann |\n**Total** | | 50%\n"
    )
    assert seen(board) == [("Inventory", "done"), ("Cables", "todo")]
    assert board.items[0].labels["owner"] == "Femi"
    assert board.findings == []


def test_links_bold_and_code_in_cells() -> None:
    board = read(
        table(
            "| ID | Work item | Owner | Due | Priority | Depends on | Status |",
            "| [R-1](https://x.example/1) | [Guide](docs/g.md) *done* right | **Ola** | 2026-03-01 | high | - | ✔️ |",
            r"| `R-2` | a \| b | - | | | R-1 | 🚧 |",
        )
    )
    first, second = board.items
    assert (first.ext_id, first.title, first.priority) == ("R-1", "Guide *done* right", 1)
    assert first.body.startswith("Work item: [Guide](docs/g.md)")
    assert (first.labels["owner"], first.labels["due"]) == ("Ola", "2026-03-01")
    assert (second.ext_id, second.title, second.needs, str(second.status)) == (
        "R-2",
        "a | b",
        ["R-1"],
        "in_progress",
    )
    assert "owner" not in second.labels


@pytest.mark.parametrize(
    "header",
    [
        "| Task | ✓ |",
        "| Task |  |",
        "| Task | Done? |",
        "| Task | Implementation status |",
        "| Task | Gotowe |",
        "| Task | % |",
    ],
)
def test_status_columns_by_sign_or_longer_header(header: str) -> None:
    board = read(table(header, "| a | ✅ |", "| b | ⬜ |", "| c | |"))
    assert seen(board) == [("a", "done"), ("b", "todo"), ("c", "todo")]


def test_the_task_is_the_work_wherever_it_stands() -> None:
    assert seen(read(table("| Estado | Tarea | Quién |", "| ✅ | Contrato | Nuria |"))) == [
        ("Contrato", "done")
    ]
    assert seen(read(table("| Phase | Task | Status |", "| A | dig | done |", "| A | fill | |"))) == [
        ("dig", "done"),
        ("fill", "todo"),
    ]
    assert seen(read(table("| Who | What | Status |", "| Ann | dig | done |"))) == [("dig", "done")]
    assert seen(read(table("| Datum | Thema | Stand |", "| 3.4. | Graben | erledigt |"))) == [
        ("Graben", "done")
    ]


def test_rows_that_are_headings_or_totals() -> None:
    board = read(
        table(
            "| Task | Owner | Status |", "| **Backend** | | |", "| API | Ann | done |", "| Итого | | 50 % |"
        )
    )
    assert seen(board) == [("API", "done")]
    assert board.items[0].labels["group"] == "Backend"


def test_checkboxes_in_rows() -> None:
    board = read(table("| Step | Note |", "| [x] dig | deep |", "| [ ] fill | |"))
    assert [(i.title, str(i.status), i.mark and i.mark.style) for i in board.items] == [
        ("dig", "done", "box"),
        ("fill", "todo", "box"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        table("| Service | Status | Since |", "| ldap | running | 2019 |", "| crm | stopped | today |"),
        table("| Service | Status |", "| api | ✅ |", "| db | 🟢 |"),
        table("| Server | State |", "| a | 🟢 up |", "| b | 🔴 down |"),
        table("| Сервис | Статус |", "| api | работает |", "| db | активен |"),
        table("| Umgebung | Status |", "| Test | aktiv |", "| Prod | läuft |"),
        table("| Setting | State |", "| cache | enabled |", "| debug | off |"),
        table("| Environment | URL | Status |", "| demo | https://x.example | degraded |"),
        table("| Status | Meaning |", "| done | it is done |", "| todo | it is not |"),
        table("| Objective | NA | State |", "| 20x | 0.75 | in box 4 |"),
        table("| Feature | Free | Pro |", "| search | ✅ | ✅ |"),
        table("| Variable | Default |", "| A | 1 |"),
        table("| HTTP status | Meaning |", "| 200 | fine |"),
        table("| Product | Status | Items |", "| pump | in stock | 12 |"),
    ],
)
def test_tables_that_are_no_work(text: str) -> None:
    assert read(text).items == []


def test_components_that_are_being_built_are_work() -> None:
    board = read(
        table("| Component | Status |", "| parser | done |", "| writer | in progress |", "| reader | ✅ |")
    )
    assert seen(board) == [("parser", "done"), ("writer", "in_progress"), ("reader", "done")]


def edited(text: str, title: str, status: Declared) -> str:
    (item,) = [item for item in read(text).items if item.title == title]
    assert item.mark is not None
    done = rewrite(text.encode(), "plan.md", [Edit(item.mark, status)], date(2026, 1, 1), 10**6)
    assert done.refused == ()
    return done.data.decode()


def test_a_status_is_written_into_its_cell_only() -> None:
    text = table(
        "| Задача | Статус | Где |",
        "| насос | **НЕ НАЧАТО** | подвал |",
        "| шланг |  | сад |",
        "| кран | [ ] | кухня |",
        "| душ | ⬜ | |",
    )
    assert edited(text, "насос", Declared.DONE) == text.replace("**НЕ НАЧАТО**", "**СДЕЛАНО**")
    assert edited(text, "шланг", Declared.DONE) == text.replace("| шланг |  |", "| шланг | ✅ |")
    assert edited(text, "кран", Declared.DONE) == text.replace("[ ]", "[x]")
    assert edited(text, "душ", Declared.IN_PROGRESS) == text.replace("⬜", "🚧")
    plain = "Step | Progress\n--- | ---\ndig | 0 %\n"
    assert edited(plain, "dig", Declared.DONE) == plain.replace("0 %", "100%")


def test_rows_without_a_place_for_a_status_have_no_mark() -> None:
    assert [item.mark for item in read(table("| # | Check |", "| 1 | is it on? |")).items] == [None]
    assert [item.mark for item in read("| Task | Status |\n|---|---|\n| a |\n").items] == [None]
    commented = read("| Task | Status |\n|---|---|\n| <!-- x --> a | todo |\n| b | todo | more |\n").items
    assert [item.mark for item in commented] == [None, None]


def test_handoff_rows_carry_the_mark_of_their_status() -> None:
    text = "# F\n\n" + table(
        "| Трек | Issues | Статус |", "| A · Pump | #1–2 | в работе |", "| B · Hose | #3 | |"
    )
    board = read(text)
    lines = text.split("\n")
    marks = {item.ext_id: item.mark for item in board.items}
    assert {name: mark and lines[mark.line - 1][mark.start : mark.end] for name, mark in marks.items()} == {
        "A": "в работе", "#1": None, "#2": None, "B": "", "#3": None,
    }  # fmt: skip
    rows = read("# F\n\n" + table("| Issue | Task | Status |", "| #7 | Pump | todo |"))
    assert [(i.ext_id, i.mark is not None) for i in rows.items] == [("#7", True)]


@pytest.mark.parametrize(
    "heading",
    ["Nächster Schritt", "Prochaine étape", "Próximo paso", "Próximo passo", "Prossimo passo", "Volgende stap",
     "Następny krok", "Sonraki adım", "Наступний крок", "Следующий шаг (для копирования)", "下一步", "次のステップ",
     "다음 단계"],
)  # fmt: skip
def test_the_next_step_in_many_languages(heading: str) -> None:
    board = read(f"# F\n\n## {heading}\n\n{heading.partition(' (')[0]}: #4 x.\n\n---\n")
    assert (board.dialect, [(i.kind, i.line, i.title) for i in board.items]) == (
        "handoff",
        [("next_step", 5, "#4 x.")],
    )


@pytest.mark.parametrize(
    ("title", "name", "rest"),
    [
        ("Phase 10А — Spec", "Phase 10A", "Spec"),
        ("🚀 Phase 2: Build", "Phase 2", "Build"),
        ("Fase II – Prüfung", "Fase II", "Prüfung"),
        ("Étape 3", "Étape 3", ""),
        ("Etappe 1.2 (Wien)", "Etappe 1.2", "(Wien)"),
        ("Sprint #3", "Sprint 3", ""),
        ("2. Phase: Aufbau", "Phase 2", "Aufbau"),
        ("2-й этап", "этап 2", ""),
        ("Этап №4 — данные", "Этап 4", "данные"),
        ("Aşama 1 - Hazırlık", "Aşama 1", "Hazırlık"),
        ("第二阶段 准备", "第二阶段", "准备"),
        ("阶段1准备", "阶段1", "准备"),
        ("フェーズ1：準備", "フェーズ1", "準備"),
        ("2단계 준비", "2단계", "준비"),
        ("Phase N: Polish", "Phase N", "Polish"),
    ],
)
def test_phases_in_many_languages(title: str, name: str, rest: str) -> None:
    phase = phase_of(title)
    assert phase is not None
    assert (phase.name, phase.title) == (name, rest)


@pytest.mark.parametrize(
    "title",
    ["Phases", "Phase planning", "1. Stage setup", "3. Этапы работ", "Stage Left", "Phase", "Faserverbund 2"],
)
def test_headings_that_are_no_phases(title: str) -> None:
    assert phase_of(title) is None


def test_phases_are_ordered_by_their_numbers() -> None:
    names = [
        "Phase A",
        "Phase 12",
        "Fase IX",
        "Phase 10A",
        "Phase 10",
        "第十一阶段",
        "Phase 1.10",
        "Phase 1.2",
    ]
    ordered = sorted(names, key=lambda name: phase_of(name).key)  # type: ignore[union-attr]
    assert ordered == [
        "Phase 1.2",
        "Phase 1.10",
        "Fase IX",
        "Phase 10",
        "Phase 10A",
        "第十一阶段",
        "Phase 12",
        "Phase A",
    ]


def test_a_phase_plan_in_german() -> None:
    board = read(
        "# Plan\n\n## Etappe 1 – Graben (verantwortlich: Anna, aktualisiert: 2026-01-02)\n**Ziel:** ein Loch\n\n"
        "- [ERLEDIGT] Spaten\n- [IN ARBEIT] Loch\n\n**Commit:** abcdef1\n\n## Etappe 2 – Füllen\n- [OFFEN] Sand\n"
    )
    assert board.dialect == "phase_plan"
    assert [(i.title, str(i.status), i.labels["phase"], i.labels["phase_order"]) for i in board.items] == [
        ("Spaten", "done", "Etappe 1", "0"),
        ("Loch", "in_progress", "Etappe 1", "0"),
        ("Sand", "todo", "Etappe 2", "1"),
    ]  # fmt: skip
    assert {
        "owner": "Anna",
        "updated": "2026-01-02",
        "goal": "ein Loch",
        "commit": "abcdef1",
    }.items() <= board.items[0].labels.items()


CELLS = st.sampled_from(
    [
        "",
        "a",
        "**b**",
        "done",
        "todo",
        "✅",
        "[x]",
        "60 %",
        "-",
        "1",
        r"x \| y",
        "`c`",
        "[d](e)",
        "в работе",
        "<!-- f -->",
    ]
)
HEADERS = st.sampled_from(
    ["Task", "Status", "#", "Owner", "", "✓", "Service", "Check", "Phase", "Issues", "Due", "Meaning"]
)
ROWS = st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=8)


@given(st.lists(HEADERS, min_size=1, max_size=5), ROWS, st.booleans())
@settings(deadline=None)
def test_any_table_is_read_and_what_is_written_is_read_again(
    header: list[str], rows: list[list[str]], bars: bool
) -> None:
    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cells)} |" if bars else " | ".join(cells)

    text = "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)]) + "\n"
    board = read(text, "checklist")
    edits = [
        Edit(item.mark, Declared.DONE)
        for item in board.items
        if item.mark is not None and item.status is Declared.TODO
    ]
    done = rewrite(text.encode(), "plan.md", edits, date(2026, 1, 1), 10**6)
    again = read(done.data.decode(), "checklist")
    changed = {edit.mark.line for edit in edits} - {edit.mark.line for edit in done.refused}
    assert [item.line for item in again.items] == [item.line for item in board.items]
    for before, after in zip(board.items, again.items, strict=True):
        assert (after.title, after.ext_id) == (before.title, before.ext_id)
        assert after.status is (Declared.DONE if before.line in changed else before.status)


@given(st.text("|-: \\\n[]x`*ab", max_size=80))
@settings(deadline=None)
def test_any_bars_are_read(text: str) -> None:
    try:
        read(text, "checklist")
    except SourceError:
        return


def test_a_column_for_each_state() -> None:
    board = read(
        "# Sprint\n\n"
        + table("| To do | Doing | Done |", "| **Login** | Search<br>Export | CI |", "| Docs | | 3 |")
    )
    assert board.dialect == "checklist"
    assert [(i.line, i.ordinal, i.title, str(i.status)) for i in board.items] == [
        (5, 0, "Login", "todo"), (5, 1, "Search", "in_progress"), (5, 2, "Export", "in_progress"), (5, 3, "CI", "done"),
        (6, 0, "Docs", "todo"),
    ]  # fmt: skip
    assert read(table("| Todo | Doing | Done |", "| 5 | 2 | 11 |")).items == []


@pytest.mark.parametrize(
    ("cell", "status"),
    [
        ("⏳ Pending", "todo"),
        ("✅ in review", "in_progress"),
        ("🔄 In Progress (60%)", "in_progress"),
        ("❌ cancelled", "skipped"),
    ],
)
def test_a_word_says_more_than_the_sign_beside_it(cell: str, status: str) -> None:
    assert seen(read(table("| Task | Status |", f"| a | {cell} |"))) == [("a", status)]
