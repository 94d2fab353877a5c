"""Several items in one request: drains over the simulator by real HTTP, and what follows from each fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import simulator
from backends.registry import make
from models.calls import ModelAnswer, ModelCallError, ModelRequest, Passage
from models.endpoint import Budget, Endpoint
from models.enums import ErrorType, Status, TimeoutKind
from models.pause import PauseKind
from models.recipe import Recipe, RecipeHeader, Rendered
from models.settings import Settings
from sql.statements import statement
from tasks import pause
from tasks.execute import ClaimedItem, Stages
from tasks.execute.again import Past
from tasks.execute.packing import Call, calls
from tasks.execute.reuse import Plan, Who
from tasks.execute.work import Batch
from tasks.packs import Codes
from tasks.packs.prompt import MOST_TOKENS
from tasks.prompts import render
from tasks.validate import validate_batch

from .conftest import InProcess, World, answered, no_split, recipe

PROMPT = """\
The key of this request is {{ fence }}.
{% if item.parent_title %}

Part of:
<data {{ fence }}>
{{ item.parent_title }}
</data {{ fence }}>
{% endif %}

<data {{ fence }}>
{% for passage in passages %}
[[{{ passage.cite }}]]
{{ passage.text }}
{% endfor %}

{{ item.title }}
{{ reason }}
</data {{ fence }}>
"""
SYSTEM = "Answer with JSON: {{ schema }}"
CITING: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["answer", "citations"],
    "properties": {
        "answer": {"type": "string"},
        "citations": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["cite", "quote"],
                "properties": {"cite": {"type": "string"}, "quote": {"type": "string"}},
            },
        },
    },
}
PLACES = ["mill", "lock", "weir", "sluice", "turbine", "spillway", "tailrace", "forebay"]


def packing(pack: int | None = 4, **header: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "task", "about": "a test", "answer_schema": CITING, "pack": pack, "max_tokens": 100,
        "grounding": "required",
    } | header  # fmt: skip
    return Recipe(RecipeHeader(**values), SYSTEM, PROMPT, "text", "hash-task", "task.md")


def text_of(item_id: int) -> str:
    place = PLACES[item_id % len(PLACES)]
    return f"The {place} number {7000 + item_id} is painted in tone {40000 + item_id}."


async def own_passage(connection: Any, items: Sequence[ClaimedItem], limit: int) -> list[list[Passage]]:
    return [[Passage(f"{PLACES[item.id % 8]}.md:{item.id}", text_of(item.id))] for item in items]


def rendered(
    recipe: Recipe, item: ClaimedItem, passages: Sequence[Passage], reason: str | None, *, share: float = 1.0
) -> Rendered:
    return render(recipe, item, passages, reason, share=share)


STAGES = Stages(own_passage, rendered, validate_batch, no_split)


@pytest.fixture
def here(world: World) -> World:
    world.settings = Settings(batch_size=64, batch_seconds=0, heartbeat=5.0, retry_delay=0.0, cache_days=0)
    return world


@pytest.fixture(scope="module")
def server() -> Iterator[simulator.Simulator]:
    with simulator.running(slots=4, models=["test-model"]) as running:
        yield running


@pytest.fixture
def endpoint(server: simulator.Simulator) -> Endpoint:
    server.reset()
    return Endpoint(backend="openai", url=server.openai_url, slots=2, call_timeout=20)


def titled(world: World, ids: Sequence[int]) -> None:
    """Each asks for its own place and number."""
    with world.database.connect() as connection:
        for item in ids:
            connection.execute(
                "update item_source set title = %s where item_id = %s",
                [f"Tell the tone of the {PLACES[item % 8]} number {7000 + item}", item],
            )


async def drained(world: World, endpoint: Endpoint, *recipes: Recipe, **options: Any) -> Any:
    backend = make(endpoint)
    try:
        return await world.drain(
            backend, *(recipes or (packing(),)), stages=options.pop("stages", STAGES), endpoint=endpoint, **options
        )  # fmt: skip
    finally:
        await backend.close()


def aligned(world: World, ids: Sequence[int]) -> None:
    """Each item has one result, and it is what its own passage says."""
    rows = world.rows("select item_id, text from result order by item_id")
    assert rows == [(item, f"Simulated: {text_of(item)}") for item in ids]


async def test_items_are_asked_together_and_each_gets_its_own_answer(
    here: World, endpoint: Endpoint, server: simulator.Simulator
) -> None:
    ids = here.add(10)
    titled(here, ids)
    tally = await drained(here, endpoint)
    assert here.statuses() == {Status.DONE: 10}
    aligned(here, ids)
    stats = server.stats()
    assert sum(stats["answered"].values()) == 3, "10 items: 4, 4 and 2"
    assert stats["max_in_flight"] <= 2
    assert here.rows("select members, count(*) from attempt group by 1 order by 1") == [(2, 2), (4, 8)]
    assert (tally.prompt_tokens, tally.completion_tokens) == (stats["tokens_in"], stats["tokens_out"])
    assert here.rows("select sum(prompt_tokens), sum(completion_tokens) from attempt") == [
        (stats["tokens_in"], stats["tokens_out"])
    ]
    assert here.rows("select calls, members, asked, bad from packing") == [(3, 10, 10, 0)]
    with here.database.connect() as connection:
        usage = connection.execute(
            statement("report.usage"), {"boards": [1], "since": "-infinity"}
        ).fetchone()
    assert usage is not None
    assert usage[0] == 3
    assert here.rows("select distinct checks -> 0 ->> 'check' from attempt") == [("packed",)]


async def test_who_asks_the_very_same_is_a_member_like_the_others(here: World, endpoint: Endpoint) -> None:
    """Who followed another member would get its answer without being compared with the rest of the pack."""
    here.settings = here.settings.model_copy(update={"cache_days": 7})
    ids = here.add(4)
    titled(here, ids)
    with here.database.connect() as connection:
        connection.execute("update item_source set title = (select title from item_source where item_id = 1)")

    async def same_passage(connection: Any, items: Sequence[ClaimedItem], limit: int) -> list[list[Passage]]:
        return [[Passage("lock.md:1", text_of(1))] for _ in items]

    tally = await drained(here, endpoint, stages=replace(STAGES, recall=same_passage))
    assert tally.accepted == 4
    assert here.rows("select members, cached, count(*) from attempt group by 1, 2") == [(4, False, 4)]


BAD = {
    "pack_swapped": 2,
    "pack_crossed": 2,
    "pack_missing": 1,
    "pack_duplicated": 1,
    "pack_nested": 2,
    "pack_oversized": 1,
    "pack_foreign": 0,
    "truncated": None,  # as many as half of the answer does not hold
    "echo": 4,
    "empty": 4,
    "refusal": 4,
}


@pytest.mark.parametrize("fault", BAD)
async def test_good_members_are_kept_and_the_others_asked_alone(
    here: World, endpoint: Endpoint, server: simulator.Simulator, fault: str
) -> None:
    ids = here.add(4)
    titled(here, ids)
    server.script([fault])
    await drained(here, endpoint)
    assert here.statuses() == {Status.DONE: 4}
    aligned(here, ids)
    calls = sum(server.stats()["answered"].values())
    bad = here.rows("select count(*) from attempt where error_type = 'packed'")[0][0]
    if BAD[fault] is None:
        assert 1 <= bad < 4
    else:
        assert bad == BAD[fault]
    assert here.rows("select count(*) from attempt where members is null") == [(bad,)], (
        "each once more, alone"
    )
    assert calls + (fault in ("empty", "refusal")) <= 1 + bad + 1
    assert here.rows("select distinct attempts from item") == [(0,)], "packing's faults cost no attempt"
    assert here.rows("select count(*) from attempt where prompt_hash = ''") == [(0,)]


async def test_what_fails_its_checks_is_told_why_and_asked_alone(here: World, endpoint: Endpoint) -> None:
    """An ordinary failure of one member is the item's: charged, with the reason, and never packed again."""
    first, *others = here.add(4)
    seen: list[tuple[int | None, ...]] = []

    async def picky(recipe: Recipe, rows: Any, **options: Any) -> Any:
        seen.append(tuple(row.pack for row in rows))
        strict = recipe
        verdict = await validate_batch(strict, rows, **options)
        if len(seen) == 1:
            from models.verdict import Failure

            failure = Failure("rules", "test", ErrorType.RULE, "Not good enough.")
            verdict.verdicts[first] = replace(verdict.verdicts[first], failures=(failure,))
        return verdict

    await drained(here, endpoint, stages=Stages(own_passage, rendered, picky, no_split))
    assert here.rows(f"select members, error_type from attempt where item_id = {first} order by number") == [
        (4, "rule"),
        (None, None),
    ]
    assert seen == [(0, 0, 0, 0), (None,)]
    assert here.rows("select asked, bad from packing") == [(4, 1)], "alone it passed: packing was to blame"
    assert len(others) == 3


