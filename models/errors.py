"""The one tree of errors that Penstock raises on purpose.

    PenstockError
    ├── InputError                 the caller gave something unusable            exit code 2
    │   ├── SourceError            a file, folder or stream can't be read
    │   ├── RecipeError            a recipe file is wrong
    │   └── SettingsError          a setting is wrong or two contradict
    ├── ServiceError               something Penstock needs does not work        exit code 1
    │   ├── DatabaseError          Postgres is not there, refuses, or lacks pgvector
    │   │   └── SchemaError        the schema is older or newer than this code
    │   ├── OrchestratorError      the Prefect server is not there or refuses
    │   ├── BackendUnavailable     no model server answers where one was asked for
    │   └── NoRoom                 other drains' models have the device's memory, and time is over
    ├── RunStopped                 a person paused or cancelled the run          exit code 3
    ├── LeaseLost                  another drain took the endpoint over; stop, change nothing
    └── ModelCallError             one request to a model server went wrong (see models.calls)

A message says what happened, shows the value seen, and says what to do. Doors print the message alone;
a traceback is for errors that are not in this tree.
"""

from __future__ import annotations

__all__ = [
    "BackendUnavailable",
    "DatabaseError",
    "InputError",
    "LeaseLost",
    "NoRoom",
    "OrchestratorError",
    "PenstockError",
    "RecipeError",
    "RunStopped",
    "SchemaError",
    "ServiceError",
    "SettingsError",
    "SourceError",
]


class PenstockError(Exception):
    """Base of everything Penstock raises on purpose."""

    exit_code = 1


class InputError(PenstockError):
    """The caller gave something that can't be used."""

    exit_code = 2


class SourceError(InputError):
    """A file, folder or stream can't be read as a source of work."""


class RecipeError(InputError):
    """A recipe file is missing or wrong."""


class SettingsError(InputError):
    """A setting has a value that can't be used."""


class ServiceError(PenstockError):
    """Something that Penstock needs does not work."""


class DatabaseError(ServiceError):
    """Postgres is not there, refuses the connection, or lacks what Penstock needs."""


class SchemaError(DatabaseError):
    """The database's schema and this code's do not match."""


class OrchestratorError(ServiceError):
    """The Prefect server is not there or refuses."""


class BackendUnavailable(ServiceError):
    """No model server answers where one was asked for."""


class NoRoom(ServiceError):
    """A model could not be loaded in time, because others have the device's memory. Nobody's fault: no breaker."""


class RunStopped(PenstockError):
    """A person paused or cancelled the run. Nothing went wrong, and something is left."""

    exit_code = 3


class LeaseLost(PenstockError):
    """The endpoint's lease lapsed and another drain holds it now."""
