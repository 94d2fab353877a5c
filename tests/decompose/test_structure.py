"""The parts that a text names itself: steps of an item, sections of a document. Nothing is made up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.decompose.plan import MAX_PARTS, plan_text, split_problem
from tasks.decompose.prd import LONGEST_CONTEXT, document_split, left_out, left_out_finding
from tasks.decompose.split import outline_split
from tasks.decompose.structure import read_outline
from tasks.decompose.verbs import begins_with_a_verb


def titles(data: dict[str, Any] | None) -> list[str]:
    return [part["title"] for part in data["subtasks"]] if data else []


def split(body: str, *, certain: bool = True) -> dict[str, Any] | None:
    return outline_split(read_outline(body), certain=certain)


def test_steps_with_their_details_and_criteria() -> None:
    data = split(
        "It must be quick.\n"
        "1. Write the schema\n"
        "   The table is called levels.\n"
        "   Acceptance criteria:\n"
        "   - it has a key\n"
        "2. Write the endpoint\n"
        "   - returns JSON\n"
        "3. Add the button\n"
        "   DoD: it is blue; it is wide\n"
        "\nAcceptance criteria:\n"
        "- it works offline\n"
    )
    assert data is not None
    assert data["subtasks"] == [
        {
            "title": "Write the schema",
            "acceptance": ["it has a key"],
            "body": "The table is called levels.",
        },
        {"title": "Write the endpoint", "acceptance": ["returns JSON"]},
        {"title": "Add the button", "acceptance": ["it is blue", "it is wide"]},
    ]


def test_criteria_of_the_whole_are_no_parts_criteria() -> None:
    data = split(
        "1. Empty the oil tank\n2. Sweep the chimney\n   - the flue is clear\n   - no soot falls\n"
        "Acceptance criteria:\n- the sweep has signed\n"
    )
    assert data is not None
    assert [part["acceptance"] for part in data["subtasks"]] == [
        ["Empty the oil tank"],
        ["the flue is clear", "no soot falls"],
    ]
    assert [part.get("criteria") for part in data["subtasks"]] == ["title", None]
    assert "signed" not in str(data)


@pytest.mark.parametrize(
    "below",
    [
        "- see the plan\n   - https://example.org/a",
        "- owner: Anna",
        "- which one?",
        "- it holds\n   and more",
    ],
)
def test_a_sublist_of_notes_is_no_list_of_criteria(below: str) -> None:
    data = split(f"1. Empty the tank\n   {below}\n2. Sweep the chimney")
    assert data is not None
    assert data["subtasks"][0]["criteria"] == "title"
    assert data["subtasks"][0]["body"] == below.replace("\n   ", "\n")


def test_without_criteria_the_steps_own_words_are_and_it_says_so() -> None:
    data = split("1. Write the schema\n2. Write the endpoint")
    assert data is not None
    assert [part["criteria"] for part in data["subtasks"]] == ["title", "title"]
    assert "- Write the schema (its own text: no criterion is given)" in plan_text(data)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("- Add the field\n- Remove the old one", 2),
        ("* Добавить поле\n* Удалить старое", 2),
        ("- Das Feld anlegen\n- Die alte Spalte löschen", 2),
        ("- Ajouter le champ\n- Supprimer le vieux champ", 2),
        ("- Crear el campo nuevo\n- Borrar el campo viejo", 2),
        ("- 添加字段\n- 删除旧字段", 2),
        ("Steps:\n- the new field\n- the old field", 2),
        ("## Шаги\n- новое поле\n- старое поле", 2),
        ("1) first thing\n2) second thing", 2),
        ("Критерии приёмки:\n- поле есть\nШаги:\n- Добавить поле\n- Удалить старое", 2),
        # notes, links, facts, questions, what stands below another label: no steps
        ("- waits for the vendor\n- see the mail of Monday", 0),
        ("- Server config is old\n- User feedback was good", 0),
        ("- https://example.org/a\n- https://example.org/b", 0),
        ("- `src/a.py`\n- `src/b.py`", 0),
        ("- owner: Anna\n- estimate: 3d", 0),
        ("1. Which valve?\n2. Which port?", 0),
        ("Files:\n- Add this file\n- Remove that file", 0),
        ("Acceptance criteria:\n- Add the field\n- Remove the old one", 0),
        ("- Add the field", 0),
        ("```\n1. Add the field\n2. Remove it\n```", 0),
        ("1. Add the field\n2. Add the field", 0),
        ("Add the field, then remove the old one.", 0),
    ],
)
def test_what_counts_as_steps(body: str, expected: int) -> None:
    assert len(titles(split(body))) == expected


def test_a_list_that_is_only_likely_is_for_when_a_model_gave_up() -> None:
    body = "- the inlet valve\n- the outlet valve\n- `src/a.py`"
    assert split(body) is None
    assert titles(split(body, certain=False)) == ["the inlet valve", "the outlet valve"]
    assert split("only prose", certain=False) is None


@given(st.text("ab -*12.)#:\n\t`>жщ。：", max_size=300))
def test_any_body_gives_a_split_that_can_be_used_or_none(body: str) -> None:
    for certain in (True, False):
        data = split(body, certain=certain)
        assert data is None or split_problem(data) is None
    document = document_split(body)
    assert document is None or split_problem(document) is None


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("Add tests", True), ("Update `README.md`", True), ("Написать тесты", True), ("Проверьте насос", True),
        ("Daten speichern und prüfen", True), ("Zbudować stronę", True), ("测试接口", True), ("テストを追加する", True),
        ("테스트 추가", True), ("the tank is broken", False), ("User can log in", False), ("", False), ("12", False),
        ("Насос сломан", False),
    ],
)  # fmt: skip
def test_lines_that_begin_as_instructions_do(text: str, is_one: bool) -> None:
    assert begins_with_a_verb(text) is is_one


PRD = """# Product requirements: X

