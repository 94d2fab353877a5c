"""A prompt from a recipe's templates, an item and passages: sandboxed, fenced, within the context.

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
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import orjson
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from models.calls import Passage
from models.errors import RecipeError
from models.recipe import PromptItem, Recipe, Rendered
from tasks.foreign import one_line, visible

CHARACTERS_PER_TOKEN = 3
"""A cautious mean: English has about 4 characters a token, Russian 2 to 3. Servers report the true count."""

FENCE_CHARACTERS = 16
"""Hexadecimal, so 64 bits."""

_SECRET = secrets.token_bytes(32)
"""Of this process, which is to say of one drain. It is written down nowhere."""

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


_FIELDS = tuple(field.name for field in fields(ItemView) if field.name != "parts")


def render(
    recipe: Recipe,
    item: PromptItem,
    passages: Sequence[Passage],
    reason: str | None = None,
    *,
    context_tokens: int = 8192,
    fence: str | None = None,
    secret: bytes = _SECRET,
    parts: int | None = None,
    share: float = 1.0,
) -> Rendered:
    """Render the prompt of one item.

    Where prompt and answer would not fit into `context_tokens` (at CHARACTERS_PER_TOKEN), passages are left out,
    lowest score first; an item that is too long by itself is sent whole, and the server says so. The passages
    that are left come back with hidden text removed, as the model sees them. `fence` is for tests; by default it
    comes from `secret` and what the item shares with others. `parts`: how many an item that is to be split might have.
    `share`: where it is less than 1, passages are left out until the prompt has no more than that share of its length.
    Raises RecipeError where the template fails.
    """
    texts = {name: visible(getattr(item, name) or "") for name in _FIELDS}
    view = ItemView(**texts, parts="" if parts is None else str(parts))
    shown = [_shown(passage) for passage in passages]
    kept = [passage for passage in shown if passage.text]
    why = visible(reason or "")
    system, template, schema = _prepared(recipe)
    budget = CHARACTERS_PER_TOKEN * (context_tokens - recipe.header.max_tokens) - len(system)
    key = fence or _fence(secret, recipe, view, kept, why)
    while True:
        try:
            prompt = template.render(item=view, passages=kept, reason=why, fence=key, schema=schema)
        except TEMPLATE_ERRORS as error:
            raise RecipeError(
                f"{recipe.path}: the section Prompt failed: {error}. Correct the template."
            ) from error
        if share < 1:
            budget, share = min(budget, int(share * (len(system) + len(prompt))) - len(system)), 1.0
        excess = len(prompt) - budget
        if excess <= 0 or not kept:
            break
        kept = _without_lowest(kept, excess)
    return Rendered(system, prompt, _prompt_hash(recipe, view, kept, why), tuple(kept), key)


def _fence(secret: bytes, recipe: Recipe, view: ItemView, passages: Sequence[Passage], reason: str) -> str:
    """The key of a request: the same for all items of one recipe and parent, and known to nobody who wrote to them.

    It is a keyed hash of what they share, so a text of before the process began can't have it, and whoever writes
    the board can't compute it. The models are shown it, and what one says may come back: as the reason of a retry, as
    a part, as a remembered answer. So a retry gets a key that no model has seen, and so does a request in any text of
    which the key stands.
    """
    shared = [recipe.hash, view.board_title, view.parent_title, view.parent_body]
    key = hmac.digest(secret, orjson.dumps(shared), "sha256").hex()[:FENCE_CHARACTERS]
    texts = [*(getattr(view, name) for name in _FIELDS), *(f"{p.cite}\n{p.text}" for p in passages)]
    if reason or any(key in text.lower() for text in texts):
        return secrets.token_hex(FENCE_CHARACTERS // 2)
    return key


def _shown(passage: Passage) -> Passage:
    cite, text = one_line(passage.cite), visible(passage.text).strip()
    if cite == passage.cite and text == passage.text:
        return passage
    return Passage(cite, text, passage.score)


def _without_lowest(passages: list[Passage], excess: int) -> list[Passage]:
    """Without the fewest passages, lowest score first and later ones first, that make up `excess` characters."""
    kept = set(range(len(passages)))
    for index in sorted(kept, key=lambda i: (passages[i].score, -i)):
        kept.discard(index)
        excess -= len(passages[index].text) + len(passages[index].cite) + PASSAGE_OVERHEAD
        if excess <= 0:
            break
    return [passage for index, passage in enumerate(passages) if index in kept]


def _prompt_hash(recipe: Recipe, view: ItemView, passages: Sequence[Passage], reason: str) -> str:
    """Of the recipe's hash and the variables; the fence stays out, or no two prompts would be the same."""
    variables = [
        recipe.hash,
        [*(getattr(view, name) for name in _FIELDS), view.parts],
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
