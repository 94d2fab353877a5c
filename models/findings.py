"""Every code that a finding can have: how severe it usually is, what it means, what to do.

The one place: `penstock lint --codes`, SARIF and docs/boards.md are made from it, and a test compares it with what the
code emits.
"""

from __future__ import annotations

from typing import NamedTuple

from models.enums import Severity


class Rule(NamedTuple):
    """What is known of one code before a board is seen. The texts are plain: no Markdown but `code`."""

    code: str
    severity: Severity  # as usual; a finding may have another one
    title: str
    meaning: str
    remedy: str
    by: tuple[str, ...] = ("parse", "lint", "run")  # the commands that find it


_INFO, _WARNING, _ERROR = Severity.INFO, Severity.WARNING, Severity.ERROR

_ALL = (
    # the file
    Rule(
        "unreadable_file",
        _ERROR,
        "A file could not be read",
        "It is no text, is too large, or may not be opened.",
        "Leave it out, or repair it as the message says.",
        by=("lint",),
    ),
    Rule(
        "encoding_loss",
        _ERROR,
        "Text was lost by a wrong encoding",
        "Letters became U+FFFD or question marks. Items whose words are gone are not read.",
        "Restore the file from its history and save it as UTF-8.",
    ),
    Rule(
        "encoding_fallback",
        _WARNING,
        "The file is not UTF-8",
        "It was read as the encoding that its bytes are certain to be.",
        "Save the file as UTF-8.",
    ),
    Rule(
        "empty_board",
        _WARNING,
        "The file is empty",
        "There is nothing to do and nothing to remember.",
        "Look whether it is the right file.",
    ),
    Rule(
        "no_items",
        _INFO,
        "The file has no items",
        "No checkbox, state, status table or task was found: the text is knowledge, not work.",
        "Nothing, if it is documentation. Else write work in one of the dialects, or name the dialect.",
    ),
    Rule(
        "prd_sections",
        _INFO,
        "The file is a requirements document",
        "It has no items of its own. When it is run, its sections become items.",
        "Nothing, or write checkboxes to say yourself what the items are.",
    ),
    Rule(
        "sections_left_out",
        _INFO,
        "Sections of a requirements document become no items",
        "Goals, background, what is out of scope, open questions and the like ask for nothing. They stay in the text "
        "of the document.",
        "Nothing, or put what is to be done below a heading such as `Requirements`.",
        by=("lint", "run"),
    ),
    Rule(
        "malformed_json",
        _ERROR,
        "The JSON can't be read",
        "The file is not valid JSON, so not all of its tasks were read.",
        "Correct the JSON at that line.",
    ),
    Rule(
        "malformed_front_matter",
        _WARNING,
        "The front matter is no YAML",
        "Only the fields that could be told apart were read.",
        "Correct the YAML between the two `---` lines.",
    ),
    Rule(
        "no_front_matter",
        _WARNING,
        "A task file has no front matter",
        "The dialect keeps a task's id, title and status there. It was read as a plain task list.",
        "Put the fields between two `---` lines at the top, or name another dialect.",
    ),
    Rule(
        "not_an_issue",
        _INFO,
        "An entry is no issue",
        "A list of issues holds a pull request, or an entry without number, title or state. It was left out.",
        "Nothing.",
    ),
    # what stands there but can't be read as meant
    Rule(
        "unclosed_fence",
        _WARNING,
        "A code fence is never closed",
        "Everything below it is read as code, not as items.",
        "Close the fence.",
    ),
    Rule(
        "unclosed_comment",
        _WARNING,
        "A comment is never closed",
        "Everything below it is left out.",
        "Close the comment.",
    ),
    Rule(
        "unknown_mark",
        _INFO,
        "A checkbox has an unusual mark",
        "What stands in the brackets is none of the usual signs. The message says how it was read.",
        "Use `[ ]`, `[x]`, `[~]`, `[-]` or `[!]`.",
    ),
    Rule(
        "unknown_state",
        _WARNING,
        "A state is not known",
        "The word in the brackets is no state that Penstock knows; it was read as TODO.",
        "Use TODO, IN_PROGRESS, BLOCKED, DONE or SKIPPED.",
    ),
    Rule(
        "unknown_status",
        _WARNING,
        "A status is not known",
        "The word in the status field or cell is not known; it was read as todo.",
        "Use done, in progress, blocked, partial, skipped or todo, in any of the languages that are read.",
    ),
    Rule(
        "empty_item",
        _INFO,
        "A checkbox has no text",
        "A checkbox alone is no item.",
        "Write what is to be done, or take the line out.",
    ),
    Rule(
        "untitled_item",
        _WARNING,
        "A task has no title",
        "The task was found, but not what it is about.",
        "Give it a title.",
    ),
    Rule(
        "untitled_row",
        _WARNING,
        "A row has no title",
        "A row of a status table has nothing in the column that says what is to be done. It is no item.",
        "Write what the row is about.",
    ),
    Rule(
        "row_width",
        _INFO,
        "A row has more or fewer cells than its header",
        "Missing cells are read as empty, extra ones as part of the last.",
        "Write `\\|` for a bar inside a cell; add what is missing.",
    ),
    Rule(
        "untyped_item",
        _INFO,
        "An item of a kanban board has no type",
        "Neither EP, FEAT, US nor T stands before its id. It was read as a task.",
        "Write it as `[ ] T <id> — title`.",
    ),
    Rule(
        "template_section",
        _INFO,
        "A section shows how items are written",
        "Its checkboxes hold placeholders such as XXX: they are not items.",
        "Rename the section if they are work.",
    ),
    Rule(
        "placeholder_item",
        _INFO,
        "An item is only a placeholder",
        "Its text is XXX, `<...>` or the like. It is not read as an item.",
        "Write what is to be done, or take the line out.",
    ),
    Rule(
        "not_a_task",
        _WARNING,
        "An entry of a task list is no task",
        "Something other than a task object stands among the tasks. It was left out.",
        "Remove it, or make it a task.",
    ),
    Rule(
        "unknown_backend",
        _WARNING,
        "An item names a backend that is none",
        "Its `backend` field is no kind of model server that Penstock has. Any backend may do it.",
        "Correct the word, or take the field out; `penstock backends` lists those that there are.",
    ),
    Rule(
        "unknown_recipe",
        _WARNING,
        "An item names a recipe that it can't have",
        "Its `recipe` field is no recipe, or one that splits, rolls up or is a council member's. Its kind says how it "
        "is done.",
        "Correct the word, or take the field out; `docs/recipes.md` lists those that there are.",
        by=("run",),
    ),
    Rule(
        "invalid_date",
        _WARNING,
        "A date is no day of the calendar",
        "A due, start or other date can't be read. It is kept as text.",
        "Write it as YYYY-MM-DD.",
    ),
    # ids and what belongs to what
    Rule(
        "duplicate_id",
        _WARNING,
        "An id is used twice",
        "Two items have the same id. Both are kept; what needs the id waits for the first.",
        "Give one of them its own id.",
    ),
    Rule(
        "dialect_changed",
        _INFO,
        "A board is read in another dialect than before",
        "An edit made another dialect fit better; what is an item, and what is not, may have changed with it.",
        "Nothing, if the items are right. Else name the dialect with --dialect.",
    ),
    Rule(
        "homoglyph_id",
        _INFO,
        "An id has Cyrillic letters that look Latin",
        "The letters look alike, but 10А and 10A are two ids. It was read with Latin letters.",
        "Retype the id.",
    ),
    Rule(
        "parent_mismatch",
        _WARNING,
        "Id and place name different parents",
        "By its id the item belongs elsewhere than where it stands. The id decided.",
        "Move the line, or correct the id.",
    ),
    Rule(
        "indent_jump",
        _INFO,
        "The indent jumps",
        "The line is indented by more than the board's usual step, so its parent may not be what was meant.",
        "Check the parent and correct the indent.",
    ),
    Rule(
        "sibling_indent",
        _INFO,
        "Siblings are indented differently",
        "Items with the same parent stand at different columns; one of them may be meant for another parent.",
        "Indent them alike, or correct the parent.",
    ),
    Rule(
        "wide_indent",
        _INFO,
        "Lines are indented by unusual spaces",
        "An em space (U+2003) or the like stands where spaces should. It was read as one or two columns.",
        "Indent with plain spaces.",
    ),
    Rule(
        "missing_level",
        _INFO,
        "An id skips a level",
        "The item that should be between it and its parent, by its id, is not on the board.",
        "Add the missing item, or correct the id.",
    ),
    Rule(
        "missing_number",
        _INFO,
        "Siblings leave a number out",
        "The ids below one parent count on, and a number between them is not there.",
        "Look whether an item was lost.",
    ),
    Rule(
        "parent_ring",
        _WARNING,
        "An item is its own ancestor",
        "By their parents the items go round in a ring. One of them was put at the top.",
        "Correct the parents.",
    ),
    Rule(
        "too_deep",
        _WARNING,
        "An item is nested too deep",
        "It is more than 64 levels down and was put under a higher item.",
        "Flatten the list.",
        by=("run",),
    ),
    # what waits for what
    Rule(
        "unknown_dependency",
        _WARNING,
        "An item needs something that is not there",
        "No item of the board has that id, and with `penstock lint` no other file that was given has it. "
        "The item does not wait for it.",
        "Correct the id, or lint the file that has it as well.",
    ),
    Rule(
        "ambiguous_dependency",
        _WARNING,
        "An item needs an id that several boards have",
        "The id is on no item of its own board and on several others of the folder. It waits for all of them.",
        "Give the items ids of their own.",
        by=("run",),
    ),
    Rule(
        "duplicate_work",
        _WARNING,
        "An item is the same work as another",
        "Another item, here or on another board, has the same recipe, title and body and stands under the same titles. "
        "Only that one is run; what needs this one waits for it.",
        "Reword one of them if both are to be done, or set `duplicate_days = 0`.",
        by=("run",),
    ),
    Rule(
        "near_duplicate",
        _INFO,
        "An item reads nearly like another",
        "Two open items of the run differ in small words, endings or typing errors only. Both are run.",
        "Take one of them off its board if they are the same work.",
        by=("run",),
    ),
    Rule(
        "cycle",
        _ERROR,
        "Items wait for one another",
        "Each waits, through the others, for itself: none could ever start.",
        "Take one of the needs out of the board.",
        by=("lint", "run"),
    ),
    Rule(
        "too_many_needs",
        _ERROR,
        "The needs of a board are too many",
        "Phases and parents that need each other come to millions of pairs of items.",
        "Let its phases or parents need fewer items.",
        by=("lint",),
    ),
    Rule(
        "gate_violation",
        _WARNING,
        "Work began before its gate was settled",
        "A governance node (`GOV`, `DISCOVERY`) is open, and an item that it gates is begun or done.",
        "Settle the gate first, or close it if its questions are answered.",
    ),
    Rule(
        "consult_without_question",
        _WARNING,
        "A question is missing",
        "The item is a CONSULT or REFLECT without a question: nobody can answer it.",
        "Write what is to be decided.",
    ),
    # where the board contradicts itself
    Rule(
        "question_outside_gate",
        _INFO,
        "Questions stand among the work",
        "CONSULT or REFLECT items stand below an item that is no gate, so nothing waits for the answers.",
        "Put them below the gate (`.GOV`) of their branch.",
    ),
    Rule(
        "done_parent_open_child",
        _WARNING,
        "A closed item has open parts",
        "The parent is ticked, some of what is below it is not.",
        "Close the parts, or reopen the parent.",
    ),
    Rule(
        "open_parent_all_done",
        _INFO,
        "An open item has only closed parts",
        "Everything below it is closed, the item itself is not.",
        "Close it, or write what is left.",
    ),
    Rule(
        "open_parent_some_done",
        _INFO,
        "A parent is not begun, but children are done",
        "The parent's mark says todo; some of its children are done, others are not.",
        "Mark the parent as in progress.",
    ),
    Rule(
        "lane_conflict",
        _INFO,
        "A card's mark and its lane disagree",
        "The card is marked otherwise than the lane that it stands in. The mark was believed.",
        "Move the card to where it belongs, or correct its mark.",
    ),
    Rule(
        "phase_done_without_commit",
        _WARNING,
        "A finished phase records no commit",
        "The board records the commits of its phases. All items of this one are closed, and none is recorded.",
        "Write the commit's hash below it, or reopen what is not merged.",
    ),
    Rule(
        "repeated_across_phases",
        _WARNING,
        "The same work is in two phases",
        "An item that is closed in an earlier phase is open in a later one: same title, or same file.",
        "Say what is new about it, or close it.",
    ),
    Rule(
        "more_than_one_next_step",
        _WARNING,
        "There is more than one next step",
        "A hand-off note names one next step; this one offers several.",
        "Decide for one and write that.",
    ),
    Rule(
        "range_count_mismatch",
        _WARNING,
        "A count and a list of numbers disagree",
        "The text says how many issues there are, and the list or range (`#55–59`) has another number of them.",
        "Correct the count or the list.",
    ),
    Rule(
        "evidence_conflict",
        _WARNING,
        "Mark and evidence disagree",
        "The item's mark says one thing, the result or the criteria below it say another.",
        "Check which is true and correct the other.",
    ),
    Rule(
        "oversized",
        _INFO,
        "An item is too large for one prompt",
        "Its text has more than 20,000 characters.",
        "Split it, or put the text into a document of its own.",
    ),
    Rule(
        "broken_path",
        _WARNING,
        "A file that is named does not exist",
        "A link, or a path in a closed item, leads to nothing: neither beside the board, nor from the root of its "
        "repository, nor from the folder that was given.",
        "Correct the path, or restore the file.",
        by=("lint",),
    ),
    Rule(
        "secret",
        _WARNING,
        "A secret stands in a board",
        "A key, a token, a password or a private key was recognised by its shape. It is taken out of every prompt; the "
        "message names its kind, never the value.",
        "Take it out of the file, and have a new one made if others could read it.",
        by=("lint", "run"),
    ),
    # the checks of the table that is stored
    Rule(
        "bad_title",
        _ERROR,
        "A title is empty or too long",
        "An item was left out: a title has 1 to 2000 characters.",
        "Shorten the title; put the rest below it.",
        by=("run",),
    ),
    Rule(
        "bad_line",
        _ERROR,
        "A line number is wrong",
        "An item was left out: its line is less than 1.",
        "Report it: the parser is wrong.",
        by=("run",),
    ),
    Rule(
        "bad_ordinal",
        _ERROR,
        "A place in a line is wrong",
        "An item was left out: its ordinal is less than 0.",
        "Report it: the parser is wrong.",
        by=("run",),
    ),
    Rule(
        "bad_depth",
        _ERROR,
        "A depth is wrong",
        "An item was left out: its depth is less than 0.",
        "Report it: the parser is wrong.",
        by=("run",),
    ),
    Rule(
        "bad_status",
        _ERROR,
        "A status is wrong",
        "An item was left out: its status is none of todo, in_progress, blocked, done, skipped, partial.",
        "Report it: the parser is wrong.",
        by=("run",),
    ),
    Rule(
        "bad_priority",
        _ERROR,
        "A priority is wrong",
        "An item was left out: its priority is not 0 to 4.",
        "Report it: the parser is wrong.",
        by=("run",),
    ),
    Rule(
        "duplicate_place",
        _ERROR,
        "Two items have the same place",
        "An item was left out: another one has its line and ordinal.",
        "Report it: the parser is wrong.",
        by=("run",),
    ),
    Rule(
        "check_crashed",
        _ERROR,
        "A check could not run",
        "What was not checked is not stored.",
        "Run it again; the message has the reason.",
        by=("run",),
    ),
    # the documents of a repository
    Rule(
        "unknown_commit",
        _WARNING,
        "The commit of the last sync is not there",
        "The clone is shallow, or its history was rewritten. The last merges were read instead.",
        "Fetch the whole history.",
        by=("docs sync",),
    ),
    Rule(
        "history_rewritten",
        _WARNING,
        "The history was rewritten",
        "The commit of the last sync is no longer part of the branch.",
        "Nothing; it was read from the common ancestor.",
        by=("docs sync",),
    ),
    Rule(
        "document_skipped",
        _INFO,
        "A document was left alone",
        "It is binary, too large, or not in the clone.",
        "Look yourself.",
        by=("docs sync",),
    ),
)

FINDINGS: dict[str, Rule] = {rule.code: rule for rule in _ALL}
LINT = tuple(rule.code for rule in _ALL if "lint" in rule.by)
"""Codes that `penstock lint` can give."""


def described(code: str) -> Rule:
    """What is known of a code; of one from elsewhere, its name."""
    name = code.replace("_", " ").capitalize()
    return FINDINGS.get(code) or Rule(code, _WARNING, name, f"{name}.", "See the message.")
