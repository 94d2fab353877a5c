"""What memory gives for a question, and what it never gives."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from models.calls import Passage
from sql.connection import Database
from sql.statements import statement
from tasks.remember import (
    Question,
    default_encoder,
    merge_recent,
    recall,
    recall_for_items,
    recall_many,
    remember_board,
    remember_results,
    search,
)
from tasks.remember.chunking import MOST
from tasks.remember.recalling import _parameters, _vectors

from .conftest import Other, World

TOPICS = {
    "backup": "Nightly backups run at two o'clock. Thirty copies are kept, then the oldest is removed.",
    "restore": "To restore, stop the service, run restore.sh with the date of the copy, compare the row counts.",
    "limits": "Each client may send ten requests per second; above that the gateway answers 429 with Retry-After.",
    "index": "Поисковый индекс перестраивается каждую ночь и занимает двести мегабайт памяти.",
    "deploy": "Выкладка идёт по пятницам запрещена; откат делается командой rollback за пять минут.",
    "keys": "Ключи доступа меняются раз в квартал, старые отзываются через сутки после замены.",
    "logs": "Logs are written as JSON, rotated every day and deleted after fourteen days.",
    "team": "Дежурный инженер отвечает на звонки, замену назначает руководитель группы.",
}
ASKED = {
    "How many copies of the backup are kept?": "backup",
    "restoring a copy: what to run": "restore",
    "request limits of the gateway": "limits",
    "rate of requests per client": "limits",
    "перестроение поискового индекса": "index",
    "сколько памяти занимает индекс": "index",
    "команды отката выкладки": "deploy",
    "как часто меняется ключ доступа": "keys",
    "when is a log deleted": "logs",
    "кто назначает замену дежурному": "team",
}


def knowledge(world: World) -> dict[str, str]:
    """The topics as one document each; gives topic by cite."""
    cites = {}
    for topic, text in TOPICS.items():
        board_id, board = world.board(f"/docs/{topic}.md", f"{text}\n")
        remember_board(world.connection, board_id, board)
        cites[f"/docs/{topic}.md:1"] = topic
    return cites


def test_the_right_passage_comes_first_in_both_languages(world: World) -> None:
    cites = knowledge(world)
    found = {
        question: [cites[passage.cite] for passage in recall(world.connection, question, 3)]
        for question in ASKED
    }
    wrong = {question: topics for question, topics in found.items() if topics[:1] != [ASKED[question]]}
    assert not wrong


def test_unrelated_questions_find_nothing(world: World) -> None:
    knowledge(world)
    assert recall(world.connection, "приготовить борщ") == []
    assert recall(world.connection, "zebra xylophone") == []


async def test_a_batch_gives_what_single_questions_give(world: World) -> None:
    knowledge(world)
    world.connection.commit()
    questions = [*(Question(text) for text in ASKED), Question(""), Question("backup\0\0")]
    async with await world.database.aconnect() as connection:
        found = await recall_many(connection, questions, 3)
        assert connection.info.transaction_status.name == "IDLE"
        assert await recall_many(connection, [], 3) == []
        assert await recall_many(connection, questions[:1], 0) == [[]]
    assert found == [recall(world.connection, question, 3) for question in questions]


def test_tiers_are_one_memory(world: World) -> None:
    """Nodes in the vector index and recent ones are found and ranked together."""
    knowledge(world)
    before = {question: recall(world.connection, question, 3) for question in ASKED}
    merge_recent(world.connection, threshold=0)
    assert {question: recall(world.connection, question, 3) for question in ASKED} == before
    board_id, board = world.board(
        "/docs/new.md", "Backups of the archive are kept for ten years, copies too.\n"
    )
    remember_board(world.connection, board_id, board)
    cites = [passage.cite for passage in recall(world.connection, "copies of backups are kept", 2)]
    assert set(cites) == {"/docs/backup.md:1", "/docs/new.md:1"}


async def test_an_empty_memory_asks_no_encoder(world: World) -> None:
    class Never(Other):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float16]:
            raise AssertionError("not needed")

    async with await world.database.aconnect() as connection:
        assert await recall_many(connection, [Question("x")] * 3, 5, encoder=Never()) == [[], [], []]
    assert recall(world.connection, "x", encoder=Never()) == []


class Item:
    """What a drain knows of an item."""

    def __init__(self, number: int, board_id: int, line: int, title: str, body: str = "") -> None:
        self.id, self.board_id, self.line, self.body = number, board_id, line, body
        self.question = f"{title}\n{body}".strip()


async def test_no_item_gets_lines_of_a_plan(world: World) -> None:
    """Neither its own nor those of another item: a to-do line is a claim. What its board says in prose is evidence."""
    rng = random.Random(7)
    lines = ["# Plan", ""]
    items: list[tuple[int, str, str]] = []
    for number in range(60):
        body = "\n".join(
            f"detail {rng.choice(['alpha', 'beta', 'gamma'])} {number}" for _ in range(number % 4)
        )
        items.append(
            (len(lines) + 1, f"Write the {rng.choice(['alpha', 'beta', 'gamma'])} page {number}", body)
        )
        lines += [f"- [ ] {items[-1][1]}", *(f"  {line}" for line in body.split("\n") if line)]
    plan = range(3, len(lines) + 1)
    lines += ["", "## Notes", "", "The alpha page is written first; the beta and gamma page follow it."]
    board_id, board = world.board("/plan.md", "\n".join(lines), items=[line for line, _, _ in items])
    remember_board(world.connection, board_id, board)
    world.connection.commit()
    asked = [Item(number, board_id, *item) for number, item in enumerate(items)]
    async with await world.database.aconnect() as connection:
        found = await recall_for_items(connection, asked, 6)
    assert all(found)
    for item, passages in zip(asked, found, strict=True):
        for passage in passages:
            assert set(plan).isdisjoint(cited_lines(passage)), (item.question, passage)


async def test_an_item_gets_no_answer_of_its_own_and_others_do(world: World) -> None:
    board_id, _ = world.board("/todo.md", "- [ ] Keep copies\n- [ ] Copies\n")
    item = world.answer(board_id, 1, "Copies are kept for thirty days.")
    remember_results(world.connection)
    world.connection.execute("update node set line_start = 9, line_end = 9")  # however stale its line is
    world.connection.commit()
    async with await world.database.aconnect() as connection:
        own, other = await recall_for_items(
            connection, [Item(item, board_id, 1, "Keep copies"), Item(item + 1, board_id, 2, "Copies")], 6
        )
    assert own == []
    assert [passage.cite for passage in other] == [f"item:{item}"]


def test_a_line_of_a_plan_weighs_less_than_a_document(world: World) -> None:
    plan_id, plan = world.board("/todo.md", "- [ ] keep thirty copies of the backup\n", items=[1])
    remember_board(world.connection, plan_id, plan)
    docs_id, docs = world.board(
        "/ops.md", "Thirty copies of a backup are what operations keep on the shelf.\n"
    )
    remember_board(world.connection, docs_id, docs)
    cites = [passage.cite for passage in recall(world.connection, "keep thirty copies of the backup")]
    assert cites == ["/ops.md:1", "/todo.md:1"]
    first, *_ = search(world.connection, "keep thirty copies of the backup")
    assert first.cite == "/todo.md:1"


def test_only_from_the_boards_that_are_asked(world: World) -> None:
    knowledge(world)
    row = world.connection.execute("select id from board where source = '/docs/logs.md'").fetchone()
    assert row is not None
    found = recall(world.connection, "copies kept and logs deleted", 5, board_ids=[row[0]])
    assert [passage.cite for passage in found] == ["/docs/logs.md:1"]
    assert recall(world.connection, "copies kept", 5, board_ids=[]) == []


def test_vectors_of_another_encoder_are_never_compared(world: World) -> None:
    board_id, board = world.board("/a.md", "Nightly copies.\n")
    remember_board(world.connection, board_id, board, encoder=Other())
    assert [hit.similarity for hit in search(world.connection, "nightly copies")] == [None]
    assert search(world.connection, "nigthly cobies") == []  # near only as a vector


def test_each_cite_is_there_once_and_passages_are_short(world: World) -> None:
    endless = "backup copies are kept " * 300
    for folder in ("/x", "/y"):
        board_id, board = world.board(f"{folder}/a.md", endless)
        remember_board(world.connection, board_id, board)
    world.connection.execute("update node set cite = 'a.md:1'")  # as if remembered from /x and from /y
    found = recall(world.connection, "backup copies", 6)
    assert {passage.cite for passage in found} in ({"a.md:1", "/y/a.md:1"}, {"a.md:1", "/x/a.md:1"})
    assert len(found) == 2
    assert all(len(passage.text) <= MOST for passage in found)


def test_a_hit_says_where_it_is_from_and_why(world: World) -> None:
    board_id, board = world.board("/ops.md", "# Ops\n\n## Backup\n\nThirty copies are kept.\n")
    remember_board(world.connection, board_id, board)
    item = world.answer(board_id, 4, "Copies move to the archive.", title="Where do copies go?")
    remember_results(world.connection)
    hits = {hit.kind: hit for hit in search(world.connection, "copies")}
    document, answer = hits["document"], hits["answer"]
    assert (document.source, document.cite, document.line_start, document.line_end) == (
        "/ops.md",
        "/ops.md:1-5",
        1,
        5,
    )
    assert document.heading == "Ops > Backup"
    assert (answer.source, answer.cite, answer.line_start) == ("/ops.md", f"item:{item}", 4)
    assert document.word_rank is not None
    assert document.score == pytest.approx(
        1 / (60 + document.word_rank) + (1 / (60 + document.near_rank) if document.near_rank else 0)
    )


def test_quotes_and_minus_are_taken_at_their_word(world: World) -> None:
    knowledge(world)
    assert [hit.cite for hit in search(world.connection, '"thirty copies"')] == ["/docs/backup.md:1"]
    assert search(world.connection, '"copies thirty"') == []
    assert [hit.cite for hit in search(world.connection, "copy -restore")] == ["/docs/backup.md:1"]


@pytest.mark.parametrize(
    "text",
    [
        "'",
        "\\",
        "a\\'b | c & !d:* <-> (",
        "%s %(x)s",
        "\0",
        "-",
        '"',
        "ё" * 5000,
        "漢" * 3000,
        "a/b\\c'd.md",
        "и не на",
    ],
)
def test_any_question_is_only_a_question(world: World, text: str) -> None:
    board_id, board = world.board("/a.md", f"Some words, {text}\n")
    remember_board(world.connection, board_id, board)
    assert len(recall(world.connection, text)) <= 1
    assert {hit.cite for hit in search(world.connection, text)} <= {"/a.md:1"}
    assert {hit.cite for hit in search(world.connection, f'"{text}" -x')} <= {"/a.md:1"}


def test_a_few_thousand_nodes_are_found_by_their_indexes(world: World) -> None:
    rng = random.Random(3)
    words = [
        f"{first}{last}" for first in ("алмаз", "берег", "copper", "delta", "ember") for last in range(400)
    ]
    connection = world.connection
    definition = connection.execute(
        "select indexdef from pg_indexes where indexname = 'node_hnsw'"
    ).fetchone()
    assert definition is not None
    connection.execute("drop index node_hnsw")  # built in one go it takes a tenth of the time
    for name, paragraphs in (("old", 1500), ("recent", 500)):
        text = "\n\n".join(" ".join(rng.choices(words, k=40)) for _ in range(paragraphs))
        board_id, board = world.board(f"/{name}.md", text)
        assert remember_board(connection, board_id, board) >= paragraphs / 2
        connection.execute("update node set indexed = true where source = '/old.md'")
    connection.execute(definition[0])
    connection.execute("analyze node")
    question = Question("алмаз7 copper11 delta3", 1, 1, 5, 6)
    encoder = default_encoder()
    parameters = _parameters([question], _vectors([question], encoder), 6, None, encoder)
    explained = connection.execute(
        b"explain (costs off) " + statement("remember.recall"), parameters
    ).fetchall()
    plan = "\n".join(row[0] for row in explained)
    assert re.search(r"Index Scan using node_hnsw", plan), plan
    assert re.search(r"Bitmap Index Scan on node_tsv", plan), plan
    assert re.search(r"(Index Scan using|Bitmap Index Scan on) node_recent", plan), plan
    # What a filter removes is made up for, although the index offers 40 at a time.
    connection.execute("update node set superseded_at = now() where source = '/recent.md'")
    row = connection.execute("select board_id from node where source = '/old.md' limit 1").fetchone()
    assert row is not None
    hidden = Question("алмаз copper delta", None, row[0], 1, 2 * 1500 - 60)
    assert len(recall(connection, hidden, 100)) == 30


def cited_lines(passage: Passage) -> range:
    match = re.fullmatch(r".*:(\d+)(?:-(\d+))?", passage.cite)
    assert match is not None
    return range(int(match[1]), int(match[2] or match[1]) + 1)


def test_search_for_what_was_no_text(database: Database) -> None:
    """An argument of a shell that is no UTF-8 arrives with lone surrogates."""
    with database.connect() as connection:
        connection.execute(
            "insert into node (kind, source, cite, text, embedding, encoder, content_hash)"
            " values ('document', 's', 's:1', 'backup', array_fill(0.5, array[768])::halfvec, 'x', '')"
        )
        assert [hit.cite for hit in search(connection, "backup \udcff\0")] == ["s:1"]


async def test_an_item_sees_only_boards_that_were_in_a_run_with_its_own(world: World) -> None:
    """Another project's papers are no evidence, however alike."""
    plan, _ = world.board("/a/plan.md", "- [ ] how many copies are kept\n", items=[1])
    ours, our_text = world.board("/a/ops.md", "Seven copies are kept of everything.\n")
    theirs, their_text = world.board(
        "/b/ops.md", "Nine copies are kept of everything, how many others may be.\n"
    )
    remember_board(world.connection, ours, our_text)
    remember_board(world.connection, theirs, their_text)
    for boards in ([plan, ours], [theirs]):
        world.connection.execute("insert into run (id, board_ids) values (gen_random_uuid(), %s)", [boards])
    world.connection.commit()
    async with await world.database.aconnect() as connection:
        found = await recall_for_items(connection, [Item(1, plan, 1, "how many copies are kept")], 6)
        alone = await recall_for_items(connection, [Item(2, theirs, 9, "how many copies are kept")], 6)
    assert [[passage.cite for passage in some] for some in found] == [["/a/ops.md:1"]]
    assert [[passage.cite for passage in some] for some in alone] == [["/b/ops.md:1"]]
