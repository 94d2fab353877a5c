"""Nothing is lost: what looks like a checkbox is an item, or is accounted for with a reason, in every dialect."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.errors import SourceError
from sources import parse
from sources.checkbox import is_checkbox
from sources.dialects import DIALECTS
from sources.document import visible

FRAGMENTS = st.sampled_from(
    [
        "- [ ] ", "* [x] ", "[~] ", "1. [X] ", "\t- [/] ", "    [ ] ", "> - [ ] ", "☐ ", "- [DONE] ", "- [ ]",
        "[x](y) ",
        "word ", "T001 [P] ", "(A) ", "x 2026-01-01 ", "* TODO ", "*** DONE ", "#+begin_src\n", "#+end_src\n",
        ":PROPERTIES:\n",
        ":END:\n", "Project:\n", "@done ", "## Todo\n", "## Doing\n", "## Phase 1\n", "## Template\n",
        "- [ ] XXX ", "---\n",
        "title: x\n", "```\n", "~~~\n", "<!-- ", " -->", "%%", "\n", "\n\n", "| a | Status |\n|---|---|\n",
        "| [ ] x | done |\n",
        "📅 2026-01-01 ", "[due:: x]", "{\"tasks\": [", "]}", "????? ????", "- _(none)_ ", "[x] - done",
        "\u2003", "\ufeff",
    ]
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS | st.text(max_size=5), max_size=40).map("".join)


@given(TEXTS, st.sampled_from([None, *DIALECTS]))
@settings(max_examples=500, deadline=None)
@example("- [ ] a\n\t- [x]\n> - [ ] b\n\n    [~] c", None)
def test_every_checkbox_is_an_item_or_has_a_reason(text: str, dialect: str | None) -> None:
    try:
        board = parse(text.encode("utf-8", "surrogatepass"), "x.md", dialect)
    except SourceError:
        return  # control characters made it a binary file
    items = {item.line for item in board.items}
    reasons = dict(board.not_items)
    assert all(reasons.values())
    for number, line in enumerate(board.text.split("\n"), 1):
        if is_checkbox(visible(line).strip().lstrip("> \t")):
            assert number in items or number in reasons, (board.dialect, number, line)
