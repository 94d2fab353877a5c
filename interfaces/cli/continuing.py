"""After a decision: what it released goes on, without anyone restarting anything."""

from __future__ import annotations


def carry_on(released: int) -> None:
    """With `penstock up` running its workers do it; else drain it here and now, as a flow."""
    import asyncio

    from deployments.server import orchestrator
    from interfaces.cli.opening import opened
    from interfaces.cli.render import console

    with (
        opened() as (config, database),
        console().status("Starting the Prefect server ...") as status,
        orchestrator(config, database) as prefect,
    ):
        if prefect.has_workers:
            console().print(f"{released} items released; the workers of `penstock up` do them.")
            return
        status.update(f"{released} items released; running them ...")
        from flows.execute import execute
        from interfaces.cli.quiet import quiet_prefect, tell_prefect

        quiet_prefect()
        try:
            done = asyncio.run(execute(config.backend))
        finally:
            tell_prefect()
    console().print(
        f"Done: {done['accepted']} accepted, {done['deferred']} deferred by {done['backend']} ({done['model']})."
    )
