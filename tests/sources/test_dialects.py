"""Each dialect on a small board that has the traps of the real ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from models.board import ParsedBoard, ParsedItem
from models.enums import Declared
from models.errors import SourceError
from sources import parse

BOARDS = Path(__file__).parent / "boards"


def board(name: str) -> ParsedBoard:
    return parse((BOARDS / name).read_bytes(), name)


def text_board(text: str, dialect: str | None = None) -> ParsedBoard:
    return parse(text.encode(), "text.md", dialect)


def codes(parsed: ParsedBoard) -> Counter[str]:
    return Counter(finding.code for finding in parsed.findings)


def at(parsed: ParsedBoard, code: str) -> list[int]:
    return [finding.line for finding in parsed.findings if finding.code == code]


def item(parsed: ParsedBoard, title: str) -> ParsedItem:
    found = [item for item in parsed.items if item.title.startswith(title)]
    assert len(found) == 1, [item.title for item in parsed.items]
    return found[0]


def by_id(parsed: ParsedBoard, ext_id: str) -> ParsedItem:
    return next(item for item in parsed.items if item.ext_id == ext_id)


class TestKanban:
    def test_counts_leave_out_legend_template_and_placeholder(self) -> None:
        parsed = board("kanban_en.md")
        assert (parsed.dialect, parsed.title) == ("kanban", "Harbour board")
        counts = parsed.counts()
        assert (counts["total"], counts["done"], counts["open"], counts["in_progress"]) == (24, 17, 7, 1)
        assert at(parsed, "template_section") == [51]
        assert not any("XXX" in (item.ext_id or "") for item in parsed.items)

    def test_kinds_and_levels(self) -> None:
        parsed = board("kanban_en.md")
        assert Counter(item.kind for item in parsed.items) == {
            "epic": 3, "story": 3, "feature": 4, "task": 8, "reflect": 4, "consult": 2,
        }  # fmt: skip
        consult = by_id(parsed, "HRB-1.GOV.1")
        assert (consult.kind, consult.labels["level"]) == ("consult", "T")
        assert consult.title == "how many berths may one ship book?"
        assert consult.labels["completed"] == "2025-04-02"

    def test_parent_is_by_id_first(self) -> None:
        parsed = board("kanban_en.md")
        for child, parent in (
            ("HRB-1.GOV.1", "HRB-1.GOV"),
            ("HRB-1.1", "HRB-1"),
            ("HRB-1.1.1.1a", "HRB-1.1.1.1"),
            ("HRB-1.2", "HRB-1"),  # indented under HRB-1.1
        ):
            assert by_id(parsed, child).parent_line == by_id(parsed, parent).line
        assert at(parsed, "parent_mismatch") == [by_id(parsed, "HRB-1.2").line, 33]
        assert by_id(parsed, "HRB-1.1.1.1a").depth == 4

    def test_a_copied_id_keeps_its_place(self) -> None:
        parsed = board("kanban_en.md")
        copy = next(item for item in parsed.items if item.line == 33)
        assert copy.parent_line == by_id(parsed, "HRB-2.2").line
        assert at(parsed, "duplicate_id") == [33]
        assert at(parsed, "consult_without_question") == [33]

    def test_gates_are_needs_and_early_work_is_found(self) -> None:
        parsed = board("kanban_en.md")
        assert by_id(parsed, "HRB-1.1").needs == ["HRB-1.GOV"]
        assert by_id(parsed, "HRB-1.GOV").needs == []
        assert by_id(parsed, "HRB-1.GOV").labels["gate"] == "true"
        assert by_id(parsed, "HRB-2.2").needs == ["HRB-2.GOV"]
        assert at(parsed, "gate_violation") == [
            by_id(parsed, "HRB-2.1").line,
            by_id(parsed, "HRB-2.2.1").line,
        ]

    def test_a_gate_without_its_branch_holds_what_follows_it(self) -> None:
        parsed = text_board("- [ ] EP A-3 — x\n  [ ] US A-3.1.GOV — g\n  [x] FEAT A-3.2 — y\n")
        assert by_id(parsed, "A-3.2").needs == ["A-3.1.GOV"]
        assert at(parsed, "gate_violation") == [3]

    def test_contradictions(self) -> None:
        parsed = board("kanban_en.md")
        assert at(parsed, "done_parent_open_child") == [by_id(parsed, "HRB-3").line]
        assert at(parsed, "open_parent_all_done") == [by_id(parsed, "HRB-2.GOV").line]
        assert at(parsed, "indent_jump") == [by_id(parsed, "HRB-1.1.1.1").line]
        assert at(parsed, "untyped_item") == [44]
        assert at(parsed, "unknown_dependency") == [by_id(parsed, "HRB-2.2.2").line]

    def test_details_become_labels_and_body(self) -> None:
        parsed = board("kanban_en.md")
        task = by_id(parsed, "HRB-0.1")
        assert task.labels["owner"] == "sam"
        assert task.labels["estimate"] == "0.5d"
        assert task.priority == 0
        assert "ASK-2025-03-01-001" in task.body
        assert by_id(parsed, "HRB-2.2.2").needs == ["HRB-2.2.1", "HRB-9"]

    def test_em_spaces_are_an_indent(self) -> None:
        parsed = text_board(
            "- [x] EP A-0 — a\n\u2003[x] FEAT B-1 — b\n\u2003\u2003[x] T C-1 — c\n\u2003\u2003\u2003- owner: x\n"
        )
        assert [item.depth for item in parsed.items] == [0, 1, 2]
        assert parsed.items[2].labels["owner"] == "x"

    def test_lookalike_letters_in_ids(self) -> None:
        parsed = text_board("- [ ] EP PHC-1 — a\n  [ ] FEAT РНС-1.2 — b\n  [ ] T ЗАДАЧА-1 — c\n")
        assert [item.ext_id for item in parsed.items] == ["PHC-1", "PHC-1.2", "ЗАДАЧА-1"]
        assert at(parsed, "homoglyph_id") == [2]
        assert parsed.items[1].parent_line == 1

    def test_older_spellings(self) -> None:
        parsed = text_board(
            "- [x] **4.5 — Phase**\n"
            "  [x] 4.5.6a1 — sub\n"
            '  [ ] ID-123 | owner:ann | created:2025-01-01 | title:"Pipes | no"\n'
            "  [ ] T MB-1.1.3 ? dash lost _(decided: yes)_\n"
            "  [ ] T MB-1.1.4 — effort [M]\n"
        )
        assert [item.ext_id for item in parsed.items] == ["4.5", "4.5.6a1", "ID-123", "MB-1.1.3", "MB-1.1.4"]
        assert parsed.items[1].parent_line == 1
        assert parsed.items[3].title == "dash lost"
        assert parsed.items[3].body == "decided: yes"
        assert parsed.items[4].labels["effort"] == "M"
        assert parsed.items[2].labels["owner"] == "ann"

    def test_ids_that_make_a_ring_are_cut(self) -> None:
        # by id belongs to, which by indent is below
        parsed = text_board("[ ] T A-1.5.1 — child above\n  [ ] T A-1.5 — parent below\n")
        assert [item.parent_line for item in parsed.items].count(None) == 1
        assert at(parsed, "parent_mismatch")


class TestPhasePlan:
    def test_states_phases_and_order(self) -> None:
        parsed = board("phase_ru.md")
        assert parsed.dialect == "phase_plan"
        assert [
            (i.title, i.labels.get("phase"), i.labels.get("phase_order"), i.status) for i in parsed.items
        ] == [
            ("Создать docs/plan.md", "Phase 9", "0", Declared.DONE),
            ("Залить плиту:", "Phase 9", "0", Declared.DONE),
            ("Кладка", "Phase 10A", "2", Declared.DONE),
            ("Кирпич", "Фаза 10", "1", Declared.IN_PROGRESS),
            ("Цемент", "Фаза 10", "1", Declared.BLOCKED),
            ("Песок", "Фаза 10", "1", Declared.TODO),
            ("Обновить docs/plan.md с новыми размерами", "Фаза 10", "1", Declared.TODO),
            ("Крыша", None, None, Declared.TODO),
        ]

    def test_details(self) -> None:
        parsed = board("phase_ru.md")
        slab = item(parsed, "Залить")
        assert slab.body == "- марка B25\n- без добавок"
        assert slab.labels["owner"] == "Мария"
        assert slab.labels["updated"] == "2025-02-01"
        assert slab.labels["commit"] == "1a2b3c4"
        assert item(parsed, "Кирпич").labels["group"] == "Материалы"
        assert item(parsed, "Обновить").labels["group"] == "Работы"
        assert "group" not in item(parsed, "Крыша").labels

    def test_findings(self) -> None:
        parsed = board("phase_ru.md")
        assert codes(parsed) == {
            "phase_done_without_commit": 1, "homoglyph_id": 1, "unknown_state": 1, "repeated_across_phases": 1,
        }  # fmt: skip
        assert at(parsed, "phase_done_without_commit") == [19]
        assert at(parsed, "repeated_across_phases") == [item(parsed, "Обновить").line]

    def test_phases_with_plain_checkboxes(self) -> None:
        parsed = text_board("# P\n## Phase 1: Dig\n- [x] a\n\n## Phase 2: Fill\n### Tools\n- [ ] b\n")
        assert parsed.dialect == "phase_plan"
        assert [item.labels["phase_order"] for item in parsed.items] == ["0", "1"]


class TestPriorityTodo:
    def test_items_and_steps(self) -> None:
        parsed = board("priority_en.md")
        assert parsed.dialect == "priority_todo"
        counts = parsed.counts()
        assert (counts["total"], counts["steps"], counts["done"], counts["skipped"]) == (4, 3, 1, 1)
        pump = item(parsed, "Fix the pump (12 V)")
        assert (pump.body, pump.priority, pump.labels["theme"]) == ("it stops after an hour", 1, "Water")
        steps = [step for step in parsed.items if step.parent_line == pump.line]
        assert [step.title for step in steps] == ["Measure the current", "Replace the fuse"]
        assert not any(step.explicit_status for step in steps)
        assert steps[1].body == "10 A, slow"

    def test_a_step_of_a_done_item_is_done(self) -> None:
        assert item(board("priority_en.md"), "Buy hoses").status is Declared.DONE

    def test_levels_and_references(self) -> None:
        parsed = board("priority_en.md")
        roses = item(parsed, "Roses")
        assert (roses.priority, roses.labels["document"], roses.labels["complexity"]) == (
            2,
            "docs/roses.md",
            "40%",
        )
        assert item(parsed, "Draw the map").priority == 2  # "High-level design" is no priority

    def test_a_tick_against_its_own_result(self) -> None:
        parsed = board("priority_en.md")
        assert at(parsed, "evidence_conflict") == [item(parsed, "Drip lines").line]


class TestHandoff:
    def test_phases_and_issues_share_a_line(self) -> None:
        parsed = board("handoff_en.md")
        assert parsed.dialect == "handoff"
        assert Counter(item.kind for item in parsed.items) == {"phase": 2, "issue": 7, "next_step": 1}
        issues = [item for item in parsed.items if item.kind == "issue"]
        assert [item.ext_id for item in issues] == ["#10", "#11", "#12", "#3", "#20", "#21", "#22"]
        assert [item.title for item in issues[:3]] == ["CI", "coverage (unit, e2e)", "lint"]
        assert len({(item.line, item.ordinal) for item in parsed.items}) == 10
        assert all(item.parent_line == item.line and item.depth == 1 for item in issues)
        assert [item.labels["phase_order"] for item in issues] == ["0"] * 3 + ["1"] * 4
        assert by_id(parsed, "#22").status is Declared.DONE  # struck out
        assert by_id(parsed, "#11").status is Declared.PARTIAL  # said in the block

    def test_the_next_step_offers_alternatives(self) -> None:
        parsed = board("handoff_en.md")
        step = next(item for item in parsed.items if item.kind == "next_step")
        assert (step.line, step.title.startswith("#11 rest")) == (9, True)
        assert at(parsed, "more_than_one_next_step") == [9]

    def test_a_count_that_its_range_does_not_have(self) -> None:
        assert at(board("handoff_en.md"), "range_count_mismatch") == [24]

    def test_heading_count_against_the_table(self) -> None:
        text = (BOARDS / "handoff_en.md").read_text().replace("(7 tasks)", "(8 tasks)")
        assert len(at(text_board(text), "range_count_mismatch")) == 2

    def test_one_plain_step_is_no_finding(self) -> None:
        parsed = text_board("# F\n## Next step\n\nNext step: fix the pump.\n\n## Other\ntext\n")
        assert [(i.kind, i.title, i.line) for i in parsed.items] == [("next_step", "fix the pump.", 4)]
        assert not codes(parsed)

    def test_a_step_chosen_from_bullets(self) -> None:
        parsed = text_board("# F\n## Следующий шаг\n**Следующий шаг (на выбор):**\n- одно\n- другое\n")
        assert [(i.kind, i.title) for i in parsed.items] == [("next_step", "одно")]
        assert at(parsed, "more_than_one_next_step") == [3]

    def test_rows_that_are_issues(self) -> None:
        parsed = text_board(
            "# F\n\n| # Issue | Phase | Task | Note |\n|---|---|---|---|\n| #7 | A | Pump | soon |\n"
        )
        assert [(i.ext_id, i.kind, i.title, i.parent_line, i.body) for i in parsed.items] == [
            ("#7", "issue", "Pump", None, "soon")
        ]

    def test_a_backwards_or_endless_range_is_refused(self) -> None:
        text = "# F\n\n| Phase | Issues |\n|---|---|\n| A - x | #9–3, #1–9999999 |\n"
        parsed = text_board(text)
        assert [item.ext_id for item in parsed.items] == ["A", "#9", "#1"]
        assert len(at(parsed, "range_count_mismatch")) == 2


class TestChecklist:
    def test_rows(self) -> None:
        parsed = board("checklist_ru.md")
        assert parsed.dialect == "checklist"
        assert [(i.kind, i.title, i.status, i.ext_id) for i in parsed.items] == [
            ("plan", "Пул", Declared.DONE, None),
            ("plan", "Кэш", Declared.DONE, None),
            ("plan", "Стрим", Declared.TODO, None),
            ("plan", "Логи", Declared.PARTIAL, None),
            ("plan", "Тесты", Declared.TODO, None),
            ("plan", "Сроки", Declared.TODO, None),
            ("check", "Пул один", Declared.TODO, "1"),
            ("check", "Кэш до поиска", Declared.TODO, "2"),
            ("task", "Обновить чеклист", Declared.TODO, None),
        ]
        assert item(parsed, "Пул один").body == "Как: `a | b` смотреть\nКто: Backend"
        assert item(parsed, "Пул один").labels["owner"] == "Backend"

    def test_bad_rows_are_findings_and_the_rest_goes_on(self) -> None:
        parsed = board("checklist_ru.md")
        assert codes(parsed) == {"unknown_status": 1, "untitled_row": 1}

    def test_a_table_of_services_is_documentation(self) -> None:
        parsed = text_board("# S\n\n| Service | Status |\n|---|---|\n| api | 10.0.0.1 |\n| db | 10.0.0.2 |\n")
        assert (parsed.dialect, parsed.items) == ("document", [])

    def test_ragged_rows(self) -> None:
        parsed = text_board("| Task | Status |\n|---|---|\n| a | done | more |\n| b |\n|  |  |\n")
        assert [(i.title, i.status) for i in parsed.items] == [("a", Declared.DONE), ("b", Declared.TODO)]
        assert at(parsed, "row_width") == [3, 4]


class TestGfm:
    def test_marks_nesting_and_what_is_no_item(self) -> None:
        parsed = board("gfm_en.md")
        assert parsed.dialect == "gfm"
        assert [(i.title, i.status, i.depth) for i in parsed.items] == [
            ("Milk", Declared.TODO, 0),
            ("Whole", Declared.DONE, 1),
            ("Skimmed", Declared.TODO, 1),
            ("Bread", Declared.DONE, 0),
            ("Butter", Declared.SKIPPED, 0),
            ("Сыр", Declared.DONE, 0),
            ("Forgot the space", Declared.TODO, 0),
            ("`<!--` stays text", Declared.TODO, 0),
            ("after", Declared.TODO, 0),
        ]
        assert "same item" in item(parsed, "Bread").body
        assert "- [ ] not an item" in item(parsed, "Bread").body
        assert codes(parsed) == {"unknown_mark": 1, "empty_item": 1}

    def test_an_unclosed_fence_is_said(self) -> None:
        parsed = text_board("- [ ] a\n```\n- [ ] code\n")
        assert [item.title for item in parsed.items] == ["a"]
        assert at(parsed, "unclosed_fence") == [2]

    def test_a_fence_in_an_item_ends_with_the_item(self) -> None:
        parsed = text_board("- [ ] a\n  ```\n  code\n- [ ] b\n")
        assert [item.title for item in parsed.items] == ["a", "b"]
        assert at(parsed, "unclosed_fence") == [2]

    def test_emoji_marks_and_states(self) -> None:
        parsed = text_board("- [✅] a\n- [☑\ufe0f] b\n- [done] c\n[DONE] a log line\n- [a](b)\n- [1] note\n")
        assert [(i.title, i.status) for i in parsed.items] == [(name, Declared.DONE) for name in "abc"]

    def test_needs(self) -> None:
        parsed = text_board(
            "- [ ] a\n  - depends on: #4 and 7\n- [ ] b\n  - depends on: the weather in 2025\n"
        )
        assert parsed.items[0].needs == ["#4", "7"]
        assert parsed.items[1].needs == []
        assert "weather" in parsed.items[1].body


def test_no_items_is_a_document_and_only_information() -> None:
    parsed = text_board("# Guide\n\nText with [a link](x).\n\n- a bullet\n")
    assert (parsed.dialect, parsed.items, parsed.title) == ("document", [], "Guide")
    assert [(finding.code, str(finding.severity)) for finding in parsed.findings] == [("no_items", "info")]


def test_the_dialect_can_be_named() -> None:
    assert text_board("- [ ] EP A-1 — x\n", "gfm").items[0].title == "EP A-1 — x"
    assert text_board("- [ ] EP A-1 — x\n", "document").items == []
    with pytest.raises(SourceError, match="unknown dialect 'toml'"):
        text_board("x", "toml")


def test_json_has_what_the_command_prints() -> None:
    printed = board("handoff_en.md").as_json()
    assert set(printed) == {"source", "dialect", "encoding", "items", "counts", "findings", "not_items"}
    assert set(printed["items"][0]) == {"line", "depth", "id", "kind", "title", "status", "parent_line"}
    assert printed["counts"]["total"] == 10


def test_an_issue_number_at_the_start_is_an_id_where_one_item_has_it() -> None:
    text = (
        "- [ ] #1 login\n- [ ] #2: reset (after #1)\n- [ ] [#7](https://x/7) docs\n- [ ] #7 tests\n- [ ] #3\n"
    )
    items = parse(text.encode(), "x.md").items
    assert [(item.ext_id, item.title, item.needs) for item in items] == [
        ("#1", "login", []),
        ("#2", "reset (after #1)", ["#1"]),
        (None, "[#7](https://x/7) docs", []),
        (None, "#7 tests", []),
        (None, "#3", []),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "- [ ] → Deploy to staging",
        "- [ ] — Call Bob about the contract",
        "- [ ] => migrate the users",
        "- [ ] = check equality of hashes",
        "- [ ] *(P1) Fix login (again)*",
    ],
)
def test_a_sign_before_the_text_makes_no_legend(line: str) -> None:
    assert [item.line for item in parse(f"- [ ] a\n{line}\n".encode(), "x.md").items] == [1, 2]


@pytest.mark.parametrize(
    "line", ["- [x] — done", "- [ ] → todo", "- [~] = in progress", "- [ ] *(nothing yet)*"]
)
def test_a_status_behind_a_sign_is_one(line: str) -> None:
    board = parse(f"- [ ] a\n{line}\n".encode(), "x.md")
    assert [item.line for item in board.items] == [1]
    assert [line for line, _ in board.not_items] == [2]


def test_letters_that_are_gone_are_no_item() -> None:
    board = parse("- [ ] a\n- [ ] \ufffd\ufffd\ufffd\ufffd \ufffd\ufffd\ufffd\n".encode(), "x.md")
    assert [item.line for item in board.items] == [1]
    assert board.not_items == [(2, "lost")]


def test_two_encodings_in_one_file_are_not_read_as_a_third() -> None:
    lines = [
        "- [ ] Проверить насосы и уплотнения",
        "- [x] Заменить фильтры воды",
        "- [ ] Купить реле давления",
    ]
    data = "\n".join(lines).encode("cp1251") + "\n- [ ] Позвонить мастеру\n".encode()
    board = parse(data, "x.md")
    assert "encoding_loss" in {finding.code for finding in board.findings}
    assert "Позвонить мастеру" in {item.title for item in board.items}
