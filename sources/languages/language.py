"""What a language is to the parsers: its words, by what they say. Only data; `sources.words` makes patterns of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """The words of one language. Each field is words between commas; a star stands for any ending ("hotov*"). What is
    a word on its own is found as a whole word; in a language that is not `spaced`, anywhere in a text."""

    code: str
    name: str
    spaced: bool = True
    unaccented: bool = False  # is it often written without its accents ("a faire", "hotova priorita")?

    # States: in a cell, in [STATE] brackets, as the name of a lane.
    todo: str = ""
    doing: str = ""
    blocked: str = ""
    done: str = ""
    skipped: str = ""
    partial: str = ""
    # The same, but not by themselves in brackets or as a lane: changelogs and headings of any document say them, too.
    todo_cell: str = ""
    doing_cell: str = ""
    blocked_cell: str = ""
    done_cell: str = ""
    skipped_cell: str = ""
    partial_cell: str = ""
    # Names of lanes only.
    todo_lane: str = ""
    doing_lane: str = ""
    blocked_lane: str = ""
    done_lane: str = ""
    skipped_lane: str = ""
    plain: str = ""  # those names of lanes that headings of any document have: they make no board
    joins: str = ""  # what may follow the name of a lane: "Waiting *for* the printer"
    waits: str = ""  # names of lanes that take whatever follows: "*Awaiting* approval"
    negations: str = ""  # before what is done or begun
    begun: str = ""  # what is to do with a negation before it
    yes: str = ""  # the whole cell below "Done?"
    no: str = ""
    write: str = ""  # what a write-back writes for todo, in progress, blocked, done, skipped, partial
    nothing: str = ""  # the card of an empty lane

    # Priorities, from the highest; and what is left out around them.
    urgent: str = ""
    high: str = ""
    medium: str = ""
    low: str = ""
    lowest: str = ""
    things: str = ""  # what a piece of work is called: "High priority *tasks*", "*Tasks* done", "12 *tasks*"

    # Keys of detail lines, headers of columns.
    priority: str = ""
    owner: str = ""
    who: str = ""  # headers only
    estimate: str = ""
    commit: str = ""
    due: str = ""
    updated: str = ""
    created: str = ""
    complexity: str = ""
    benefit: str = ""
    needs: str = ""  # also inside a line, before ids: "(after A-1)"
    number: str = ""
    status: str = ""
    result: str = ""
    check: str = ""
    work: str = ""
    issues: str = ""
    date: str = ""
    sign: str = ""  # the other column of a table that says what signs mean
    meaning: str = ""
    thing: str = ""  # what a table lists the condition of: "Service | Status"
    condition: str = ""  # how a thing is, not how far it is
    total: str = ""

    # Headings and labels.
    phase: str = ""
    ordinals: str = ""  # first/one, second/two, ... as written beside the word for a phase
    goal: str = ""
    next_step: str = ""
    alternatives: str = ""
    counters: str = ""  # what issues are counted with where words do not stand apart
    every: str = ""  # "*all* 20 tasks"
    see: str = ""
    criteria: str = ""
    legend: str = ""
    formats: str = ""  # a section that is called so may explain the marks
    template: str = ""  # in brackets: only with them
    prd: str = ""

    def words(self, field: str) -> list[str]:
        """The entries of one field."""
        return [word.strip() for word in str(getattr(self, field)).split(",") if word.strip()]


STATE_FIELDS = ("todo", "doing", "blocked", "done", "skipped", "partial")


def transliterated(language: Language, code: str, name: str, letters: dict[str, str]) -> Language:
    """The same language in its other script; the longer of two spellings goes first."""

    def other(text: str) -> str:
        for latin in sorted(letters, key=len, reverse=True):
            text = text.replace(latin, letters[latin])
        return text

    texts: dict[str, str] = {
        field.name: other(value)
        for field in fields(language)
        if isinstance(value := getattr(language, field.name), str) and field.name not in ("code", "name")
    }
    return replace(language, code=code, name=name, unaccented=False, **texts)  # type: ignore[arg-type]


def entries(languages: tuple[Language, ...], field: str) -> Iterator[tuple[Language, str]]:
    """All words of a field, with their language."""
    for language in languages:
        for word in language.words(field):
            yield language, word
