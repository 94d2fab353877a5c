"""After a decision: what it released goes on, without anyone restarting anything."""

from __future__ import annotations


def carry_on(released: int) -> None:
    """With `penstock up` running its workers do it; else drain it here and now, as a flow."""
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
        from interfaces.cli.running import run_flow

        done = run_flow(execute(config.backend), prefect, database)
    console().print(
        f"Done: {done['accepted']} accepted, {done['deferred']} deferred by {done['backend']} ({done['model']})."
    )
