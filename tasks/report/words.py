"""What an error type means, for somebody who never saw Penstock. One sentence without its full stop each."""

from __future__ import annotations

from models.enums import ErrorType

MEANING: dict[str, str] = {
    ErrorType.CONNECTION: "the model server could not be reached",
    ErrorType.TIMEOUT: "the model server did not answer in time",
    ErrorType.OVERLOADED: "the model server was overloaded",
    ErrorType.RATE_LIMITED: "the provider's rate limit was reached",
    ErrorType.UNAVAILABLE: "the model server was not available",
    ErrorType.SERVER_ERROR: "the model server failed on it again and again",
    ErrorType.MODEL_MISSING: "the model is not on the server",
    ErrorType.OUT_OF_MEMORY: "the model server ran out of memory",
    ErrorType.AUTH: "the model server refused the credentials",
    ErrorType.LEASE_LOST: "another run took the model server over",
    ErrorType.CONTEXT_TOO_LONG: "it does not fit into the model's context",
    ErrorType.REFUSED: "the model refused to answer",
    ErrorType.TRUNCATED: "the answer was cut off",
    ErrorType.EMPTY: "the answer was empty",
    ErrorType.ECHO: "the answer only repeats the question",
    ErrorType.PACKED: "it was asked together with others, and its answer could not be told from theirs",
    ErrorType.MALFORMED: "the answer could not be read",
    ErrorType.NO_EVIDENCE: "nothing in the documents of the run answers it closely enough to be quoted",
    ErrorType.SCHEMA: "the answer does not have the form that was asked for",
    ErrorType.RULE: "the answer breaks a rule of its recipe",
    ErrorType.GROUNDING: "the answer is not borne out by the documents it names",
    ErrorType.CHECK_CRASHED: "a check could not run, so the answer counts as not checked",
    ErrorType.HUMAN_ONLY: "its recipe always asks a person",
    ErrorType.COUNCIL: "its council is not sure enough, sees a high risk, or too few of it answered",
    ErrorType.PLAN: "how to split it waits for approval; nothing of the plan has run",
    ErrorType.POISON: "answers failed so often in a row that asking was stopped",
    ErrorType.CYCLE: "items wait for one another in a ring; say which goes first",
}


def meaning(error_type: str | None) -> str:
    return MEANING.get(error_type or "", "machines gave up on it")
