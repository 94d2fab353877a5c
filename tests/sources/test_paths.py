"""Which files a board names."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources import parse
from sources.paths import Mention, mentions


def named(text: str) -> list[tuple[int, str]]:
    return [(mention.line, mention.path) for mention in mentions(parse(text.encode(), "plan.md"))]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("docs/plan.md", "docs/plan.md"),
        ("plan.md#part", "plan.md"),
        ("plan.md?raw=1", "plan.md"),
        ("my%20plan.md", "my plan.md"),
        ("<my plan.md>", "my plan.md"),
        ('plan.md "the plan"', "plan.md"),
        ("../up/план.md", "../up/план.md"),
        ("/docs/plan.md", "/docs/plan.md"),
        ("plan_(old).md", "plan_(old).md"),
        ("v2.0/notes.txt", "v2.0/notes.txt"),
        ("https://example.org/plan.md", None),
        ("//example.org/plan.md", None),
        ("mailto:a@example.org", None),
        ("example.org/plan.html", None),
        ("www.example.org/plan.html", None),
        ("#part", None),
        ("docs/", None),
        ("docs/plan", None),
        ("v1.2", None),
        ("~/plan.md", None),
        ("path/to/plan.md", None),
        ("<name>.md", None),
        ("plan-XXX.md", None),
        ("docs/*.md", None),
        ("{{ url }}/a.md", None),
        (".gitignore", None),
        ("C:\\plans\\a.md", None),
    ],
)
def test_targets_of_links(target: str, path: str | None) -> None:
    assert named(f"See [it]({target}).\n") == ([(1, path)] if path else [])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("- [x] Wrote `src/app.py`", "src/app.py"),
        ("- [x] Wrote `src/app.py:12`", "src/app.py"),
        ("- [x] Wrote `./run.sh`", "./run.sh"),
        ("- [x] Wrote ``.github/workflows/ci.yml``", ".github/workflows/ci.yml"),
        ("- [ ] Write `src/app.py`", None),
        ("- [~] Write `src/app.py`", None),
        ("Text about `src/app.py`", None),
        ("- [x] Removed `src/app.py`", None),
        ("- [x] Удалить `src/app.py`", None),
        ("- [x] `src/app.py` gelöscht", None),
        ("- [x] 删除 `src/app.py`", None),
        ("- [x] Set `slot.settings`", None),
        ("- [x] Built `dist/app.js`", None),
        ("- [x] Fixed `docs/*.md`", None),
        ("- [x] Ran `src/app.py --fast`", None),
        ("- [x] Both `and/or` and `GET /a/b.json`", None),
        ("- [x] Reads `/etc/app/conf.ini`", None),
    ],
)
def test_paths_in_backticks_count_in_done_items_only(text: str, path: str | None) -> None:
    assert named(f"# Plan\n\n{text}\n") == ([(3, path)] if path else [])


def test_code_comments_and_quotes_name_nothing() -> None:
    assert named("`[a](a.md)`\n\n```\n[b](b.md)\n```\n<!-- [c](c.md) -->\n> [d](d.md)\n\n[e](e.md)\n") == [
        (9, "e.md")
    ]


def test_a_picture_that_is_a_link_names_two_files() -> None:
    assert named("[![x](img/x.png)](x.md)\n") == [(1, "img/x.png"), (1, "x.md")]


@given(st.text(alphabet=st.sampled_from("ab./`[]()<>#:\\ \n-x~%*é看"), max_size=200))
def test_any_text_is_read_and_what_is_named_is_a_relative_path_of_a_line(text: str) -> None:
    board = parse(text.encode(), "plan.md")
    lines = board.text.split("\n")
    for mention in mentions(board):
        assert isinstance(mention, Mention)
        assert 1 <= mention.line <= len(lines)
        assert mention.path
        assert "\n" not in mention.path
        assert not mention.path.startswith(("#", "~", "//"))


@pytest.mark.parametrize(
    "part",
    ["](", "`", "](<", "](a", "](a(", '](a "', "- [x] `a/", "a.a", "../", "`a/b.c` ", "- [x] `a/b.c`\n"],
)
def test_hostile_text_is_read_in_linear_time(part: str) -> None:
    def seconds(size: int) -> float:
        board = parse(("- [x] t\n- [x] " + part * size).encode(), "plan.md")
        started = time.perf_counter()
        list(mentions(board))
        return time.perf_counter() - started

    small = max(min(seconds(5_000) for _ in range(3)), 0.002)
    assert min(seconds(50_000) for _ in range(2)) < 60 * small
