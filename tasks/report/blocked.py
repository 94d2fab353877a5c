"""Why an item can't start: what it waits for, and what that waits for, down to what somebody can act on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tasks.report.models import ItemReport, Wait

MOST_NUMBERS = 5

ENDED = frozenset({"done", "skipped", "cancelled"})


def explain(items: Sequence[ItemReport], needs: Mapping[int, Sequence[int]]) -> None:
    """Fill `waits_for` of the items that wait. `needs`: unsettled items that each waits for, by item id."""
    by_id = {item.item_id: item for item in items}
    parts: dict[int, list[ItemReport]] = defaultdict(list)
    for item in items:
        if item.parent is not None:
            parts[item.parent].append(item)
    for item in items:
        item.waits_for = [
            Wait(
                item_id=needed.item_id,
                name=needed.name,
                line=needed.line,
                status=needed.status,
                why=_why(needed, parts, needs, by_id),
            )
            for needed in (by_id[number] for number in needs.get(item.item_id, ()) if number in by_id)
        ]


def _why(
    item: ItemReport,
    parts: Mapping[int, Sequence[ItemReport]],
    needs: Mapping[int, Sequence[int]],
    by_id: Mapping[int, ItemReport],
) -> str:
    open_parts = [part for part in _leaves(item, parts) if part.status not in ENDED]
    if open_parts == [item]:
        return _alone(item, needs, by_id)
    reviews = sorted(part.review for part in open_parts if part.review is not None)
    if reviews:
        more = f" and {len(reviews) - MOST_NUMBERS} more" if len(reviews) > MOST_NUMBERS else ""
        numbers = ", ".join(str(number) for number in reviews[:MOST_NUMBERS])
        waiting = _count(len(reviews), "of its items waits", "of its items wait")
        return f"{waiting} for a person (review {numbers}{more})"
    if any(part.status in ("ready", "running") for part in open_parts):
        return f"{_count(len(open_parts), 'of its items is', 'of its items are')} still queued"
    if any(part.status == "failed" and not part.member for part in open_parts):
        return "some of its items failed"
    others = [
        by_id[number].name
        for part in open_parts
        for number in needs.get(part.item_id, ())
        if number in by_id and by_id[number] is not item
    ]
    return f"it is blocked itself, by {_short(others[0])}" if others else "its items are not settled"


def _alone(item: ItemReport, needs: Mapping[int, Sequence[int]], by_id: Mapping[int, ItemReport]) -> str:
    match item.status:
        case "waiting":
            return f"it waits for a person (review {item.review})" if item.review else "it waits for a person"
        case "failed":
            return "it failed"
        case "ready" | "running":
            return "it is still queued"
        case _:
            others = [by_id[number].name for number in needs.get(item.item_id, ()) if number in by_id]
            return f"it is blocked itself, by {_short(others[0])}" if others else "it is not settled"


def _leaves(item: ItemReport, parts: Mapping[int, Sequence[ItemReport]]) -> list[ItemReport]:
    found: list[ItemReport] = []
    todo = [item]
    while todo:
        one = todo.pop()
        below = parts.get(one.item_id, ())
        if below and not one.synthesis:
            todo.extend(reversed(below))
        else:
            found.append(one)
    return found


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:59]}…"
