"""`penstock simulate`: the simulated model server, for tests and benchmarks. Its answers are labelled as such."""

from __future__ import annotations

import typer


def simulate(context: typer.Context) -> None:
    """Run a simulated model server for tests and benchmarks (Ollama, OpenAI, Anthropic and Gemini protocols).

    `penstock simulate --help` lists what it can be told: slots, memory, speed, faults and more.
    """
    from backends.simulator.__main__ import main

    main(context.args)
