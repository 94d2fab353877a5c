"""Transactions that two processes hold against each other: Postgres ends one of them, and that one is done again.

Locks are taken in one order (docs/database.md), so this is rare; where a batch touches items, works and frontiers of
several boards it can't be ruled out. What is repeated must be one whole transaction.
"""

from __future__ import annotations

import psycopg
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

TRIES = 4

again_after_deadlock = retry(
    retry=retry_if_exception_type((psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)),
    stop=stop_after_attempt(TRIES),
    wait=wait_random(0, 0.1),  # seconds: the other one needs a moment to commit
    reraise=True,
)
"""Decorator of a function, also an async one, that is one transaction from begin to end."""
