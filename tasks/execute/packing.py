"""Which items of a batch are asked in one request, and what each of them was answered.

Packed are items of a recipe that says so (`pack`), in their first try or after the server's fault: whoever was ever
answered, well or badly, is asked alone, and so is what a person waits for. Members of one request are of one board and
stand under the same parent: whoever may write to one of them may write to all, so no text gets into the same request as
one that it must not be seen with. How many they are is bounded by the recipe, by the context, and by `MOST_TOKENS`.

An answer that came whole, once and under its own id is checked like any other. For the rest the pack is to blame and
not the item (PACKED): it is asked again alone, at once and uncharged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from models.calls import ModelAnswer, ModelCallError, ModelRequest
from models.enums import BackendName, ErrorType, TimeoutKind
from models.recipe import Recipe, Rendered
from models.words import counted
from tasks.execute.again import Past
from tasks.execute.reuse import Plan
from tasks.execute.work import Batch, ClaimedItem
from tasks.packs import Codes, Reading, new_codes, packed_prompt, packed_schema, read_pack
from tasks.packs.prompt import FIXED, MOST_TOKENS, OVERHEAD, TOKENS, shared_head
from tasks.tokens import CHARACTERS_PER_TOKEN, weight

WITHOUT_SCHEMAS = frozenset({BackendName.MLX, BackendName.COMMAND, BackendName.POLL})
"""Nothing holds their answers to a schema, so they are asked for in tags, which are easier to get right than nested
JSON."""

MOST_FAILURES = 2
"""Of the server in a row, after which an item is asked alone."""

_TOO_LATE = frozenset({TimeoutKind.TOTAL, TimeoutKind.STALL})


@dataclass(frozen=True, slots=True)
class Packed:
    """How an item was asked together with others."""

    number: int  # of the request within its batch
    members: int
    foreign: int  # answers under ids that were not asked
    key: str = ""  # of its fences

    @property
    def words(self) -> str:
        dropped = f" {counted(self.foreign, 'answer')} under other ids dropped." if self.foreign else ""
        others = counted(self.members - 1, "other item")
        return f"Asked together with {others} in one request; its tokens are its share.{dropped}"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, for one item of a batch or for several. `places` are theirs in the batch."""

    places: tuple[int, ...]
    request: ModelRequest
    codes: tuple[Codes, ...] = ()  # of the items, where they are several
    tags: bool = False
    each: int = 0  # tokens that the answer to one may have
    lengths: tuple[int, ...] = ()  # of their own prompts

    @property
    def is_pack(self) -> bool:
        return bool(self.codes)

    def replies(self, reply: ModelAnswer | ModelCallError) -> tuple[list[ModelAnswer | ModelCallError], int]:
        """What each item was answered, by its place; and how many answers were nobody's."""
        if not self.is_pack:
            return [reply], 0
        answer = reply if isinstance(reply, ModelAnswer) else reply.partial
        readable = isinstance(reply, ModelAnswer) or reply.error_type is ErrorType.TRUNCATED
        if not readable or answer is None:
            assert isinstance(reply, ModelCallError)
            return self._failed(reply), 0
        reading = read_pack(
            answer.text,
            self.codes,
            tags=self.tags,
            max_tokens=self.each,
        )
        shares = self._shares(answer, reading)
        found: list[ModelAnswer | ModelCallError] = []
        for number, share in enumerate(shares):
            if number in reading.good:
                # The others are cut off, if any is: this one came whole.
                finish = answer.finish_reason if isinstance(reply, ModelAnswer) else "stop"
                found.append(replace(share, text=reading.good[number], finish_reason=finish))
            else:
                cut = "" if isinstance(reply, ModelAnswer) else " before the answer was cut off"
                found.append(self._alone(f"{reading.bad[number]}{cut}", share))
        return found, reading.foreign

    def _failed(self, error: ModelCallError) -> list[ModelAnswer | ModelCallError]:
        """Nothing can be read. The server's fault is that of each; what is due to the request is the pack's."""
        shares = self._shares(error.partial, None) if error.partial is not None else [None] * len(self.places)
        if error.error_type.charged or error.timeout in _TOO_LATE:
            why = f"there was no answer to all of them ({error.error_type}: {str(error).rstrip('.')})"
            return [self._alone(why, share) for share in shares]
        return [
            ModelCallError(
                error.error_type,
                str(error),
                retry_after=error.retry_after,
                partial=share,
                timeout=error.timeout,
            )
            for share in shares
        ]

    def _alone(self, why: str, share: ModelAnswer | None) -> ModelCallError:
        others = counted(len(self.places) - 1, "other item")
        words = f"It was asked together with {others}, and {why}. It is asked again alone."
        return ModelCallError(ErrorType.PACKED, words, partial=share)

    def _shares(self, answer: ModelAnswer, reading: Reading | None) -> list[ModelAnswer]:
        """What each cost of it, by the lengths of its prompt and of its answer; together exactly what all did."""
        said = [
            (reading.good.get(number) or reading.refused.get(number) or "") if reading is not None else ""
            for number in range(len(self.places))
        ]
        count = len(self.places)
        prompts = _shared(answer.prompt_tokens, self.lengths)
        cached = _shared(answer.cached_tokens, self.lengths)
        completions = _shared(answer.completion_tokens, [len(text) for text in said])
        return [
            replace(
                answer,
                text=said[number],
                prompt_tokens=prompts[number],
                cached_tokens=cached[number],
                completion_tokens=completions[number],
                seconds=answer.seconds / count,
                load_seconds=None if answer.load_seconds is None else answer.load_seconds / count,
            )
            for number in range(count)
        ]


