"""Writes labelled.jsonl from facts.yaml, and so for the other lots: `python tests/answers/make.py`.

No validator has a hand in it.

A row: `id`, `class`, `bad` (true where it must not pass), `layer` (whose matter it is), `lang`, `recipe` (task: JSON
with citations; plain: free text; evidence, patch: free text whose files, ids, links, quotations, code and patches are
looked at), `pack` (rows of one pack are checked together), `question`, `passages`, `answer`, `finish_reason`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
FILES = {
    "labelled.jsonl": "facts.yaml",
    "second.jsonl": "facts_second.yaml",
    "third.jsonl": "facts_third.yaml",
}
Fact = dict[str, Any]
Row = dict[str, Any]

ASKED = {
    "en": "Question: ", "ru": "Вопрос: ", "de": "Frage: ", "fr": "Question : ", "es": "Pregunta: ", "pl": "Pytanie: ",
    "zh": "问题：", "it": "Domanda: ", "pt": "Pergunta: ", "uk": "Питання: ", "tr": "Soru: ", "ja": "質問：",
    "nl": "Vraag: ",
}  # fmt: skip
SURE = {
    "en": "Sure! Here is what you asked for:",
    "ru": "Конечно! Вот ваш запрос:",
    "de": "Natürlich, hier ist Ihre Frage:",
    "fr": "Bien sûr, voici votre demande :",
    "es": "Claro, aquí está su pregunta:",
    "pl": "Pytanie:",
    "zh": "好的，你的问题：",
    "it": "Certo, ecco la sua domanda:",
    "pt": "Claro, aqui está a sua pergunta:",
    "uk": "Звісно, ось ваше питання:",
    "tr": "Tabii, işte sorunuz:",
    "ja": "はい、ご質問は：",
    "nl": "Natuurlijk, hier is uw vraag:",
}
REFUSALS = {
    "en": "I'm sorry, but I can't help with that.",
    "ru": "Извините, я не могу помочь с этим.",
    "de": "Es tut mir leid, aber ich kann dabei nicht helfen.",
    "fr": "Je suis désolé, mais je ne peux pas vous aider.",
    "es": "Lo siento, pero no puedo ayudarte con eso.",
    "zh": "抱歉，我无法回答这个问题。",
    "it": "Mi dispiace, ma non posso aiutarti.",
    "pt": "Desculpe, mas não posso ajudar com isso.",
    "nl": "Sorry, maar daar kan ik niet bij helpen.",
    "uk": "Вибачте, я не можу допомогти з цим.",
    "ja": "申し訳ありませんが、お手伝いできません。",
}
CHARACTERS = ["x", ".", "?", "а", "1", "—", "✅", "。", "A", "*", "0", "я"]


def question(fact: Fact) -> str:
    return f"{fact['q']}\n{fact['body']}".strip()


def cited(fact: Fact, answer: str, *, cite: str | None = None, quote: str | None = None) -> str:
    citation = {"cite": cite or fact["cite"], "quote": quote or fact["quote"]}
    return json.dumps({"answer": answer, "citations": [citation], "confidence": 0.9}, ensure_ascii=False)


def row(name: str, layer: str, fact: Fact, recipe: str, answer: str, **more: Any) -> Row:
    return {
        "class": name, "bad": layer != "-", "layer": layer, "lang": fact["lang"], "recipe": recipe, "pack": None,
        "question": question(fact), "passages": {fact["cite"]: fact["text"]}, "answer": answer, "finish_reason": "stop",
    } | more  # fmt: skip


def good(fact: Fact) -> Iterator[Row]:
    asked, first = ASKED[fact["lang"]] + fact["q"], fact["text"].split("\n")[0]
    yield row("good", "-", fact, "task", cited(fact, fact["a"]))
    yield row("good", "-", fact, "plain", fact["a"])
    yield row("good, question first", "-", fact, "plain", f"{fact['q']} {fact['a']}")
    yield row("good, question first", "-", fact, "task", cited(fact, f"{asked}\n{fact['a']}"))
    yield row("good, quotes its source", "-", fact, "evidence", f"{fact['a']}\n\n> {first}")
    yield row('good but "error"', "-", fact, "task", cited(fact, fact["odd"]))
    yield row('good but "error"', "-", fact, "plain", fact["odd"])
    yield row(
        "good in a fence or after thoughts", "-", fact, "task", f"```json\n{cited(fact, fact['a'])}\n```"
    )
    thoughts = f"<think>\n{fact['q']} {{hm}} error\n</think>\n\n"
    yield row("good in a fence or after thoughts", "-", fact, "plain", thoughts + fact["a"])


def transport(fact: Fact, number: int) -> Iterator[Row]:
    lang, asked = fact["lang"], question(fact)
    for recipe, wrap in (("plain", str), ("task", lambda text: cited(fact, text))):
        yield row("echo", "transport", fact, recipe, wrap(asked))
        yield row("echo, quoted", "transport", fact, recipe, wrap(f'"{asked}"'))
        yield row("echo, prefixed", "transport", fact, recipe, wrap(ASKED[lang] + fact["q"]))
        yield row("echo, prefixed", "transport", fact, recipe, wrap(f"{SURE[lang]}\n\n{asked}"))
    yield row("echo, case and marks changed", "transport", fact, "plain", f"**{asked.upper()}**")
    yield row(
        "echo, case and marks changed", "transport", fact, "plain", f"> {fact['q'].casefold().rstrip(' ?？')}"
    )
    long = (
        " ".join([fact["q"], fact["body"], fact["text"], fact["a"], fact["stray"], fact["odd"]]).replace(
            "\n", " "
        )
        * 2
    )
    yield row("echo, long part", "transport", fact, "plain", long[:330], question=long)
    yield row(
        "truncated", "transport", fact, "plain", fact["a"][: len(fact["a"]) // 2], finish_reason="length"
    )
    yield row(
        "truncated", "transport", fact, "task", cited(fact, fact["a"])[:-20], finish_reason="MAX_TOKENS"
    )
    yield row("wrong language", "transport", fact, "plain", fact["other"])
    yield row("wrong language", "transport", fact, "task", cited(fact, fact["other"]))
    empty = ["", " \n\t", "<think>" + fact["a"], f"<think>{fact['a']}</think>\n"][number % 4]
    yield row("empty or only thoughts", "transport", fact, "plain", empty)
    character = CHARACTERS[number % len(CHARACTERS)]
    mark = not character.isalnum()
    yield row("one character", "transport" if mark else "rules", fact, "task", cited(fact, character))
    if mark:
        yield row("one character", "transport", fact, "plain", character)
    if refusal := REFUSALS.get(lang):
        yield row("refused", "transport", fact, "plain", refusal)
        yield row("refused", "transport", fact, "task", cited(fact, refusal))
    yield row("refused", "transport", fact, "plain", fact["a"][:5], finish_reason="content_filter")


def shape(fact: Fact) -> Iterator[Row]:
    whole = cited(fact, fact["a"])
    yield row("JSON cut off", "shape", fact, "task", whole[: 3 * len(whole) // 5])
    yield row("JSON cut off", "shape", fact, "task", f"```json\n{whole[:-9]}\n```")
    yield row("no JSON", "shape", fact, "task", fact["a"])
    yield row("two different answers", "shape", fact, "task", f"{whole}\n{cited(fact, fact['stray'])}")
    yield row("wrong shape", "shape", fact, "task", json.dumps({"answer": fact["a"]}, ensure_ascii=False))
    yield row("wrong shape", "shape", fact, "task", whole.replace("0.9", '"high"'))


def grounding(fact: Fact) -> Iterator[Row]:
    path, lines = fact["cite"].rsplit(":", 1)
    last = int(lines.split("-")[1])
    text = fact["a"]
    yield row("invented citation", "grounding", fact, "task", cited(fact, text, cite=f"{path}:{last + 40}"))
    yield row("invented citation", "grounding", fact, "task", cited(fact, text, cite="docs/handbook.md:1-9"))
    yield row(
        "invented quote",
        "grounding",
        fact,
        "task",
        cited(fact, text, quote=f"{fact['quote']} ({fact['stray']})"),
    )
    yield row("invented quote", "grounding", fact, "task", cited(fact, text, quote=fact["stray"]))
    yield row("no citation", "grounding", fact, "task",
              json.dumps({"answer": text, "citations": [], "confidence": 0.9}, ensure_ascii=False))  # fmt: skip
    yield row("invented file, link or id", "grounding", fact, "evidence", f"{text} (docs/handbook.md)")
    yield row("invented file, link or id", "grounding", fact, "evidence", f"{text} ({path}:{last + 40})")
    yield row(
        "invented file, link or id", "grounding", fact, "evidence", f"{text} https://example.org/{last}"
    )
    yield row("invented file, link or id", "grounding", fact, "evidence", f"{text} (#{last + 900})")
    yield row("good, names its source", "-", fact, "evidence", f"{text} ({path}, {path}:{last})")
    yield row("invented quote", "grounding", fact, "evidence", f"{text}\n\n> {fact['stray']} {fact['stray']}")
    yield row(
        "code that can't be read", "grounding", fact, "evidence", f"{text}\n\n```python\nport = (4270\n```"
    )
    yield row(
        "good, with code", "-", fact, "evidence", f'{text}\n\n```python\nraise ValueError("error")\n```'
    )
    old = fact["text"].split("\n")[0]
    patch = "```diff\n--- a/{path}\n+++ b/{path}\n@@ -{at},1 +{at},1 @@\n-{old}\n+{new}\n```"
    at = lines.split("-")[0]
    yield row("good, with a patch", "-", fact, "patch", patch.format(path=path, at=at, old=old, new=text))
    yield row("patch that does not apply", "grounding", fact, "patch",
              patch.format(path=path, at=at, old=fact["stray"], new=text))  # fmt: skip
    yield row("patch that does not apply", "grounding", fact, "patch",
              patch.format(path="docs/handbook.md", at=at, old=old, new=text))  # fmt: skip


def irrelevant(fact: Fact) -> Iterator[Row]:
    none = json.dumps({"answer": fact["stray"], "citations": [], "confidence": 0.9}, ensure_ascii=False)
    yield row("irrelevant, without a citation", "grounding", fact, "task", none)
    yield row("irrelevant beside a real quote", "judge", fact, "task", cited(fact, fact["stray"]))
    yield row("irrelevant in free text", "judge", fact, "plain", fact["stray"])


def packs(facts: list[Fact]) -> Iterator[Row]:
    """All facts of a language as one pack: each under its own id, then each with the answer of the next."""
    lang = facts[0]["lang"]
    shared = {fact["cite"]: fact["text"] for fact in facts}
    for kind, recipe, passages in (("own", "task", None), ("the same", "task", shared), ("no", "plain", {})):
        # With the same passages, or none, only words can tell, and not every answer has its question's.
        layer = "grounding" if passages is None else "words"
        for turn, name in ((0, "good member of a pack"), (1, f"wrong member of a pack, {kind} passages")):
            for number, fact in enumerate(facts):
                said = facts[(number + turn) % len(facts)]
                answer = said["a"] if recipe == "plain" else cited(said, said["a"])
                given = {fact["cite"]: fact["text"]} if passages is None else passages
                yield row(name, layer if turn else "-", fact, recipe, answer,
                          pack=f"{lang} {kind} {turn}", passages=given)  # fmt: skip


def rows(facts: list[Fact]) -> Iterator[Row]:
    by_language: dict[str, list[Fact]] = defaultdict(list)
    for number, fact in enumerate(facts):
        by_language[fact["lang"]].append(fact)
        yield from good(fact)
        yield from transport(fact, number)
        yield from shape(fact)
        yield from grounding(fact)
        yield from irrelevant(fact)
    for group in by_language.values():
        yield from packs(group)


def text(facts: str) -> str:
    read: list[Fact] = yaml.safe_load((HERE / facts).read_text(encoding="utf-8"))
    return "".join(
        json.dumps({"id": number} | one, ensure_ascii=False) + "\n"
        for number, one in enumerate(rows(read), 1)
    )


if __name__ == "__main__":
    for name, facts in FILES.items():
        (HERE / name).write_text(text(facts), encoding="utf-8")
