"""Which dialect reads a text: small samples of each against the scores of all, by content and not by name."""

from __future__ import annotations

import json
import time

import pytest

from sources import parse
from sources.dialects import DIALECTS
from sources.document import read_document

SAMPLES: dict[str, list[str]] = {
    "gfm": [
        "- [ ] one\n  - [x] two\n",
        "* [ ] one\n* [x] two\n",
        "1. [ ] one\n2. [ ] two\n",
        "Note:\n\n- [ ] call @bob about +1\n- [x] due: now\n",
        "# TODO\n\n- [ ] TODO one\n- [x] DONE two\n\n* a plain bullet\n* TODO: another\n",
        "Todo:\n\t- [ ] tabbed @home\n\t- [x] and done @done\n",
        "---\ntitle: Weekly\nstatus: active\ntags: [a]\n---\n- [ ] one\n",
        "# Shop\n\n(A) first\n\n- [ ] one (B)\n",
    ],
    "kanban": [
        "[x] EP PHC-1 — x\n  [ ] FEAT PHC-1.1 — y\n",
        "- [ ] US SHOP-1.2 — z\n- [ ] T SHOP-1.2.1 — q\n",
    ],
    "phase_plan": ["## Phase 1 — a\n- [TODO] one\n- [DONE] two\n\n## Phase 2 — b\n- [TODO] three\n"],
    "priority_todo": [
        "## High priority\n\n- [ ] **a** - b\n  - step\n\n## Low priority\n\n- [ ] **c** - d\n"
    ],
    "handoff": [
        "## Next step\n\nDo #12.\n\n| Phase | Issues | Description |\n|---|---|---|\n| A · x | #1–3 | y |\n"
    ],
    "checklist": ["| Task | Status |\n|---|---|\n| a | done |\n| b | open |\n"],
    "lanes": [
        "## Todo\n\n- one\n- two\n\n## Doing\n\n- three\n\n## Done\n\n- four\n",
        "---\nkanban-plugin: board\n---\n\n## Todo\n\n- [ ] one @{2026-01-01}\n\n## Done\n\n- [x] two\n",
    ],
    "obsidian_tasks": [
        "- [ ] one 📅 2026-01-02 ⏫\n- [x] two ✅ 2026-01-01\n- [ ] three [due:: 2026-01-05]\n"
    ],
    "spec_kit": [
        "## Phase 1: Setup\n\n- [ ] T001 Create\n- [ ] T002 [P] Link\n\n## Phase 2: Core\n\n- [ ] T003 [US1] Do\n"
    ],
    "backlog_md": [
        "---\nid: task-1\ntitle: a\nstatus: To Do\ndependencies: []\n---\n\n## Acceptance Criteria\n- [ ] #1 b\n",
        "---\nid: BACK-1\ntitle: 'a: b'\nstatus: Done\nassignee: ['@x']\n---\n",
        "---\ntitle: note\nstatus: in-progress\npriority: high\ndue: 2026-01-01\n---\nText.\n",
    ],
    "task_master": [
        '{"tasks": [{"id": 1, "title": "a", "status": "pending", "subtasks": []}]}',
        '{\n  "master": {\n    "tasks": [\n      {"id": 1, "title": "a", "status": "done"}\n    ]\n  }\n}\n',
    ],
    "todo_txt": [
        "(A) call Ann @phone\nx 2026-01-01 buy milk +house\n(B) dig due:2026-02-01\n",
        "x 2026-01-02 2026-01-01 one +p\nx 2026-01-02 two +p\n",
        "# week\n(A) one +p\n(B) two @c\n",
    ],
    "taskpaper": [
        "Inbox:\n\t- ask @due(2026-01-01)\n\t- buy\n\nHouse:\n\t- roof @done(2026-01-01)\n\t\ta note\n",
        "House:\n- roof @done\n- door @waiting\n",
    ],
    "org": [
        "* TODO one\n* DONE two\n",
        "#+TITLE: x\n\n* Notes\n** TODO a\n   DEADLINE: <2026-01-01 Thu>\n   - [ ] b\n",
        "# a comment\n* TODO a\n:PROPERTIES:\n:ID: 1\n:END:\n",
    ],
    "prd": ["# Product requirements: cart\n\n## Goals\n\nGuests buy.\n", "Техническое задание\n\n1. Цели\n"],
    "github_issues": [
        json.dumps([{"number": 1, "title": "a", "state": "open", "body": "- [ ] b", "url": "u"}])
    ],
    "document": [
        "# Changelog\n\n* fixed a\n* fixed b\n",
        "Dear Ann,\n\nNote: call me @ home. (A) is fine, x too.\n\n* one\n* two\n",
        "Attendees:\n- Ann\n- Bob @home\n",
        "TODO\n====\n\n* rewrite\n* document\n",
        "---\ntitle: A post\nstatus: published\ndate: 2026-01-01\n---\n\nText.\n",
        '{"name": "x", "tasks": {"build": "make"}, "title": "y"}',
        '{"version": "2.0.0", "tasks": [{"label": "build", "type": "shell"}]}',
        "(A) Paris\n(B) London\n(C) Rome\n",
        "@media print {\n  a { color: red }\n}\n",
        "2026-01-01 started\n2026-01-02 stopped\n",
        "#include <stdio.h>\n* TODO\n",
    ],
}
CASES = [(dialect, text) for dialect, texts in SAMPLES.items() for text in texts]


