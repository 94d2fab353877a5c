"""Quoting what answers, and refusing what does not, in several languages."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import lexical
from backends.extractive import MAX_QUOTES, answer_text, choose_quotes
from backends.registry import extractive_endpoint, make
from models.calls import ModelCallError, Passage
from models.enums import ErrorType

from .conftest import SCHEMA, in_seconds, make_request

OPS = """# Operations

## Backups

The nightly backup starts at 02:30 UTC and takes
about an hour. Copies are kept for 30 days on the
second host. Restores are rehearsed every quarter by the on-call engineer.

## Deployments

- Releases are deployed on Tuesdays with `make deploy`.
- A failed deployment is rolled back automatically within five minutes.

| service | port | owner |
| --- | --- | --- |
| billing | 8443 | payments team |
| search | 9200 | platform team |

- [ ] Write a runbook for certificate rotation
- [x] Rotate the database password

Who is allowed to approve a release?
"""

OPS_RU = """## Резервное копирование

Резервные копии создаются каждую ночь в 02:30. Копии хранятся 30 дней на втором сервере.

## Доступ

Доступ к базе данных выдаёт администратор после согласования с руководителем. Пароли меняются раз в квартал.
"""

GOOD = [
    ("When does the nightly backup start?", OPS, "02:30"),
    ("How long are copies kept?", OPS, "30 days"),
    ("Document who rehearses the restore", OPS, "on-call engineer"),
    ("When are releases deployed?", OPS, "Tuesdays"),
    ("What happens to failed deployments?", OPS, "rolled back"),
    ("Which port does billing use?", OPS, "8443"),
    ("Which team owns search?", OPS, "platform team"),
    ("Когда создаётся резервная копия?", OPS_RU, "02:30"),
    ("Сколько дней хранятся копии?", OPS_RU, "30 дней"),
    ("Кто выдаёт доступ к базам данных?", OPS_RU, "администратор"),
    ("Как часто менять пароль?", OPS_RU, "раз в квартал"),
    (
        "Wann läuft die nächtliche Sicherung?",
        "Die nächtliche Sicherung läuft um 02:30 Uhr. Sie dauert eine Stunde.",
        "02:30",
    ),
    (
        "¿Cuándo se ejecuta la copia de seguridad nocturna?",
        "La copia de seguridad nocturna se ejecuta a las 02:30. El informe se envía por correo.",
        "02:30",
    ),
    (
        "Quand démarre la sauvegarde nocturne ?",
        "La sauvegarde nocturne démarre à 02h30. Les copies sont conservées un mois.",
        "02h30",
    ),
    ("夜间备份何时开始", "夜间备份于02:30开始。副本保存30天。", "02:30"),
]

BAD = [
    ("How do I rotate the TLS certificates?", OPS),
    ("What is the retention period of audit logs?", OPS),
    ("Which database does billing use?", OPS),
    ("Write a runbook for certificate rotation", OPS),  # its own line on the board
    ("Rotate the database password", OPS),  # a tick is a claim, not evidence
    ("Who is allowed to approve a release?", OPS),  # a question is no answer
    ("What is the capital of France?", OPS),
    ("Add a dark theme to the settings page", OPS),
    ("Migrate the search cluster to version 9", OPS),
    ("Backups", "# Backups\n"),  # a heading alone says nothing
    ("What is it?", OPS),  # no word of its own
    ("", OPS),
    ("Как настроить мониторинг кластера?", OPS_RU),
    ("Какова стоимость лицензии на базу?", OPS_RU),
    ("Кто отвечает за выпуск мобильного приложения?", OPS_RU),
    ("Wie wird das Zertifikat erneuert?", "Die nächtliche Sicherung läuft um 02:30 Uhr."),
    ("¿Quién aprueba las vacaciones?", "La copia de seguridad nocturna se ejecuta a las 02:30."),
    ("如何申请年假", "夜间备份于02:30开始。副本保存30天。"),
    ("When does the nightly backup start?", OPS_RU),
]


def quotes(question: str, *texts: str) -> list[str]:
    passages = tuple(Passage(f"d.md:{n}", text) for n, text in enumerate(texts))
    return [quote.text for quote in choose_quotes(question, passages)]


@pytest.mark.parametrize(("question", "text", "said"), GOOD)
def test_quotes_what_answers_first(question: str, text: str, said: str) -> None:
    found = quotes(question, text)
    assert found
    assert said in found[0]
    assert found[0] in text


@pytest.mark.parametrize(("question", "text"), BAD)
def test_quotes_nothing_that_does_not_answer(question: str, text: str) -> None:
    assert quotes(question, text) == []


@pytest.mark.parametrize(("question", "said"), [(q, said) for q, text, said in GOOD if text in (OPS, OPS_RU)])
def test_finds_it_among_other_passages(question: str, said: str) -> None:
    noise = "The menu lists soup, bread and cheese. Lunch is served at noon in the large hall."
    found = quotes(question, noise, OPS, OPS_RU)
    assert said in found[0]
    assert not any(text in noise for text in found)


def test_a_wrapped_sentence_is_one_quote_with_its_line_break() -> None:
    (first, *_) = quotes("When does the nightly backup start?", OPS)
    assert first == "The nightly backup starts at 02:30 UTC and takes\nabout an hour."


def test_a_second_quote_says_something_else_of_the_question() -> None:
    found = quotes("When do backups start, and when are releases deployed?", OPS)
    assert len(found) <= MAX_QUOTES
    assert len(set(found)) == len(found)


def test_a_long_body_does_not_drown_the_title() -> None:
    body = "Mentioned by support last week, several customers asked, please look into this soon. " * 3
    assert "02:30" in quotes(f"When does the nightly backup start?\n{body}", OPS)[0]


@given(st.text(max_size=300), st.lists(st.text(max_size=300), max_size=3))
def test_any_quote_is_verbatim_and_no_echo(question: str, texts: list[str]) -> None:
    for quote in choose_quotes(question, tuple(Passage(str(n), text) for n, text in enumerate(texts))):
        assert quote.text in texts[int(quote.cite)]
        assert 0 < quote.score <= 1.0001
        assert lexical.normalised(quote.text) not in lexical.normalised(question)


@given(st.text(max_size=500))
def test_sentences_are_slices_in_order(text: str) -> None:
    at = 0
    for sentence in lexical.sentences(text):
        at = text.index(sentence.text, at)
        assert len(sentence.text) <= lexical.LONGEST


@pytest.mark.parametrize(
    "words",
    [
        "backup backups",
        "deploy deployed deployment deployments deploying",
        "configure configured configuration configurations",
        "restore restored restoring",
        "миграция миграции миграцией миграций",
        "резервная резервной резервных резервное",
        "пароль пароли паролей паролями",
        "выдаёт выдают",
        "Sicherung Sicherungen",
    ],
)
def test_inflections_match(words: str) -> None:
    first, *others = [lexical.content_stems(word)[0] for word in words.split()]
    for other in others:
        assert lexical.Vocabulary([first]).known([other]) == {other}


@pytest.mark.parametrize(
    "words", ["interface interval", "internet internal", "port 8443", "80 8080", "пароль пара"]
)
def test_other_words_do_not(words: str) -> None:
    first, other = (lexical.content_stems(word)[0] for word in words.split())
    assert lexical.Vocabulary([first]).known([other]) == set()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It is e.g. Postgres 15. It works.", ["It is e.g. Postgres 15.", "It works."]),
        ("Version 3.11 is needed. use it", ["Version 3.11 is needed. use it"]),
        ("- one\n- two\n", ["one", "two"]),
        ("一。二。", ["一。", "二。"]),
        ("| red | blue |\n|---|---|\n| cold | warm |", ["red | blue", "cold | warm"]),
    ],
)
def test_sentences(text: str, pieces: list[str]) -> None:
    assert [sentence.text for sentence in lexical.sentences(text)] == pieces


def refused(**changes: Any) -> ModelCallError:
    with pytest.raises(ModelCallError) as caught:
        answer_text(make_request("extractive", **changes))
    return caught.value


def test_no_evidence_names_where_it_looked() -> None:
    error = refused(question="What is the capital of France?")
    assert error.error_type is ErrorType.NO_EVIDENCE
    assert "docs/ops.md:12-13" in str(error)


def test_no_passages_at_all() -> None:
    assert refused(passages=()).error_type is ErrorType.NO_EVIDENCE


def test_a_schema_that_quotes_can_not_fill() -> None:
    steps = {"type": "object", "required": ["steps"], "properties": {"steps": {"type": "array"}}}
    error = refused(schema=steps)
    assert error.error_type is ErrorType.NO_EVIDENCE
    assert "steps" in str(error)


def test_only_the_fields_that_the_schema_has() -> None:
    schema = {"type": "object", "required": ["answer"], "properties": {"answer": {"type": "string"}}}
    assert list(orjson.loads(answer_text(make_request(schema=schema)))) == ["answer"]


def test_the_answer_holds_the_quote_and_its_cite() -> None:
    answer = orjson.loads(answer_text(make_request(schema=SCHEMA)))
    assert answer["answer"].startswith("The nightly backup starts at 02:30 UTC. [docs/ops.md:12-13]")
    assert 0.55 <= answer["confidence"] <= 0.95


async def test_a_large_text_does_not_block_the_loop() -> None:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
    text = " ".join(f"{words[n % 10]}{n} lies near {words[n * 7 % 10]}{n * 31}." for n in range(30_000))
    backend = make(extractive_endpoint())
    turns, done = 0, asyncio.Event()

    async def watch() -> None:
        nonlocal turns
        while not done.is_set():
            await asyncio.sleep(0.001)
            turns += 1

    watching = asyncio.ensure_future(watch())
    with pytest.raises(ModelCallError):
        await backend.answer(
            make_request("extractive", passages=(Passage("big.md:1", text),)), in_seconds(60)
        )
    done.set()
    await watching
    assert turns > 10  # a call that blocks leaves one or two
