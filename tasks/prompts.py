"""A prompt from a recipe's templates, an item and passages: sandboxed, fenced, without secrets, within the context.

Templates see (`VARIABLES`): `item` with kind, ext_id, title, body, source, board_title, parent_title, parent_body,
parts (how many parts its complexity suggests);
`passages`, each with cite and text; `reason`, why an earlier answer was not accepted, or an empty text;
`fence`, a key that nobody could know who wrote a text, so that foreign text can't close its own fence; `schema`, the
answer's JSON Schema as text. The system section sees `schema` alone: it is the same for every item of a recipe,
which lets servers keep it in their prefix cache, and no foreign text gets into it. For the same reason the built-in
prompts show what the parts of one item share first, and items of one parent share the fence.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

import orjson
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from models.calls import Passage
from models.errors import RecipeError
from models.recipe import Note, Part, PromptItem, Recipe, Rendered
from models.words import counted
from tasks.foreign import one_line, visible
from tasks.redaction import LONGEST_SECRET, Redaction
from tasks.shortening import LEAST, cut_at_an_end, shortened
from tasks.tokens import CHARACTERS_PER_TOKEN, weight

FENCE_CHARACTERS = 16
"""Hexadecimal, so 64 bits."""

_SECRET = secrets.token_bytes(32)
"""Of this process, which is to say of one drain. It is written down nowhere."""

LONGEST_TEXT = 400_000
"""Characters that are shown of one field of an item, and of all passages together: 100,000 tokens and more. It bounds
how long a drain is held up by a prompt. As much is remembered of a document."""

PASSAGE_OVERHEAD = 8  # characters around a passage: brackets and line ends

SYSTEM_VARIABLES = frozenset({"schema"})
VARIABLES = frozenset({"item", "passages", "reason", "fence", "schema"})

TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What a template can fail with: Jinja's own errors, and those of the expressions in it."""

