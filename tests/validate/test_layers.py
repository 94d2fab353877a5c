"""Transport, shape and grounding, each alone: pure, without Great Expectations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calls import ModelAnswer, Passage
from models.enums import ErrorType
from models.recipe import Grounding
from tasks.validate.echo import check_echo
from tasks.validate.grounding import check_grounding
from tasks.validate.shape import NotJson, extract_json, read_json, result_text
from tasks.validate.transport import check_transport, without_thoughts

# transport


@pytest.mark.parametrize(
    ("text", "reason", "error_type"),
    [
        ("", "stop", ErrorType.EMPTY),
        (" \n\t\u200b", "stop", ErrorType.EMPTY),
        ("<think>I wonder</think>", "stop", ErrorType.EMPTY),
        ("<think>I wonder and never end", "stop", ErrorType.EMPTY),
        ("half an ans", "length", ErrorType.TRUNCATED),
        ("half an ans", "MAX_TOKENS", ErrorType.TRUNCATED),
        ("with \x00 in it", "stop", ErrorType.MALFORMED),
        ("with \ud800 in it", "stop", ErrorType.MALFORMED),
    ],
)
def test_no_answer_is_named_for_what_it_is(text: str, reason: str, error_type: ErrorType) -> None:
    _, failure = check_transport(ModelAnswer(text, "m", reason))
    assert failure is not None
    assert failure.error_type is error_type


@pytest.mark.parametrize(
    "text",
    [
        "The error is in line 3: TODO, I cannot find it, sorry, as an AI.",  # words are content
        "Close the tag with </think>.",
        "7",
        "<thinker>is a tag of ours</thinker>",
    ],
)
def test_content_is_no_failure(text: str) -> None:
    assert check_transport(ModelAnswer(text, "m", "stop")) == (text, None)


def test_leading_thoughts_are_taken_off_and_only_those() -> None:
    assert without_thoughts("<think>a</think>\n<think>b</think> It is <think>.") == "It is <think>."
    assert check_transport(ModelAnswer("<THINK>a</THINK >b", "m", "stop")) == ("b", None)


QUESTION = "Which port does the door listen on?\nIt is in the operations manual, under Ports."


@pytest.mark.parametrize(
    "text",
    [
        "Which port does the door listen on?",
        "  which PORT does the door  listen on ",
        "**Which port does the door listen on?** Which port does the door listen on?",
        QUESTION,
        "port does the door listen on",
        "which\u200b port does the door listen on",
    ],
)
def test_the_question_again_is_an_echo(text: str) -> None:
    failure = check_echo(text, QUESTION)
    assert failure is not None
    assert failure.error_type is ErrorType.ECHO


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("4270", QUESTION),
        ("Which port does the door listen on? On 4270.", QUESTION),
        ("the door", QUESTION),
        ("under Ports", QUESTION),
        ("the network disk", "Which is faster, the local disk or the network disk?"),
        ("—", "—"),
        ("anything", ""),
    ],
)
def test_an_answer_that_takes_words_from_the_question_is_none(text: str, question: str) -> None:
    assert check_echo(text, question) is None


WORDS = st.lists(st.text("abcdeж", min_size=1, max_size=4), min_size=1, max_size=12)


@given(WORDS, st.sampled_from([" ", "\n", " ** ", ", ", "\u200b "]), st.booleans())
def test_no_dress_hides_an_echo(words: list[str], gap: str, loud: bool) -> None:
    said = gap.join(words)
    assert check_echo(said.upper() if loud else said, " ".join(words)) is not None


@given(WORDS, st.integers(0, 12))
def test_a_new_word_is_no_echo(words: list[str], place: int) -> None:
    said = [*words[:place], "4270", *words[place:]]
    assert check_echo(" ".join(said), " ".join(words)) is None


# shape

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("ab{}[]\"\\<>/`: ,\n'ж", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc{", max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc", min_size=1, max_size=4), JSON_VALUES, min_size=1, max_size=4)
PROSE = st.text("ab .,!?\n*_-'()жё", max_size=40)


@given(OBJECTS, PROSE, PROSE, st.booleans(), st.integers(0, 3))
def test_the_object_is_found_in_every_wrapping(
    value: dict[str, Any], before: str, after: str, ascii_only: bool, wrapping: int
) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only, indent=2 if wrapping == 3 else None)
    text = [
        written,
        f"{before}\n```json\n{written}\n```\n{after}",
        f"<think>{before} {{}}</think>\n{written}",
        f"{before}{written}{after}",
    ][wrapping]
    if wrapping == 1 and "```" in written:
        return
    assert extract_json(text) == value


@given(st.text('{}[]":,a1 \n`<>/think\\', max_size=80))
def test_extraction_gives_an_object_or_says_why_not(text: str) -> None:
    try:
        assert isinstance(extract_json(text), dict)
    except NotJson as error:
        assert str(error)  # noqa: PT017 - either outcome is right, and both are looked at


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('reasons {maybe}</think>\n{"answer": "a"}', {"answer": "a"}),
        ('{"answer": "say </think> and {\\"x\\": 1}"}', {"answer": 'say </think> and {"x": 1}'}),
        ('Use {name} as said: {"answer": "a"} and {so on}.', {"answer": "a"}),
        ('{"answer": "a"} again: {"answer": "a"}', {"answer": "a"}),
        ('See [1] and [2]: {"answer": "a"}', {"answer": "a"}),
        ('```\nx = 1\n```\n~~~json\n{"answer": "```"}\n~~~', {"answer": "```"}),
    ],
)
def test_examples_that_are_certain(text: str, value: dict[str, Any]) -> None:
    assert extract_json(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no", "no JSON object"),
        ('[{"answer": "a"}]', "a JSON list"),
        ('{"answer": "a"} or {"answer": "b"}', "2 different"),
        ('{"answer": "a", "answer": "b"}', "no JSON object"),
        ('{"answer": "a", "citations": [{"cite": "c", "quote": "q"},,],}', "is broken"),
        ('{"answer": "a", "citations": [{"cite": "c", "quote": "q"}', "is broken"),
        ('{"answer": "it was cut o', "no JSON object"),
        ('{"answer": "a" "confidence": 1}', "no JSON object"),
        ('{"answer": "he said "a" and left"}', "no JSON object"),
        ('{"answer": "a,\n "confidence": 1}', "no JSON object"),
        ('{"path": "C:\\docs"}', "no JSON object"),
        ('{answer: "a"}', "no JSON object"),
        ('{"answer": "a", // cut', "no JSON object"),
        ('{,"answer": "a"}', "no JSON object"),
        ('{"answer": [,]}', "no JSON object"),
        ("{'answer': 'a', 'citations': [{\"cite\": \"c\"}]}", "is broken"),
        ('{"answer": "a", "confidence": NaN}', "no JSON object"),
        ('{"answer": "a", "confidence": 1e999}', "no JSON object"),
        ('{"answer": "\\u0000"}', "can't be stored"),
        ('{"answer": "\\ud800"}', "can't be stored"),
        ('<think>{"answer": "a"}</think> I do not know.', "no JSON object"),
        ("{" * 5000, "more than 64"),
        ('{"a":' * 50_000, "more than 64"),
        ("[" * 100_000, "no JSON object"),
    ],
)
def test_examples_that_are_not(text: str, said: str) -> None:
    with pytest.raises(NotJson, match=said):
        extract_json(text)


@pytest.mark.parametrize(
    ("text", "value", "repairs"),
    [
        ('{"answer": "a"}', {"answer": "a"}, []),
        ('{"answer": ["a", "b",],}', {"answer": ["a", "b"]}, ["comma"]),
        (
            '```json\n{"a": 1, // one\n "b": True,}\n```',
            {"a": 1, "b": True},
            ["fence", "comments", "True", "comma"],
        ),
        ('Here: {"a": None /* empty */}. Good?', {"a": None}, ["prose", "True", "comments"]),
        ('<think>{"a": 2}</think>{"a": "one\ntwo"}', {"a": "one\ntwo"}, ["thoughts", "line breaks"]),
        ('{"a": "it\\\'s // no comment, True,]"}', {"a": "it's // no comment, True,]"}, ["apostrophes"]),
        ('thoughts without a tag</think>\nSo: {"a": "b"}', {"a": "b"}, ["thoughts", "prose"]),
    ],
)
def test_certain_faults_are_put_right_and_said(text: str, value: dict[str, Any], repairs: list[str]) -> None:
    read = read_json(text)
    assert read.data == value
    assert len(read.repairs) == len(repairs), read.repairs
    for word in repairs:
        assert any(word in repair for repair in read.repairs), (word, read.repairs)


@given(OBJECTS, st.data())
def test_an_answer_that_was_cut_off_is_never_made_whole(value: dict[str, Any], data: st.DataObject) -> None:
    """Wherever it was cut: a part of an answer that looks whole would be accepted."""
    written = json.dumps(value)
    cut = written[: data.draw(st.integers(0, len(written) - 1))]
    with pytest.raises(NotJson):
        read_json(cut)


@given(OBJECTS, st.sampled_from([",\n", ", ", ","]))
def test_commas_after_the_last_member_change_nothing(value: dict[str, Any], comma: str) -> None:
    def written(part: Any) -> str:
        if isinstance(part, dict) and part:
            return "{" + comma.join(f"{json.dumps(k)}: {written(v)}" for k, v in part.items()) + comma + "}"
        if isinstance(part, list) and part:
            return "[" + comma.join(map(written, part)) + comma + "]"
        return json.dumps(part)

    assert read_json(written(value)).data == value


def test_a_text_field_that_is_no_text_is_shown_as_yaml() -> None:
    assert result_text({"subtasks": [{"title": "Тест", "acceptance": ["a"]}]}, "subtasks") == (
        "- title: Тест\n  acceptance:\n  - a"
    )


# grounding

PASSAGES = (
    Passage("docs/ops.md:12-18", "The  door listens on\nport 4270. «It’s loud» — 48 s.\n\n* 2 beats"),
    Passage("docs/ops.md:30", "Nothing here <!-- but the port is 1 --> to see"),
)


def one(quote: str, cite: str = "docs/ops.md:12-18") -> dict[str, Any]:
    return {"citations": [{"cite": cite, "quote": quote}]}


@pytest.mark.parametrize(
    "data",
    [
        one("The door listens on port 4270."),
        one("listens\non  port"),
        one('"It\'s loud" - 48 s'),
        one("* 2 beats"),  # a whole line, though short
        one("The door listens", cite="[[docs/ops.md:12-18]]"),
        one("Nothing here to see", cite=" docs/ops.md:30 "),
    ],
)
def test_real_quotes_pass(data: dict[str, Any]) -> None:
    grounded = check_grounding(Grounding.REQUIRED, data, PASSAGES)
    assert grounded.failures == ()
    assert grounded.citations[0]["cite"] in {passage.cite for passage in PASSAGES}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (one("The door listens on port 8080."), "does not stand in docs/ops.md:12-18"),
        (one("door listens on port 42"), "does not stand in"),
        (one("270. «It’s loud»"), "does not stand in"),
        (one("the door LISTENS on"), "does not stand in"),
        (one("The door listens", cite="docs/ops.md:30"), "does not stand in docs/ops.md:30"),
        (one("but the port is 1", cite="docs/ops.md:30"), "does not stand in"),
        (
            one("The door listens", cite="docs/invented.md:1"),
            'cites "docs/invented.md:1", which it was not given',
        ),
        (one("48 s"), "too short"),
        (one(" "), "without a quote"),
        ({"citations": [{"cite": "docs/ops.md:12-18"}]}, "without a quote"),
        ({"citations": ["docs/ops.md:12-18"]}, "without a quote"),
        ({"citations": []}, "cites none of the 2 passages"),
        ({"citations": "docs/ops.md:12-18"}, "cites none"),
        ({}, "cites none"),
        (None, "cites none"),
    ],
)
def test_what_does_not_stand_there_fails(data: dict[str, Any] | None, said: str) -> None:
    grounded = check_grounding(Grounding.REQUIRED, data, PASSAGES)
    assert [failure.error_type for failure in grounded.failures] == [ErrorType.GROUNDING]
    assert said in grounded.failures[0].message


def test_policies() -> None:
    assert check_grounding(Grounding.OPTIONAL, {}, PASSAGES).failures == ()
    assert check_grounding(Grounding.OPTIONAL, one("invented words"), PASSAGES).failures
    assert check_grounding(Grounding.NONE, one("invented words"), ()).failures == ()
    nothing_given = check_grounding(Grounding.REQUIRED, one("The door listens"), ())
    assert [failure.error_type for failure in nothing_given.failures] == [ErrorType.NO_EVIDENCE]


def test_good_citations_are_kept_beside_bad_ones() -> None:
    data = {"citations": [*one("The door listens")["citations"], *one("not in there")["citations"]]}
    grounded = check_grounding(Grounding.REQUIRED, data, PASSAGES)
    assert len(grounded.failures) == 1
    assert grounded.citations == ({"cite": "docs/ops.md:12-18", "quote": "The door listens"},)
