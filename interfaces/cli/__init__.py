"""The command line: `penstock`. A door: it parses, calls, renders. Heavy imports happen inside commands, so that
`penstock --help` answers at once."""

from interfaces.cli.app import main

__all__ = ["main"]
