"""Penstock: the board read and stored, then the flow `execute` drains it: all that `penstock run` does but the report.

The order's work becomes a board; each of its items is told its model. In the clock are reading and storing the board,
the flow run with a task run per batch, checks, and every answer written. Before it: a first use of everything, on
another simulated server.
"""

from __future__ import annotations

import asyncio
from typing import Any

from backends import simulator
from bench.pressure.drivers.protocol import CONTEXT, Order, done, order, ready
from bench.pressure.scene import configure, settled
from models.settings import Settings
from sql.connection import Database, database


def drain(config: Settings, db: Database, name: str, work: list[tuple[str, str]]) -> None:
    import sources
    from flows.execute import execute
    from tasks.decompose import decompose_board
    from tasks.ingest import ingest_board
    from tasks.recipes import load_recipes

    text = f"# {name}\n\n" + "\n".join(f"- [ ] {prompt}" for _, prompt in work) + "\n"
    with db.connect() as connection:
        parsed = sources.parse(text.encode(), f"{name}.md")
        board = ingest_board(connection, parsed, source=f"bench:{name}").board_id
        decompose_board(connection, board, load_recipes(config))
        given = connection.execute(
            "update item i set model = t.model, recipe = 'bench'"
            "  from item_source s join unnest(%s::text[], %s::text[]) as t(title, model) using (title)"
            " where s.item_id = i.id and i.board_id = %s",
            [[prompt for _, prompt in work], [model for model, _ in work], board],
        ).rowcount
    if given != len(work):
        raise RuntimeError(f"{given} of {len(work)} items were stored")
    asyncio.run(execute(backend="ollama", boards=[board]))
    with db.connect() as connection:
        counts = settled(connection, board)
    if counts != (len(work),) * 3:
        raise RuntimeError(f"{counts} items, done, accepted answers instead of {len(work)} each")


def endpoint(url: str, slots: int) -> dict[str, Any]:
    return {"backend": "ollama", "url": url, "slots": slots, "resident": 1, "context_tokens": CONTEXT}


def main() -> None:
    given: Order = order()
    with database(configure()) as db:
        from deployments.server import orchestrator
        from interfaces.cli.quiet import quiet_prefect, tell_prefect

        with orchestrator(configure(), db):
            quiet_prefect(configure().home)
            with simulator.running(flavour="ollama", models=["warm:1b"], latency=0.01) as warm:
                config = configure(endpoints=[endpoint(warm.url, 4)])
                name = f"the first use of {given.database}"
                drain(config, db, name, [("warm:1b", f"Say what number {n} of {name} is") for n in range(40)])
            config = configure(endpoints=[endpoint(given.url, given.in_flight)])
            ready()
            drain(config, db, given.database, given.work)
            tell_prefect()
            done()


if __name__ == "__main__":
    main()
