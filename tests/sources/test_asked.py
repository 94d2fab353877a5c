"""The model and the backend that an item names for itself, however its dialect writes fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.board import LONGEST_MODEL
from sources import parse

KANBAN = "# B\n\n- [ ] EP A — Alarm\n  - [ ] FEAT A.1 — Tide [model:: qwen3:32b] [backend:: Ollama]\n"
TABLE = "| Task | Status |\n| --- | --- |\n| Tide [model:: qwen3:32b] [backend:: ollama] | todo |\n| Dam | done |\n"
BACKLOG = "---\nid: t-7\ntitle: Tide\nstatus: To Do\nmodel: qwen3:32b\nbackend: ollama\n---\nText\n"
TASKS = (
    '{"tasks": [{"id": 1, "title": "Tide", "status": "pending", "model": "qwen3:32b", "backend": "ollama"}]}'
)


@pytest.mark.parametrize(
    ("name", "text", "dialect"),
    [
        ("plan.md", "- [ ] Tide [model:: qwen3:32b] [backend:: ollama]\n", "obsidian_tasks"),
        ("plan.md", "- [ ] Tide (model:: qwen3:32b) (backend:: ollama)\n", "gfm"),
        ("plan.md", "## Phase 1: X\n- [TODO] Tide [model:: qwen3:32b] [backend:: ollama]\n", "phase_plan"),
        ("plan.md", "## Todo\n- Tide [model:: qwen3:32b] [backend:: ollama]\n## Done\n- [x] Dam\n", "lanes"),
        ("plan.md", KANBAN, "kanban"),
        ("plan.md", TABLE, "checklist"),
        ("t-7.md", BACKLOG, "backlog_md"),
        ("tasks.json", TASKS, "task_master"),
        ("todo.txt", "(A) Tide model:qwen3:32b backend:ollama\nx 2026-01-10 Dam\n", "todo_txt"),
        ("a.taskpaper", "Port:\n\t- Tide @model(qwen3:32b) @backend(ollama)\n\t- Dam @done\n", "taskpaper"),
        (
            "a.org",
            "* TODO Tide\n  :PROPERTIES:\n  :MODEL: qwen3:32b\n  :BACKEND: ollama\n  :END:\n",
            "org",
        ),
    ],
)
def test_a_field_is_the_items_model_and_backend_and_leaves_its_title(
    name: str, text: str, dialect: str
) -> None:
    board = parse(text.encode(), name, dialect)
    (item,) = [each for each in board.items if each.model]
    assert (item.title, item.model, item.backend) == ("Tide", "qwen3:32b", "ollama")
    assert [finding.code for finding in board.findings if finding.code == "unknown_backend"] == []


def test_a_word_that_is_no_backend_is_named_at_its_line() -> None:
    board = parse(b"# Plan\n\n- [ ] Tide [backend:: web]\n- [ ] Dam [backend:: mlx]\n", "plan.md")
    (finding,) = [finding for finding in board.findings if finding.code == "unknown_backend"]
    assert finding.line == 3
    assert "'Tide'" in finding.message
    assert "'web'" in finding.message
    assert "ollama, mlx" in finding.message


@pytest.mark.parametrize(
    "title", ["Move (Model::new) into its file", "Say what [model] means", "Use model::load"]
)
def test_code_is_no_field(title: str) -> None:
    (item,) = parse(f"- [ ] {title}\n".encode(), "plan.md", "gfm").items
    assert (item.title, item.model) == (title, None)


@given(st.text(st.characters(exclude_characters="[]()\r\n", exclude_categories=["Cs", "Cc"]), max_size=400))
def test_no_name_is_an_error_and_none_is_too_long(name: str) -> None:
    for item in parse(f"- [ ] Tide [model:: {name}] [backend:: {name}]\n".encode(), "plan.md").items:
        assert item.title
        assert item.model is None or 0 < len(item.model) <= LONGEST_MODEL
        assert item.backend is None or item.backend == item.backend.strip().lower() != ""