# Prompts are no HTML: escaping would change the words that a model must quote.
environment = SandboxedEnvironment(
    undefined=StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.globals.clear()


@dataclass(frozen=True, slots=True)
class ItemView:
    """What a template sees of an item: visible text, never None."""

    kind: str
    ext_id: str
    title: str
    body: str
    source: str
    board_title: str
    parent_title: str
    parent_body: str
    parts: str = ""  # how many parts its complexity suggests; empty where it is not known


_FIELDS = ("board_title", "parent_title", "parent_body", "source", "kind", "ext_id", "title", "body")
"""What items share comes first: secrets are numbered in this order, so the same beginning has the same marks."""
assert {*_FIELDS, "parts"} == {each.name for each in fields(ItemView)}


def render(
    recipe: Recipe,
    item: PromptItem,
    passages: Sequence[Passage],
    reason: str | None = None,
    *,
    context_tokens: int | None = 8192,
    fence: str | None = None,
    secret: bytes = _SECRET,
    parts: int | None = None,
    share: float = 1.0,
    per_token: float = CHARACTERS_PER_TOKEN,
) -> Rendered:
    """Render the prompt of one item.

    Where prompt and answer would not fit into `context_tokens` (None: no limit), what the recipe lists in `cut` is
    shortened, in its order; where that is not enough the prompt comes back with `too_long`, and must not be sent.
    Of a text that is longer than LONGEST_TEXT its beginning is shown, whatever the context.
    `per_token`: the weight of a token (tasks/tokens.py). Secrets are taken out; what was taken out and cut is in
    `notes`. The passages that are left come back as the model sees them. `fence` is for tests; by default it
    comes from `secret` and what the item shares with others. `parts`: how many an item that is to be split might have.
    `share`: where it is less than 1, `cut` is applied, passages first, until the prompt has that share of its length.
    Raises RecipeError where the template fails.
    """
    seen = _Seen()
    texts = _texts(item, _FIELDS[:3], seen)
    given = seen.passages(passages)
    texts |= _texts(item, _FIELDS[3:], seen)
    view = ItemView(**texts, parts="" if parts is None else str(parts))
    why = seen.text("reason", reason or "")
    system, template, schema = _prepared(recipe)
    shown = _Shown(view, [passage for passage in given if passage.text])
    key = fence or _fence(secret, recipe, view, shown.passages, why)

    def filled(now: _Shown) -> str:
        try:
            return template.render(item=now.view, passages=now.passages, reason=why, fence=key, schema=schema)
        except TEMPLATE_ERRORS as error:
            raise RecipeError(
                f"{recipe.path}: the section Prompt failed: {error}. Correct the template."
            ) from error

    prompt = filled(shown)
    notes = [Note("redacted", told)] if (told := seen.redacted.told()) else []
    notes += [Note("cut", each) for each in seen.cut]
    too_long = ""
    if share < 1:
        room = int(share * (weight(system) + weight(prompt))) - weight(system)
        order = sorted(recipe.header.cut, key=lambda part: part is not Part.PASSAGES)
        shown, prompt, cuts = _fitted(order, shown, prompt, filled, room)
        notes += [Note("cut", each) for each in cuts]
    if context_tokens is not None:
        room = int(per_token * (context_tokens - recipe.header.max_tokens)) - weight(system)
        if weight(prompt) > room:
            shown, prompt, cuts = _fitted(recipe.header.cut, shown, prompt, filled, room)
            notes += [Note("cut", each) for each in cuts]
            if weight(prompt) > room:
                needs = -(-(weight(system) + weight(prompt)) // per_token) + recipe.header.max_tokens
                too_long = (
                    f"The prompt and its answer need about {needs:,.0f} tokens and the model's context has "
                    f"{context_tokens:,}, so it was not asked. Split the item, raise context_tokens if the model can "
                    f"take it, or name what may be shortened in `cut` of {recipe.path}."
                )
    question = f"{view.title}\n{view.body}".strip()
    digest = _prompt_hash(recipe, shown.view, shown.passages, why)
    return Rendered(
        system,
        prompt,
        digest,
        tuple(shown.passages),
        key,
        question=question,
        notes=tuple(notes),
        too_long=too_long,
        can_shrink=not too_long and any(map(shown.has, recipe.header.cut)),
    )


def as_shown(title: str, body: str, passages: Sequence[Passage]) -> tuple[str, tuple[Passage, ...]]:
    """A question and its passages as a prompt shows them: what an answer is checked against, now or later."""
    seen = _Seen()
    head = seen.text("title", title)
    given = tuple(seen.passages(passages))
    return f"{head}\n{seen.text('body', body)}".strip(), given


@dataclass(slots=True)
class _Seen:
    """Foreign texts as the model of one prompt sees them: visible, without secrets, LONGEST_TEXT at most.

    The bound does not depend on the model, so an answer that is checked later is checked against the same texts.
    """

    redacted: Redaction = field(default_factory=Redaction)
    cut: list[str] = field(default_factory=list)  # in words, what was

    def text(self, name: str, text: str) -> str:
        """`name`: what it is, for `cut`."""
        return self._bounded(name, visible(text), LONGEST_TEXT)

    def passages(self, passages: Sequence[Passage]) -> list[Passage]:
        """All of them together have LONGEST_TEXT at most, too; of one behind that nothing is left but the mark."""
        left = LONGEST_TEXT
        shown = []
        for passage in passages:
            # The first line keeps its indent: it may be code.
            whole = visible(passage.text).strip("\n").rstrip() if left else passage.text
            cite = one_line(passage.cite)
            text = self._bounded(f"passage {cite}", whole, left)
            left -= min(left, len(passage.text))
            if cite != passage.cite or text != passage.text:
                # What was taken out of a file makes it another one: a patch to it would not be one to the file.
                file = passage.file if text == passage.text.strip("\n").rstrip() else ""
                passage = Passage(cite, text, passage.score, file)
            shown.append(passage)
        return shown

    def _bounded(self, name: str, text: str, limit: int) -> str:
        if len(text) <= limit:
            return self.redacted(text)
        shown, most = "", limit
        if limit:
            shown = self.redacted(text[: limit + LONGEST_SECRET])
            if len(text) > limit + LONGEST_SECRET:
                # A secret of which only a part was looked at stands in the last LONGEST_SECRET characters.
                most = max(0, min(limit, len(shown) - LONGEST_SECRET))
            elif len(shown) <= limit:
                return shown
        kept = cut_at_an_end(shown, most)
        missing = len(text) - len(kept)
        self.cut.append(
            f"{missing:,} of {len(text):,} characters of the {name} left out: too much for any prompt."
        )
        mark = f"[cut: {missing:,} characters]"
        return f"{kept}\n\n{mark}" if kept else mark


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a template is filled with, as far as it may be shortened."""

    view: ItemView
    passages: list[Passage]

    def has(self, part: Part) -> bool:
        """Has it anything of this part?"""
        return bool(self.passages if part is Part.PASSAGES else getattr(self.view, _BODIES[part]))


def _fitted(
    order: Sequence[Part], shown: _Shown, prompt: str, filled: Callable[[_Shown], str], room: int
) -> tuple[_Shown, str, list[str]]:
    """What is left when what `order` names was shortened until the prompt weighs `room`, or can't any more.

    The last value says in words what was done. What the template does not show is left alone.
    """
    said = []
    for part in order:
        if weight(prompt) <= room:
            break
        before, longer = shown, prompt
        shown, prompt = (_fewer if part is Part.PASSAGES else _shorter)(part, shown, prompt, filled, room)
        if len(prompt) >= len(longer):
            shown, prompt = before, longer
        elif part is Part.PASSAGES:
            gone = len(before.passages) - len(shown.passages)
            said.append(f"{gone} of {counted(len(before.passages), 'passage')} left out: it did not fit.")
        else:
            was, now = (getattr(each.view, _BODIES[part]) for each in (before, shown))
            whose = "the parent's text" if part is Part.PARENT else "the item's own text"
            said.append(
                f"{len(was) - len(now):,} of {len(was):,} characters of {whose} left out: it did not fit."
            )
    return shown, prompt, said


_BODIES = {Part.PARENT: "parent_body", Part.BODY: "body"}


def _fewer(
    part: Part, shown: _Shown, prompt: str, filled: Callable[[_Shown], str], room: int
) -> tuple[_Shown, str]:
    while shown.passages and (excess := weight(prompt) - room) > 0:
        shown = replace(shown, passages=_without_lowest(shown.passages, excess))
        prompt = filled(shown)
    return shown, prompt


def _shorter(
    part: Part, shown: _Shown, prompt: str, filled: Callable[[_Shown], str], room: int
) -> tuple[_Shown, str]:
    name = _BODIES[part]
    whole = getattr(shown.view, name)
    limit = len(whole)
    while limit > 0 and (excess := weight(prompt) - room) > 0:
        # At least a little, or a mark that grows by a digit would go on for ever.
        limit -= max(MARK, excess * len(whole) // weight(whole))
        limit = limit if limit >= LEAST else 0
        shown = replace(shown, view=replace(shown.view, **{name: shortened(whole, limit)}))
        prompt = filled(shown)
    return shown, prompt


MARK = 32  # characters, about, of the mark that says how much was cut


def _texts(item: PromptItem, names: Sequence[str], seen: _Seen) -> dict[str, str]:
    """As a model sees them. Most items leave most of them empty."""
    return {
        name: seen.text(name.replace("_", " "), text) if (text := getattr(item, name)) else ""
        for name in names
    }


def _fence(secret: bytes, recipe: Recipe, view: ItemView, passages: Sequence[Passage], reason: str) -> str:
    """The key of a request: the same for all items of one recipe and parent, and known to nobody who wrote to them.

    It is a keyed hash of what they share, so a text of before the process began can't have it, and whoever writes
    the board can't compute it. The models are shown it, and what one says may come back: as the reason of a retry, as
    a part, as a remembered answer. So a retry gets a key that no model has seen, and so does a request in any text of
    which the key stands.
    """
    key = _keyed(secret, recipe.hash, view.board_title, view.parent_title, view.parent_body)
    texts = [*[getattr(view, name) for name in _FIELDS], *[f"{p.cite}\n{p.text}" for p in passages]]
    if reason or key in "\n".join(texts).lower():
        return secrets.token_hex(FENCE_CHARACTERS // 2)
    return key


@lru_cache(maxsize=64)
def _keyed(secret: bytes, *shared: str) -> str:
    return hmac.digest(secret, orjson.dumps(shared), "sha256").hex()[:FENCE_CHARACTERS]


def _without_lowest(passages: list[Passage], excess: int) -> list[Passage]:
    """Without the fewest passages, lowest score first and later ones first, that weigh `excess`."""
    kept = set(range(len(passages)))
    for index in sorted(kept, key=lambda i: (passages[i].score, -i)):
        kept.discard(index)
        excess -= weight(passages[index].text) + len(passages[index].cite) + PASSAGE_OVERHEAD
        if excess <= 0:
            break
    return [passage for index, passage in enumerate(passages) if index in kept]


def _prompt_hash(recipe: Recipe, view: ItemView, passages: Sequence[Passage], reason: str) -> str:
    """Of the recipe's hash and the variables; the fence stays out, or no two prompts would be the same."""
    variables = [
        recipe.hash,
        [*[getattr(view, name) for name in _FIELDS], view.parts],
        [[passage.cite, passage.text] for passage in passages],
        reason,
    ]
    return hashlib.sha256(orjson.dumps(variables)).hexdigest()


def _prepared(recipe: Recipe) -> tuple[str, Template, str]:
    schema = _schema_text(recipe)
    return _system(recipe.system, schema, recipe.path), _template(recipe.prompt, recipe.path), schema


_SCHEMAS: dict[str, str] = {}


def _schema_text(recipe: Recipe) -> str:
    text = _SCHEMAS.get(recipe.hash)
    if text is None:
        schema = recipe.header.answer_schema
        text = orjson.dumps(schema).decode() if schema is not None else ""
        _SCHEMAS[recipe.hash] = text
    return text


@lru_cache(maxsize=64)
def _system(source: str, schema: str, path: str) -> str:
    try:
        return environment.from_string(source).render(schema=schema)
    except TEMPLATE_ERRORS as error:
        raise RecipeError(f"{path}: the section System failed: {error}. Correct the template.") from error


@lru_cache(maxsize=64)
def _template(source: str, path: str) -> Template:
    try:
        return environment.from_string(source)
    except TEMPLATE_ERRORS as error:
        raise RecipeError(f"{path}: the section Prompt failed: {error}. Correct the template.") from error