async def test_boards_and_parents_never_meet_in_a_pack(here: World, endpoint: Endpoint) -> None:
    a, b = here.add(4, board="a.md"), here.add(4, board="b.md")
    with here.database.connect() as connection:
        board = connection.execute("select board_id from item where id = %s", [a[0]]).fetchone()
        assert board
        parents = [
            connection.execute(
                "insert into item (board_id, key, position) values (%s, gen_random_uuid(), 0) returning id",
                board,
            ).fetchone()
            for _ in range(2)
        ]
        for number, parent in enumerate(parents):
            assert parent
            connection.execute(
                "insert into item_source (item_id, kind, title, line, declared, content_hash)"
                " values (%s, 'epic', %s, 1, 'todo', '')",
                [parent[0], f"Part {number}"],
            )
            connection.execute(
                "update item set parent_id = %s where id = any(%s)",
                [parent[0], a[2 * number : 2 * number + 2]],
            )
    titled(here, [*a, *b])
    packs: list[set[int]] = []
    backend = make(endpoint)
    real = backend.answer

    async def seen(request: ModelRequest, deadline: float) -> ModelAnswer:
        packs.append({item for item in (*a, *b) if f"number {7000 + item}\n" in request.prompt})
        return await real(request, deadline)

    backend.answer = seen  # type: ignore[method-assign]
    try:
        await here.drain(backend, packing(8), stages=STAGES, endpoint=endpoint)
    finally:
        await backend.close()
    assert sorted(map(sorted, packs)) == sorted([a[:2], a[2:], b])


