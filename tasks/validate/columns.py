"""The columns of a batch's table: what a recipe's checks can look at."""

from __future__ import annotations

COLUMNS: dict[str, str] = {
    "item_id": "the item's number",
    "text": "the text that would become the result, a string",
    "length": "characters of that text",
    "words": "words of that text",
    "finish_reason": "the server's own word for why it stopped, a string",
    "model": "the model's name as the server returned it, a string",
    "prompt_tokens": "as the server counted; no value where it did not say",
    "completion_tokens": "as the server counted; no value where it did not say",
    "seconds": "from sending to the last byte",
    "simulated": "true where the simulator answered",
    "answered": "true where there is an answer at all (not empty, not only thoughts, not the question, not cut)",
    "schema_ok": "true where the answer fits the recipe's schema",
    "grounded": "true where the citations are in order",
    "citations": "how many citations the answer has",
    "passages": "how many passages the prompt had",
    "confidence": "the answer's `confidence`; no value where it has none",
}
"""Name and meaning. Beside them, `answer.<property>` is a property of the answer: a text, number or truth value as it
is, a list or an object as its number of members; no value where the answer has it not."""

PROPERTY = "answer."
