"""No model: answers by quoting the passages it was given, or says that they hold no evidence.

It picks one to three sentences that share the question's rarer words, quotes them verbatim and cites them. It
never writes a sentence of its own, so what it says is true of the source; whether it answers the question
is what the threshold is for. Below that it raises NO_EVIDENCE, and the item goes to a person. A synthesis of an item's
parts (`rolls_up`) is the beginning of each part's result, quoted and cited.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any

import orjson

from backends.lexical import Sentence, Vocabulary, content_stems, normalised, sentences
from models.calls import ModelAnswer, ModelCallError, ModelInfo, ModelRequest, Passage, Probe
from models.enums import BackendName, ErrorType
from models.settings import Endpoint

URL = "extractive://local"
MODEL = "extractive"

THRESHOLD = 0.55
"""Share of the question's weighted words that a sentence, with what is around it, must have to be quoted."""

FOLLOW_THRESHOLD = 0.3
"""The same for a further sentence of a passage whose best sentence reached THRESHOLD: a question with two parts is
often answered by two sentences."""

CONTEXT_WEIGHT = 0.5
"""A word that the sentence has not, but its heading, its table's head or the sentence before has, counts half."""

BODY_WEIGHT = 0.25
"""A word of the item's body counts this much beside one of its title (the question's first line)."""

MAX_QUOTES = 3

LONGEST_PART = 600
"""Characters quoted of each part's result in a synthesis; fewer where there are many parts."""
LONGEST_SYNTHESIS = 20_000
SHORTEST_PART = 160

THREAD_CHARACTERS = 100_000
"""More text than this is read in a thread, so that the event loop goes on (about 20 ms)."""

_FIELDS = ("answer", "citations", "confidence")


@dataclass(frozen=True, slots=True)
class Quote:
    cite: str
    text: str
    words: frozenset[str]  # the question's words that it has
    score: float


class ExtractiveBackend:
    """The backend where there is no model server. Needs no network and holds nothing."""

    name = str(BackendName.EXTRACTIVE)

    def __init__(self, endpoint: Endpoint) -> None:
        self.url = endpoint.url

    async def probe(self, deadline: float) -> Probe:
        return Probe(
            reachable=True,
            detail="no model: quotes the sources, and leaves to a person what they hold no evidence for",
            models=(ModelInfo(name=MODEL, loaded=True),),
        )

    async def answer(self, request: ModelRequest, deadline: float) -> ModelAnswer:
        clock = asyncio.get_running_loop().time
        started = clock()
        if started >= deadline:
            raise ModelCallError(ErrorType.TIMEOUT, "The deadline had passed before the sources were read.")
        if sum(len(passage.text) for passage in request.passages) > THREAD_CHARACTERS:
            try:
                async with asyncio.timeout_at(deadline):
                    text = await asyncio.to_thread(answer_text, request)
            except TimeoutError:
                raise ModelCallError(
                    ErrorType.TIMEOUT, "The sources were not read before the deadline."
                ) from None
        else:
            text = answer_text(request)
        return ModelAnswer(
            text=text, model=MODEL, finish_reason="stop", seconds=clock() - started, load_seconds=0.0
        )

    async def close(self) -> None:
        return None


def answer_text(request: ModelRequest) -> str:
    """The answer's text: JSON when the request has a schema, else the quotes. Raises
    ModelCallError(NO_EVIDENCE).
    """
    fields = _fields(request.schema)
    quotes = (
        quote_each(request.passages)
        if request.rolls_up
        else choose_quotes(request.question, request.passages)
    )
    if not quotes:
        raise ModelCallError(ErrorType.NO_EVIDENCE, _why_nothing(request.passages))
    text = "\n".join(f"{' '.join(quote.text.split())} [{quote.cite}]" for quote in quotes)
    if fields is None:
        return text
    answer: dict[str, Any] = {
        "answer": text,
        "citations": [{"cite": quote.cite, "quote": quote.text} for quote in quotes],
        "confidence": round(min(0.95, quotes[0].score), 2),
    }
    return orjson.dumps({name: answer[name] for name in fields}).decode()


