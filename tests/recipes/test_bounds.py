"""What is longer than any model could take is cut before it is looked through, so that nothing holds a drain up."""

from __future__ import annotations

import random
import string
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calls import Passage
from models.recipe import Recipe, Rendered
from models.settings import Settings
from tasks import prompts
from tasks.prompts import as_shown, render
from tasks.recipes import load_recipes
from tasks.redaction import Redaction
from tests.recipes.test_prompts import Item

LIMIT = 1_000
MARGIN = 2_000
CHANCE = random.Random(7)


def some(count: int) -> str:
    return "".join(CHANCE.choice(string.ascii_letters + string.digits) for _ in range(count))


@cache
def built_in() -> Recipe:
    return load_recipes(Settings(home=Path("nowhere")))["task"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "LONGEST_TEXT", LIMIT)
    monkeypatch.setattr(prompts, "LONGEST_SECRET", MARGIN)


WORDS = "word " * 4_000
FIELDS = ("title", "body", "parent_title", "parent_body", "board_title")


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(0, LIMIT) | st.integers(LIMIT - 3, 20_000), min_size=5, max_size=5),
    lengths=st.lists(st.integers(1, 400) | st.integers(1, 20_000), max_size=6),
    word=st.sampled_from(["word ", "w", "я. ", "語", "<p hidden>a</p>b", "password=a1", "line\n"]),
)
def test_what_is_within_the_bound_is_shown_as_it_is_and_the_work_is_bounded(
    sizes: list[int], lengths: list[int], word: str
) -> None:
    texts = {name: (word * size)[:size] for name, size in zip(FIELDS, sizes, strict=True)}
    passages = [Passage(f"a.md:{number}", (word * size)[:size], 1) for number, size in enumerate(lengths)]
    looked: list[int] = []

    def counting(redaction: Redaction, text: str) -> str:
        looked.append(len(text))
        return whole_redaction(redaction, text)

    def made() -> Rendered:
        return render(built_in(), Item(**texts), passages, context_tokens=None, fence="f")

    whole_redaction = Redaction.__call__
    whole = made()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompts, "LONGEST_TEXT", LIMIT)
        patch.setattr(prompts, "LONGEST_SECRET", MARGIN)
        patch.setattr(Redaction, "__call__", counting)
        bounded = made()
    assert sum(looked) <= (len(FIELDS) + 1) * (LIMIT + MARGIN) + len("taskboard.md")
    if max(sizes) <= LIMIT and sum(lengths) <= LIMIT:
        assert bounded == whole
    cuts = [note for note in bounded.notes if note.check == "cut"]
    assert bounded.prompt.count("[cut: ") <= len(cuts), "a title of the board is looked at and not shown"
    if not cuts:
        assert bounded.prompt == whole.prompt
    extra = 200 * (len(FIELDS) + len(passages))  # marks, names of passages
    empty = render(built_in(), Item(""), [], context_tokens=None)
    assert len(bounded.prompt) <= len(empty.prompt) + (len(FIELDS) + 1) * LIMIT + extra


def test_what_is_cut_is_said_in_the_text_and_in_the_notes(small: None) -> None:
    item = Item("t", WORDS, parent_title="P", parent_body="short")
    passages = [
        Passage("a.md:1", "w " * 300, 0.1),
        Passage("a.md:2", "x " * 900, 0.9),
        Passage("a.md:3", "y", 1),
    ]
    rendered = render(built_in(), item, passages, context_tokens=None)
    body = rendered.question.removeprefix("t\n")
    kept, mark = body.split("\n\n")
    assert kept == WORDS[: len(kept)]
    assert LIMIT - 10 < len(kept) <= LIMIT
    missing = len(WORDS) - len(kept)
    assert mark == f"[cut: {missing:,} characters]"
    assert mark in rendered.prompt
    assert [passage.text[-24:] for passage in rendered.passages] == [
        " w" * 12,
        "\n[cut: 1,400 characters]",
        "[cut: 1 characters]",
    ]
    assert [note.message for note in rendered.notes if note.check == "cut"] == [
        "1,400 of 1,799 characters of the passage a.md:2 left out: too much for any prompt.",
        "1 of 1 characters of the passage a.md:3 left out: too much for any prompt.",
        f"{missing:,} of {len(WORDS):,} characters of the body left out: too much for any prompt.",
    ]
    assert as_shown(item.title, item.body, passages) == (rendered.question, rendered.passages)


def test_in_a_note_a_passage_has_the_name_that_is_shown(small: None) -> None:
    passages = [Passage("a\x1b[31m\u202e\udc80b.md:1", WORDS, 1)]
    rendered = render(built_in(), Item("t", "b"), passages, context_tokens=None)
    (note,) = [note.message for note in rendered.notes if note.check == "cut"]
    assert "characters of the passage ab.md:1 left out" in note
    assert [passage.cite for passage in rendered.passages] == ["ab.md:1"]


SECRETS = {
    "token": "gh" + "p_" + some(36),
    "key": "-----BEGIN RSA PRIVATE KEY-----\n"
    + "".join(some(64) + "\n" for _ in range(6))
    + "-----END RSA PRIVATE KEY-----",
    "words": 'password: "Horse staple. ' + some(12) + '7 battery 9. Blue"',
    "address": "postgresql://app:" + some(14) + "5@db:5432/app",
}


@pytest.mark.parametrize("after", ["", " and more" * 10, " more" * 1_000])
@pytest.mark.parametrize("name", SECRETS)
def test_no_half_of_a_secret_is_shown_at_the_border(small: None, name: str, after: str) -> None:
    secret = SECRETS[name]
    pieces = [secret[at : at + 10] for at in range(len(secret) - 9)]
    hidden = [piece for piece in pieces if piece not in str(Redaction()(secret))]
    assert len(hidden) > 10
    for before in {*range(LIMIT - len(secret) - 2, LIMIT, 5), *range(LIMIT - 30, LIMIT + 3)}:
        text = ("so. " * LIMIT)[: before - 1] + " " + secret + after
        rendered = render(built_in(), Item("t", text), [Passage("a.md:1", text, 1)], context_tokens=None)
        shown = rendered.prompt + rendered.question + str(rendered.passages)
        assert not [piece for piece in hidden if piece in shown], before


def test_secrets_that_fill_a_text_do_not_bring_its_border_into_sight(small: None) -> None:
    """What is redacted is shorter, so more of the text than LONGEST_TEXT might come to be shown."""
    for offset in range(0, 40, 7):
        text = " ".join(["x" * offset, *(f"{SECRETS['token']}" for _ in range(300))])
        shown = render(built_in(), Item("t", text), [], context_tokens=None).prompt
        assert SECRETS["token"][:10] not in shown