def test_every_dialect_has_a_sample() -> None:
    assert SAMPLES.keys() - {"document"} == DIALECTS.keys()


@pytest.mark.parametrize("name", ["notes.md", "notes.txt", "-"])
@pytest.mark.parametrize(("dialect", "text"), CASES)
def test_a_sample_is_read_by_its_own_dialect(dialect: str, text: str, name: str) -> None:
    assert parse(text.encode(), name).dialect == dialect


OTHER_FORMATS = ("task_master", "todo_txt", "taskpaper", "org", "github_issues")


@pytest.mark.parametrize(("dialect", "text"), CASES)
def test_a_format_of_its_own_does_not_want_what_it_is_not(dialect: str, text: str) -> None:
    document = read_document(text, "notes.md")
    wanted = {name for name in OTHER_FORMATS if DIALECTS[name].score(document) > 0}
    assert wanted == ({dialect} if dialect in OTHER_FORMATS else set())


@pytest.mark.parametrize(("dialect", "text"), [case for case in CASES if case[0] in OTHER_FORMATS])
def test_with_markdown_around_it_a_format_keeps_to_itself(dialect: str, text: str) -> None:
    """The same sample as an example in a Markdown list is no board of that format."""
    fenced = f"# How to write it\n\n- [ ] read this\n\n```\n{text}```\n\n- [ ] write that\n"
    assert parse(fenced.encode(), "how.md").dialect == "gfm"


HOSTILE = {
    "headlines": "* TODO a\n" * 60_000,
    "deep headlines": "\n".join("*" * (n % 900 + 1) + " TODO x" for n in range(4000)),
    "tags": "* TODO a " + ":a" * 150_000 + ":",
    "colons": "* TODO " + ":" * 300_000,
    "cookies": "* TODO a " + "[1/2]" * 60_000,
    "blanks and a cookie": "* TODO a" + " " * 300_000 + "b [1",
    "blocks": "#+begin_src\n" * 60_000,
    "drawers": ":A:\n" * 80_000,
    "properties": "* TODO a\n:PROPERTIES:\n" + ":ID: x\n" * 40_000 + ":END:\n",
    "keywords": "#+TODO: " + "A " * 100_000 + "\n* A x\n",
    "lists": "\n".join(" " * (n % 900) + "- [ ] x" for n in range(4000)),
    "plain bullets": "\n".join(" " * min(n, 900) + "- x" for n in range(3000))
    + "\n"
    + " " * 901
    + "- [ ] y\n" * 3000,
    "closing tags": "- a" + " @b" * 100_000,
    "open tags": "P:\n- a " + "@b(" * 100_000,
    "escapes": "P:\n- a @b(" + "\\(" * 150_000,
    "projects": "P:\n" * 80_000,
    "tabs": "\n".join("\t" * min(n, 500) + "- x @done" for n in range(2000)),
    "contexts": "(A) " + "+a @b " * 50_000,
    "pairs": "(A) " + "a:b " * 80_000,
    "pairs without a blank": "(A) " + "a:" * 150_000,
    "words": "x " + "a " * 150_000,
    "json": '{"tasks": [' + '{"id": 1, "title": "a", "status": "done"},' * 8000 + "]}",
    "json of one depth": '{"tasks": ' + "[" * 300_000,
    "json of subtasks": '{"tasks": ['
    + '{"title": "a", "status": "x", "subtasks": [' * 150
    + "]}" * 150
    + "]}",
    "json spaces": '{"tasks"' + " " * 300_000 + ': "title"' + " " * 300_000,
    "front": "---\nid: a\ntitle: b\nstatus: Done\nlabels: [" + "a, " * 15_000 + "]\n---\n",
    "front of anchors": "---\nid: a\ntitle: b\nstatus: Done\n"
    + "".join(f"k{n}: &a{n} x\n" for n in range(150))
    + "---\n",
    "boxes": "---\nid: a\ntitle: b\nstatus: Done\n---\n## Acceptance\n" + "- [ ] x\n" * 60_000,
    "box in a sentence": "a [ ]" * 60_000,
    "title": "PRD " * 80_000,
    "long name": "product " * 60_000 + "requirements",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "dialect", [None, "org", "taskpaper", "todo_txt", "task_master", "backlog_md", "prd"]
)
def test_hostile_text_takes_linear_time(name: str, dialect: str | None) -> None:
    data = HOSTILE[name].encode()
    start = time.process_time()
    parse(data, "x.md", dialect)
    assert time.process_time() - start < 5.0  # a quadratic scan of these takes minutes