## Overview
- not this at all please

## Features

### Feature: Export
The user exports the plan.

- The user exports a plan as CSV
  - Acceptance criteria:
    - the file has a header
- The user chooses the columns
**Acceptance criteria**
- it works offline

### Sharing
Share by a link.

#### Acceptance criteria
1. the link expires
2. the link can be revoked

## User stories
- As a cook I want to see the list so that I buy all
- As a cook I want to see the list so that I buy all

**US-2** As a guest I want to vote

```
## Requirements
- this is code and no requirement
```

## Out of scope
- Payments of any kind

## Glossary
- Cook: the one who cooks
"""


def test_a_documents_sections_become_parts() -> None:
    data = document_split(PRD)
    assert data is not None
    assert [(part["line"], part["title"], part["acceptance"]) for part in data["subtasks"]] == [
        (11, "The user exports a plan as CSV", ["the file has a header"]),
        (14, "The user chooses the columns", ["The user chooses the columns"]),
        (18, "Sharing", ["the link expires", "the link can be revoked"]),
        (
            26,
            "As a cook I want to see the list so that I buy all",
            ["As a cook I want to see the list so that I buy all"],
        ),
        (29, "US-2 As a guest I want to vote", ["US-2 As a guest I want to vote"]),
    ]
    assert data["subtasks"][0]["body"] == "Section: Feature: Export\nThe user exports the plan."
    assert data["subtasks"][2]["body"] == "Share by a link."


TIDES = """# PRD: tides

A tide service for harbours.

## Goals
- Fewer boats aground in the harbour

## Requirements
All of it works without a network.

### Reminder
Sends a message two hours before high water.

- The skipper chooses the harbour
- The skipper turns it off for a day

### Archive
Keeps the levels of ten years.

## Non-goals
- Weather of any kind

## Open questions

### Costs
Who pays for the messages?
"""


def test_what_a_section_says_is_told_its_parts() -> None:
    data = document_split(TIDES)
    assert data is not None
    context = "All of it works without a network.\n"
    assert [part["body"] for part in data["subtasks"]] == [
        f"Section: Reminder\n{context}Sends a message two hours before high water.",
        f"Section: Reminder\n{context}Sends a message two hours before high water.",
        f"{context}Keeps the levels of ten years.",
    ]
    long = document_split(TIDES.replace("Sends", "Sends " + "and sends " * 200))
    assert long is not None
    assert len(long["subtasks"][0]["body"]) == LONGEST_CONTEXT + len("Section: Reminder\n")
    assert long["subtasks"][0]["body"].endswith("…")


def test_sections_that_give_no_part_are_known() -> None:
    assert left_out(TIDES) == [("Goals", 5), ("Non-goals", 20), ("Open questions", 23)]
    assert left_out(PRD) == [("Overview", 3), ("Out of scope", 36), ("Glossary", 39)]
    assert left_out_finding("# ТЗ\n\ntext\n") is None


def test_a_russian_document_and_one_without_requirements() -> None:
    data = document_split(
        "# ТЗ\n\n## Введение\n- вводная часть текста\n\n## Требования\n\n3.1. Система хранит уровни год.\n\n"
        "3.2. Система строит отчёт за день.\n\n## Термины\n- Уровень: высота воды над нулём\n"
    )
    assert titles(data) == ["3.1. Система хранит уровни год.", "3.2. Система строит отчёт за день."]
    assert (
        document_split("# PRD\n\n## Background\n\n- The old one is slow and dear\n- Nobody likes it at all\n")
        is None
    )
    assert document_split("") is None


def test_a_long_document_is_split_by_its_sections() -> None:
    sections = "\n".join(
        f"## Feature {chr(65 + n)}\n" + "\n".join(f"- The user does thing {n} {m}" for m in range(20))
        for n in range(5)
    )
    data = document_split(f"# PRD\n\n{sections}\n")
    assert data is not None
    assert titles(data) == [f"Feature {letter}" for letter in "ABCDE"]
    assert "The user does thing 0 19" in data["subtasks"][0]["body"]
    many = "\n".join(f"## Feature {n} of many\ntext of it" for n in range(MAX_PARTS + 1))
    assert document_split(f"# PRD\n\n{many}\n") is None