def quote_each(passages: tuple[Passage, ...]) -> list[Quote]:
    """A synthesis without a model: of each part's result its beginning, in the order of the parts."""
    limit = max(SHORTEST_PART, min(LONGEST_PART, LONGEST_SYNTHESIS // max(1, len(passages))))
    return [
        Quote(passage.cite, beginning, frozenset(), 1.0)
        for passage in passages
        if (beginning := _beginning(passage.text.strip(), limit))
    ]


def _beginning(text: str, limit: int) -> str:
    """Whole lines of the text, as many as fit; of a first line that is too long whole words."""
    if len(text) <= limit:
        return text
    end = text.rfind("\n", 0, limit + 1)
    if end <= 0:
        end = max(text.rfind(" ", 0, limit + 1), 0) or limit
    return text[:end].rstrip()


def _why_nothing(passages: tuple[Passage, ...]) -> str:
    if not passages:
        return "No source has anything on this, and without a model nothing else can answer it."
    answers = "does not answer" if len(passages) == 1 else "answers"
    found = "The one passage found" if len(passages) == 1 else f"None of the {len(passages)} passages found"
    looked = ", ".join(passage.cite for passage in passages[:3]) + (" ..." if len(passages) > 3 else "")
    return f"{found} ({looked}) {answers} this closely enough to be quoted."


def _fields(schema: dict[str, Any] | None) -> tuple[str, ...] | None:
    """Which fields to write. Raises NO_EVIDENCE for a schema that quotes alone can't fill."""
    if schema is None:
        return None
    properties = schema.get("properties")
    known = tuple(name for name in _FIELDS if isinstance(properties, dict) and name in properties)
    foreign = [name for name in schema.get("required", ()) if name not in _FIELDS]
    if "answer" not in known or foreign:
        asked = ", ".join(foreign) or ", ".join(properties or ()) or "nothing it knows"
        raise ModelCallError(
            ErrorType.NO_EVIDENCE,
            f"The recipe's schema asks for {asked}; without a model only answer, citations and confidence "
            f"can be "
            "filled, from quotes.",
        )
    return known


def choose_quotes(question: str, passages: tuple[Passage, ...]) -> list[Quote]:
    """Up to MAX_QUOTES sentences, best first; empty when none reaches THRESHOLD."""
    title, _, body = question.strip().partition("\n")
    weights = dict.fromkeys(content_stems(title), 1.0)
    for stem in content_stems(body):
        weights.setdefault(stem, BODY_WEIGHT)
    if not weights:
        return []
    read = [(passage, sentences(passage.text)) for passage in passages]
    weights = _weighted(
        weights, [sentence for _, found in read for sentence in found], len(content_stems(title))
    )
    total = sum(weights.values())
    needed = min(2, len(weights))
    asked, asked_title = normalised(question), normalised(title)
    candidates = []
    for passage, found in read:
        for sentence in found:
            if not sentence.states or _echoes(sentence, asked, asked_title):
                continue
            has = Vocabulary(sentence.stems).known(weights)
            if not has:
                continue
            around = has | Vocabulary(sentence.around).known(weights)
            score = sum(weights[w] * (1.0 if w in has else CONTEXT_WEIGHT) for w in around) / total
            if len(around) >= needed and score >= FOLLOW_THRESHOLD:
                candidates.append(Quote(passage.cite, sentence.text, frozenset(has), score))
    return _distinct(candidates, weights, total)


def _weighted(base: dict[str, float], everything: list[Sentence], title_words: int) -> dict[str, float]:
    """Rarer words weigh more: log(1 + sentences / sentences with the word). The body never outweighs the
    title.
    """
    counts = dict.fromkeys(base, 0)
    for sentence in everything:
        for word in Vocabulary(sentence.stems).known(base):
            counts[word] += 1
    weighted = {w: base[w] * math.log(1 + max(1, len(everything)) / max(1, counts[w])) for w in base}
    body = sum(weighted[w] for w in base if base[w] < 1.0)
    title = sum(weighted[w] for w in base if base[w] == 1.0)
    if title_words and body > title:
        weighted = {w: weight * (title / body if base[w] < 1.0 else 1.0) for w, weight in weighted.items()}
    return weighted


def _echoes(sentence: Sentence, asked: str, title: str) -> bool:
    """Is the sentence the item itself? The board it stands on is among the sources, and is no evidence for
    it.
    """
    said = normalised(sentence.text)
    return said in asked or title in said


def _distinct(candidates: list[Quote], weights: dict[str, float], total: float) -> list[Quote]:
    """The best quote, and others only as far as they say something of the question that it does not."""
    evident = {quote.cite for quote in candidates if quote.score >= THRESHOLD}
    chosen: list[Quote] = []
    covered: set[str] = set()
    for quote in sorted(candidates, key=lambda quote: -quote.score):
        gain = sum(weights[word] for word in quote.words - covered) / total
        if quote.cite not in evident or (chosen and gain < 0.1):
            continue
        chosen.append(quote)
        covered |= quote.words
        if len(chosen) == MAX_QUOTES:
            break
    return chosen
