"""Each language's table does its work: no word of it is taken for another language's with another meaning."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.enums import Declared
from sources import parse
from sources.languages import LANGUAGES, Language
from sources.marks import Edit, rewrite
from sources.naming import is_plain, lane_of
from sources.phases import phase_of
from sources.vocabulary import (
    STATUS_OF_FIELD,
    WRITTEN,
    detail_of,
    languages_of,
    priority_of,
    state_of,
    status_of,
)
from sources.words import fold

EACH = pytest.mark.parametrize("language", LANGUAGES, ids=[language.code for language in LANGUAGES])


def bare(word: str) -> str:
    return word.replace("*", "")


def capitals(language: Language, word: str) -> str:
    return (word.replace("i", "İ") if language.code == "tr" else word).upper()


@EACH
def test_a_word_for_a_state_is_it_everywhere(language: Language) -> None:
    for field, status in STATUS_OF_FIELD.items():
        for word in map(bare, language.words(field)):
            assert status_of(word) is status, word
            assert status_of(capitals(language, word)) is status, word
            assert status_of(f"✅ **{word}**") is status, word
            assert state_of(capitals(language, word)) is status, word
            assert lane_of(f"🗂 {word.capitalize()} (3)") is status, word
        for word in map(bare, language.words(f"{field}_cell")):
            assert status_of(word) is status, word
            assert state_of(word, weak=True) is status, word
    for answer, status in (("yes", Declared.DONE), ("no", Declared.TODO)):
        assert {status_of(word) for word in language.words(answer)} <= {status}


@EACH
def test_a_name_of_a_lane_is_it(language: Language) -> None:
    for field, status in list(STATUS_OF_FIELD.items())[:5]:
        for word in language.words(f"{field}_lane"):
            assert lane_of(bare(word)) is status, word
    assert all(is_plain(bare(word)) for word in language.words("plain"))


@EACH
def test_what_is_denied_is_to_do(language: Language) -> None:
    begun = [word for word in language.words("begun") if "*" not in word]
    if not language.spaced or not begun:
        return
    for negation in language.words("negations")[:1]:
        assert status_of(f"{negation} {begun[0]}") is Declared.TODO
        assert state_of(f"{negation} {begun[0]}") is Declared.TODO


@EACH
def test_priorities_details_and_phases(language: Language) -> None:
    name = bare(language.words("priority")[0])
    for level, field in enumerate(("urgent", "high", "medium", "low", "lowest")):
        for word in map(bare, language.words(field)):
            assert (priority_of(word), priority_of(f"{word} {name}"), priority_of(f"{name}: {word}")) == (
                level,
                level,
                level,
            ), word
    for field in ("owner", "priority", "estimate", "due", "updated", "created", "needs"):
        assert {detail_of(bare(word).capitalize()) for word in language.words(field)} <= {field}
    for word in language.words("phase"):
        assert phase_of(f"{word} 1: x") is not None, word
    word = language.words("phase")[0]
    for number, ordinal in enumerate(language.words("ordinals"), 1):
        for said in map(bare, ordinal.split("/")):
            phase = phase_of(f"{word} {said}")
            assert phase is not None, said
            assert phase.key == (False, (number,), ""), said


@EACH
def test_a_board_is_answered_in_its_own_language(language: Language) -> None:
    words = WRITTEN[language.code]
    assert len(words) == 6
    for status, word in words.items():
        assert status_of(word) is status
        assert language.code in languages_of(word)
    header = f"| {bare(language.words('work')[0])} | {bare(language.words('status')[0])} |\n|---|---|\n"
    text = header + "".join(f"| {number} a | {word} |\n" for number, word in enumerate(words.values()))
    board = parse(text.encode(), "x.md")
    assert board.dialect == "checklist"
    assert [item.status for item in board.items] == list(words)
    marks = [item.mark for item in board.items]
    edits = [Edit(mark, Declared.DONE) for mark in marks if mark is not None]
    made = rewrite(text.encode(), "x.md", edits, date(2026, 1, 1), 10**6)
    assert made.refused == ()
    assert {item.status for item in parse(made.data, "x.md").items} == {Declared.DONE}


@EACH
def test_lanes_and_a_next_step_and_an_empty_lane(language: Language) -> None:
    todo, doing, done = (bare(language.words(field)[0]) for field in ("todo", "doing", "done"))
    nothing = language.words("nothing")[0]
    text = f"## {todo}\n- a\n\n## {doing}\n- {nothing}\n\n## {done}\n- b\n"
    board = parse(text.encode(), "x.md")
    assert (board.dialect, [(item.line, item.status) for item in board.items]) == (
        "lanes",
        [(2, Declared.TODO), (8, Declared.DONE)],
    )
    for name in language.words("next_step"):
        board = parse(f"# F\n\n## {name.capitalize()}\n\nx y z.\n".encode(), "x.md")
        assert [(item.kind, item.line) for item in board.items] == [("next_step", 5)], name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("İPTAL EDİLDİ", "iptal edildi"),
        ("YAPILDI", "yapıldı"),
        ("ΟΛΟΚΛΗΡΩΜΈΝΟΣ", "ολοκληρωμένος"),
        ("ολοκληρωμενος", "ολοκληρωμένοσ"),
        ("ＤＯＮＥ", "done"),
        ("مُكتمِل", "مكتمل"),
        ("إنجاز", "انجاز"),
        ("انجام‌شده", "انجامشده"),
        ("zrus\u030ceno", "zrušeno"),
        ("\u202bהושלם\u202c", "הושלם"),
        ("cancel·lat", "cancellat"),
    ],
)
def test_spellings_that_are_the_same_word(one: str, other: str) -> None:
    assert fold(one) == fold(other)


def test_one_word_of_two_languages_is_answered_by_the_others_of_its_board() -> None:
    """ "bloqueado" is Spanish and Portuguese; the rest of the board says which."""
    text = "| Tarefa | Estado |\n|---|---|\n| a | em andamento |\n| b | bloqueado |\n"
    edits = [Edit(i.mark, Declared.DONE) for i in parse(text.encode(), "x.md").items if i.mark]
    written = rewrite(text.encode(), "x.md", edits, date(2026, 1, 1), 10**6).data.decode()
    assert written.endswith("| a | feito |\n| b | feito |\n")


@given(st.text(max_size=60))
def test_any_text_can_be_asked_about(text: str) -> None:
    for asked in (status_of, state_of, lane_of, priority_of, detail_of, phase_of, languages_of, is_plain):
        asked(text)
