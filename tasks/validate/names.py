"""The names of all built-in checks, by layer, and what each asks, in words. Of the rules a recipe names its own.

Each has good and bad examples in tests/validate/examples.yaml, which a test holds it to.
"""

from __future__ import annotations

LAYERS: dict[str, str] = {
    "transport": "is there an answer at all",
    "shape": "has it the shape that was asked for",
    "grounding": "does what it names and quotes exist among what was given",
    "acceptance": "does it meet the item's own criteria, as far as a machine can tell",
    "rules": "the recipe's Great Expectations suite over the batch",
    "judge": "what a model says of it, where the recipe has a judge",
}

CHECKS: dict[str, dict[str, str]] = {
    "transport": {
        "finish_reason": "the server did not cut it off",
        "refused": "the model did not refuse: by the server's word, or with a stock sentence that is the whole answer",
        "not_empty": "it has text, and not only thoughts",
        "storable": "it has no NUL character and no broken Unicode",
        "has_words": "it has a letter or a digit",
        "no_echo": "it adds something to the question",
        "language": "it is not certainly in another language than the item",
    },
    "shape": {
        "json": "there is one JSON object in it without doubt",
        "schema": "the object fits the recipe's schema",
        "text_field": "the property that is the result's text is not empty",
    },
    "grounding": {
        "has_citations": "it cites a passage, where the recipe requires that",
        "cite_given": "each citation is of a passage that was given",
        "quote_found": "each quote stands in its passage word for word",
        "own_item": "it is not plainly the answer to another item of the batch",
        "quotations": "what stands in quotation marks stands in what was given (`verify: [quotes]`)",
        "files": "files and lines that it names were given (`verify: [files]`)",
        "urls": "addresses that it names were given (`verify: [urls]`)",
        "ids": "ids that it names were given (`verify: [ids]`)",
        "code": "code blocks in a known language can be read (`verify: [code]`)",
        "patches": "unified diffs apply to the files they name (`verify: [patches]`)",
    },
    "acceptance": {
        "length": "it is as long as a criterion says",
        "mentions": "it mentions the words that a criterion quotes, or does not",
        "format": "it is JSON, a table or a list, as a criterion says",
        "gives": "it gives a number or a link, as a criterion says",
    },
    "rules": {
        "row_count": "each item that was asked has an answer",
        "unique(item_id)": "each item has one answer",
        "asked(item_id)": "each answer is for an item that was asked",
        "suite": "the checks could run, and ended in time",
    },
    "judge": {"votes": "more than half of the judge's votes say pass"},
}
CRASHED = "row"
"""The check of a failure that says that a layer could not look at one answer (its error type is check_crashed)."""


def describe(layer: str, check: str) -> str:
    """What a check asks, in words; empty for one that is a recipe's own."""
    return CHECKS.get(layer, {}).get(check, "")