async def test_who_waits_and_who_comes_back_later(
    here: World, endpoint: Endpoint, server: simulator.Simulator
) -> None:
    """What a person waits for is asked alone; what came back by the server's fault may be packed again."""
    ids = here.add(4)
    titled(here, ids)
    server.script(["error500"])
    await drained(here, endpoint)
    assert here.rows("select outcome, members, count(*) from attempt group by 1, 2 order by 1") == [
        ("accepted", 4, 4),
        ("returned", 4, 4),
    ]
    here.add(3, board="now.md")
    with here.database.connect() as connection:
        connection.execute("update board set lane = 0 where source = 'now.md'")
        connection.execute("update item set lane = 0 where status = 1")
    await drained(here, endpoint)
    assert here.rows("select count(*) from attempt where members is null") == [(3,)]


async def test_packing_ends_itself_where_a_model_does_it_badly_and_can_be_resumed(
    here: World, endpoint: Endpoint, server: simulator.Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    titled(here, here.add(64))
    server.rates({"pack_missing": 1.0})
    with caplog.at_level("WARNING"):
        await drained(
            here,
            endpoint.model_copy(update={"slots": 1}),
            settings=here.settings.model_copy(update={"batch_size": 16}),
        )
    assert "are asked alone of test-model for 7 days" in caplog.text
    assert here.statuses() == {Status.DONE: 64}
    [(until, reason)] = here.rows(
        "select until > now() + interval '6 days', reason from pause where kind = 'packing'"
    )
    assert until
    assert "had to be asked again alone" in reason
    asked = here.rows("select members from packing")[0][0]
    assert 24 <= asked <= 40, "and no more after that"

    titled(here, here.add(8, board="later.md"))
    await drained(here, endpoint)
    assert here.rows("select members from packing") == [(asked,)]

    connection = await here.database.aconnect(autocommit=True)
    assert await pause.resume(connection, PauseKind.PACKING, "task test-model")
    await connection.close()
    server.rates({})
    titled(here, here.add(8, board="last.md"))
    await drained(here, endpoint)
    assert here.rows("select members, asked, bad from packing") == [(asked + 8, 8, 0)]


async def test_a_budget_of_requests_counts_packs(here: World, endpoint: Endpoint) -> None:
    titled(here, here.add(12))
    settings = here.settings.model_copy(
        update={"endpoints": [endpoint], "budgets": [Budget(account=endpoint.resource, requests_per_day=3)]}
    )
    await drained(here, endpoint, settings=settings)
    assert here.statuses() == {Status.DONE: 12}
    assert here.rows("select requests from spend") == [(3,)]


async def test_free_text_comes_in_tags(here: World, endpoint: Endpoint, server: simulator.Simulator) -> None:
    ids = here.add(4)
    titled(here, ids)
    plain = packing(answer_schema=None, grounding="none")
    await drained(here, endpoint, plain)
    assert sum(server.stats()["answered"].values()) == 1
    aligned(here, ids)


# --- without a server ---------------------------------------------------------------------------------------


def item(number: int, **values: Any) -> ClaimedItem:
    fields: dict[str, Any] = {
        "id": number, "board_id": 1, "recipe": "task", "model": None, "attempts": 0, "tries": 1, "kind": "task",
        "ext_id": None, "title": f"item {number}", "body": "", "line": 1, "labels": {}, "source": "a.md",
        "board_title": "A", "parent_title": None, "parent_body": None,
    } | values  # fmt: skip
    return ClaimedItem(**fields)


def requests_for(
    items: Sequence[ClaimedItem],
    recipe: Recipe,
    past: dict[int, Past] | None = None,
    *,
    context_tokens: int = 8192,
    interactive: bool = False,
    backend: str = "openai",
) -> list[Call]:
    prompts = [render(recipe, each, []) for each in items]
    most = recipe.header.max_tokens
    requests = [
        ModelRequest(
            each.id, "m", prompt.system, prompt.prompt, context_tokens=context_tokens, max_tokens=most
        )
        for each, prompt in zip(items, prompts, strict=True)
    ]
    plan = Plan(requests, Who("m"), list(range(len(items))))
    batch = Batch(1, "task", "m", tuple(items), interactive)
    return calls(batch, recipe, plan, prompts, past or {}, most=recipe.header.pack, backend=backend)


def sizes(found: Sequence[Call]) -> list[int]:
    return [len(call.places) for call in found]


def test_who_is_packed() -> None:
    recipe, items = packing(8), [item(number) for number in range(1, 9)]
    assert sizes(requests_for(items, recipe)) == [8]
    assert sizes(requests_for(items, recipe, interactive=True)) == [1] * 8
    assert sizes(requests_for(items, recipe, backend="extractive")) == [1] * 8
    once, returned, twice = Past(here=1, returns=0), Past(here=1, returns=1), Past(here=2, returns=2)
    assert sizes(requests_for(items, recipe, {1: once, 2: returned})) == [1, 7]
    assert sizes(requests_for(items, recipe, {1: twice})) == [1, 7]
    charged, anew = item(1, attempts=1), item(1, tried_before=2)
    assert sizes(requests_for([charged, *items[1:]], recipe)) == [1, 7]
    assert sizes(requests_for([anew, *items[1:]], recipe)) == [1, 7]


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from([None, "p", "q"]), st.integers(0, 3000)), max_size=24
    ),
    st.integers(2, 10),
    st.integers(1000, 9000),
    st.integers(16, 2000),
)
def test_each_is_asked_once_within_all_bounds(
    found: list[tuple[int, str | None, int]], most: int, context: int, answer: int
) -> None:
    recipe = packing(most, max_tokens=answer)
    items = [
        item(n, board_id=board, parent_title=parent, body="word " * (length // 5))
        for n, (board, parent, length) in enumerate(found, 1)
    ]
    made = requests_for(items, recipe, context_tokens=context)
    assert sorted(place for call in made for place in call.places) == list(range(len(items)))
    assert [call.places[0] for call in made] == sorted(call.places[0] for call in made)
    for call in made:
        members = [items[place] for place in call.places]
        assert len({(each.board_id, each.parent_title) for each in members}) == 1
        if call.is_pack:
            assert 2 <= len(members) <= most
            assert call.request.max_tokens <= MOST_TOKENS
            tokens = (len(call.request.system) + len(call.request.prompt)) / 3 + call.request.max_tokens
            assert tokens <= context


CODES = tuple(Codes(f"id{n}aa", f"se{n}al", f"{n:016x}") for n in range(3))


def pack(lengths: tuple[int, ...] = (10, 20, 30)) -> Call:
    request = ModelRequest(1, "m", "", "")
    return Call((4, 5, 6), request, CODES, tags=False, each=100, lengths=lengths)


@given(
    st.none() | st.integers(0, 10**6),
    st.none() | st.integers(0, 10**6),
    st.tuples(*[st.integers(0, 5000)] * 3),
    st.sets(st.integers(0, 2)),
)
def test_what_members_cost_adds_up_to_what_the_call_did(
    prompt: int | None, completion: int | None, lengths: tuple[int, ...], there: set[int]
) -> None:
    members = [{"id": CODES[n].id, "seal": CODES[n].seal, "answer": {"answer": "x" * n}} for n in there]
    text = orjson.dumps({"answers": members}).decode()
    replies, _ = pack(lengths).replies(ModelAnswer(text, "m", "stop", prompt, completion, 3.0))
    shares = [reply if isinstance(reply, ModelAnswer) else reply.partial for reply in replies]
    for total, name in ((prompt, "prompt_tokens"), (completion, "completion_tokens")):
        each = [getattr(share, name) for share in shares]
        assert each == [None] * 3 if total is None else sum(each) == total
    assert sum(share.seconds for share in shares if share) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("error", "each"),
    [
        (ModelCallError(ErrorType.OVERLOADED, "busy", retry_after=3.0), ErrorType.OVERLOADED),
        (ModelCallError(ErrorType.TIMEOUT, "no", timeout=TimeoutKind.FIRST_TOKEN), ErrorType.TIMEOUT),
        (ModelCallError(ErrorType.TIMEOUT, "late", timeout=TimeoutKind.TOTAL), ErrorType.PACKED),
        (ModelCallError(ErrorType.CONTEXT_TOO_LONG, "long"), ErrorType.PACKED),
        (ModelCallError(ErrorType.REFUSED, "no"), ErrorType.PACKED),
    ],
)
def test_the_servers_fault_is_each_ones_and_what_is_the_packs_is_asked_alone(
    error: ModelCallError, each: ErrorType
) -> None:
    replies, foreign = pack().replies(error)
    assert foreign == 0
    assert [reply.error_type for reply in replies if isinstance(reply, ModelCallError)] == [each] * 3
    assert {reply.retry_after for reply in replies if isinstance(reply, ModelCallError)} == {
        error.retry_after if each is error.error_type else None
    }


async def test_who_a_server_can_not_bear_keeps_nobody_else_from_being_answered(world: World) -> None:
    ids = world.add(8)
    with world.database.connect() as connection:
        connection.execute("update item_source set title = 'poison' where item_id = %s", [ids[3]])

    async def reply(request: ModelRequest) -> str:
        if "poison" in request.prompt:
            raise ModelCallError(ErrorType.SERVER_ERROR, "It failed.")
        return await answered(request)

    settings = world.settings.model_copy(update={"breaker_failures": 1000})
    tally = await world.drain(InProcess(reply), recipe(pack=8), settings=settings)
    assert (tally.accepted, tally.deferred) == (7, 1)
    assert world.rows("select id from item where status = 3") == [(ids[3],)]
