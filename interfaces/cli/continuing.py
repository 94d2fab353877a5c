"""After a decision: what it released goes on, without anyone restarting anything."""

from __future__ import annotations

import asyncio

from models.words import counted


def carry_on(released: int) -> None:
    """With `penstock up` running its workers do it; else drain it here and now, as a flow."""
    from deployments.server import orchestrator
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console

    items, them = counted(released, "item"), "it" if released == 1 else "them"
    with (
        opened() as (config, database),
        console().status("Starting the Prefect server ...") as status,
        orchestrator(config, database) as prefect,
    ):
        if prefect.has_workers:
            console().print(f"{items} released; the workers of `penstock up` run {them}.")
            return
        status.update(f"{items} released; running {them} ...")
        from flows.execute import execute
        from interfaces.cli.running import run_flow
        from tasks.recipes import load_recipes
        from tasks.upkeep import Wanted, wanted_drains

        async def look() -> list[Wanted]:
            connection = await database.aconnect(autocommit=True)
            try:
                return await wanted_drains(connection, config, load_recipes(config))
            finally:
                await connection.close()

        # Each board goes on with the backend that its run had chosen.
        for drain in asyncio.run(look()):
            if drain.spilled:
                console().print(drain.spilled, markup=False)
            flow = execute(drain.backend, list(drain.boards), spilled=bool(drain.spilled))
            done = run_flow(flow, prefect, database)
            assert isinstance(done, dict)  # it belongs to no run, so nobody cancels it
            console().print(
                f"Done: {done['accepted']} accepted, {done['deferred']} deferred by {done['backend']} "
                f"({done['model']})."
            )