def singly(requests: Sequence[ModelRequest], places: Iterable[int]) -> list[Call]:
    """A call for each of these places."""
    return [Call((place,), requests[place]) for place in places]


def calls(
    batch: Batch,
    recipe: Recipe,
    plan: Plan,
    rendered: Sequence[Rendered],
    past: Mapping[int, Past],
    *,
    most: int | None,
    backend: str,
) -> list[Call]:
    """The requests for all that `plan` has to ask, in the order of the batch. `most`: items of one; None: one."""
    packs: dict[int, Call] = {}
    alone: set[int] = set(plan.ask)
    if most is not None and not batch.interactive and backend != BackendName.EXTRACTIVE:
        for group in _groups(batch, plan, rendered, past):
            for places in _packs(group, recipe, plan, rendered, most):
                packs[places[0]] = _pack(places, recipe, plan, rendered, backend in WITHOUT_SCHEMAS)
                alone -= set(places)
    single = {call.places[0]: call for call in singly(plan.requests, alone)}
    return [found for place in plan.ask if (found := packs.get(place) or single.get(place))]


def prompt_tokens(request: ModelRequest) -> int:
    """Of its prompt, roughly: what a budget is reserved by."""
    return (len(request.system) + len(request.prompt)) // CHARACTERS_PER_TOKEN + 1


def may_be_packed(item: ClaimedItem, past: Past | None) -> bool:
    """Only once: who was answered, or began anew after that, is asked alone; and so is whose server failed on it again
    and again, or one member that it can't bear would keep all the others from being answered."""
    tried = past is not None and (past.answered or past.returns >= MOST_FAILURES)
    return not item.attempts and not item.tried_before and not tried


def _groups(
    batch: Batch, plan: Plan, rendered: Sequence[Rendered], past: Mapping[int, Past]
) -> list[list[int]]:
    """Those that may see one another."""
    groups: dict[tuple[int, str | None, str | None], list[int]] = {}
    for place in plan.ask:
        item = batch.items[place]
        if may_be_packed(item, past.get(item.id)) and not rendered[place].too_long:
            groups.setdefault((item.board_id, item.parent_title, item.parent_body), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _packs(
    group: list[int], recipe: Recipe, plan: Plan, rendered: Sequence[Rendered], most: int
) -> list[list[int]]:
    """As many as fit into a request, in shares of about the same size; those that are left over are not in it."""
    each = recipe.header.max_tokens
    most = min(most, MOST_TOKENS // (each + TOKENS))
    if most < 2:
        return []
    size = -(-len(group) // -(-len(group) // most))
    head = weight(_head([rendered[place] for place in group]))
    fixed = weight(rendered[group[0]].system) + FIXED + head
    found: list[list[int]] = [[]]
    room = 0
    for place in group:
        needs = weight(rendered[place].prompt) - head + OVERHEAD + CHARACTERS_PER_TOKEN * (each + TOKENS)
        if len(found[-1]) == size or needs > room:
            found.append([])
            room = CHARACTERS_PER_TOKEN * plan.requests[place].context_tokens - fixed
        found[-1].append(place)
        room -= needs
    return [places for places in found if len(places) > 1]


def _head(prompts: Sequence[Rendered]) -> str:
    """What they all begin with; "" where their fences differ, for then it is known only when they are put together."""
    keys = {each.fence for each in prompts}
    return shared_head([each.prompt for each in prompts], keys.pop()) if len(keys) == 1 else ""


def _pack(
    places: list[int], recipe: Recipe, plan: Plan, rendered: Sequence[Rendered], without_schemas: bool
) -> Call:
    prompts = [rendered[place] for place in places]
    schema = recipe.header.answer_schema
    tags = schema is None or without_schemas
    codes = new_codes(len(places), [prompts[0].system, *(each.prompt for each in prompts)])
    system, prompt = packed_prompt(prompts, codes, tags=tags)
    first = plan.requests[places[0]]
    request = replace(
        first,
        system=system,
        prompt=prompt,
        question="\n\n".join(plan.requests[place].question for place in places),
        passages=tuple(passage for place in places for passage in plan.requests[place].passages),
        schema=packed_schema(schema) if schema is not None and not tags else None,
        max_tokens=len(places) * (recipe.header.max_tokens + TOKENS),
    )
    lengths = tuple(len(each.prompt) for each in prompts)
    return Call(tuple(places), request, tuple(codes), tags, recipe.header.max_tokens, lengths)


def _shared(total: int | None, weights: Sequence[int]) -> list[int | None]:
    """Shares of a total by weight, whole numbers that add up to it."""
    if total is None:
        return [None] * len(weights)
    known = sum(weights)
    parts = [each / known for each in weights] if known else [1 / len(weights)] * len(weights)
    shares = [int(total * part) for part in parts]
    # What rounding down has left goes to those that lost most by it (largest remainder).
    order = sorted(range(len(parts)), key=lambda place: shares[place] - total * parts[place])
    for place in order[: total - sum(shares)]:
        shares[place] += 1
    return list(shares)
