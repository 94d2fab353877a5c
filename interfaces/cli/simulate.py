"""`penstock simulate`: the simulated model server, for tests and benchmarks. Its answers are labelled as such."""

from __future__ import annotations

import typer


def simulate(context: typer.Context) -> None:
    """Run a simulated model server (Ollama and OpenAI protocols). `penstock simulate --help` lists its options."""
    from backends.simulator.__main__ import main

    main(context.args)
