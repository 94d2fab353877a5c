"""A decision as Markdown that a person reads and writes, the same text in both directions: `read(write(x))` is x.

Foreign words can't make headings: a line of a decision that begins with `#` is written with a backslash before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from models.council import Decided, DecisionRecord, Position, Seat
from models.recipe import Risk
from models.words import counted
from tasks.places import shown

_HEADING = re.compile(
    r"#{1,3}[ \t]+(?P<name>decision|reasons|risks|confidence|positions|missing|sources)[ \t]*", re.IGNORECASE
)
_BULLET = re.compile(r"[-*+][ \t]+(?P<text>\S.*)")
_RISK = re.compile(r"\*{0,2}(?P<level>low|medium|high)\*{0,2}[ \t]*:[ \t]*(?P<risk>\S.*)", re.IGNORECASE)
_ESCAPED = re.compile(r"^\\(?=\\*#)", re.MULTILINE)
_TO_ESCAPE = re.compile(r"^(?=\\*#)", re.MULTILINE)


@dataclass(slots=True)
class Written:
    """What a person may change of a decision."""

    decision: str
    reasons: list[str] = field(default_factory=list)
    risks: list[dict[str, str]] = field(default_factory=list)


def write(decided: Decided) -> str:
    """The decision with reasons, risks, how sure it is and who said what."""
    lines = ["## Decision", "", _TO_ESCAPE.sub(r"\\", decided.decision.strip()), ""]
    if decided.reasons:
        lines += ["## Reasons", "", *(f"- {_line(reason)}" for reason in decided.reasons), ""]
    if decided.risks:
        lines += [
            "## Risks",
            "",
            *(f"- {each['level']}: {_line(each['risk'])}" for each in decided.risks),
            "",
        ]
    if decided.confidence is not None:
        lines += ["## Confidence", "", _confidence(decided), ""]
    if heard := [seat for seat in decided.members if seat.missing is None]:
        lines += ["## Positions", "", *map(_position, heard), ""]
    if decided.missing:
        lines += [
            "## Missing",
            "",
            *(f"- {seat.name}: {_line(seat.missing or '')}" for seat in decided.missing),
            "",
        ]
    if decided.citations:
        lines += ["## Sources", ""]
        lines += [f"- [{_line(each['cite'])}] “{_line(each['quote'])}”" for each in decided.citations]
    return "\n".join(lines).rstrip() + "\n"


def read(text: str) -> Written:
    """What a person wrote. A text without the heading `Decision` is the decision as a whole."""
    sections: dict[str, list[str]] = {}
    now: list[str] | None = None
    for line in text.replace("\r\n", "\n").split("\n"):
        if heading := _HEADING.fullmatch(line.rstrip()):
            now = sections.setdefault(heading["name"].lower(), [])
        elif now is not None:
            now.append(line)
    said = "\n".join(sections.get("decision", [])).strip()
    if not said:
        return Written(text.strip())
    return Written(
        _ESCAPED.sub("", said),
        [
            entry["text"].strip()
            for line in sections.get("reasons", [])
            if (entry := _BULLET.fullmatch(line.strip()))
        ],
        [risk for line in sections.get("risks", []) if (risk := _risk(line.strip())) is not None],
    )


def adr(record: DecisionRecord) -> str:
    """A stored decision as a document of its own, as architecture decision records are written."""
    name = f"{record.ext_id} {record.question}" if record.ext_id else record.question
    lines = [
        f"# {_line(name)}",
        "",
        f"- Status: {_status(record)}",
        f"- Asked: {shown(record.source)}:{record.line}",
    ]
    if record.began_at:
        lines.append(f"- Date: {(record.decided_at or record.created_at).astimezone():%Y-%m-%d}")
    cost = f", {record.cost:.4f} US dollars" if record.cost is not None else ""
    tokens = record.prompt_tokens + record.completion_tokens
    lines.append(f"- Calls: {record.calls}, {counted(tokens, 'token')}{cost}")
    lines.append(f"- Recipe: {record.recipe} {record.recipe_hash[:12]}".rstrip())
    if record.decided.simulated:
        lines.append("- SIMULATED: answers come from Penstock's model simulator, no model wrote them")
    return "\n".join([*lines, "", write(record.decided)])


def _status(record: DecisionRecord) -> str:
    if record.status == "proposed":
        return f"proposed, waits for a person (review {record.review})"
    if record.status != "accepted":
        return record.status
    by = record.approved_by or "the checks"
    return f"accepted by {by}{', edited' if record.edited else ''}"


def _confidence(decided: Decided) -> str:
    heard = len(decided.members) - len(decided.missing)
    supporters = len(decided.having(Position.SUPPORTS))
    return (
        f"{decided.confidence:.2f}: {supporters} of {counted(heard, 'member')} that answered "
        f"{'supports' if supporters == 1 else 'support'} it, and the synthesis itself says {decided.claimed:.2f}."
    )


def _position(seat: Seat) -> str:
    model = f" ({seat.model})" if seat.model else ""
    risk = f", sees a {seat.risk} risk" if seat.risk in (Risk.MEDIUM, Risk.HIGH) else ""
    sure = f", {seat.confidence:.2f} sure" if seat.confidence is not None else ""
    says = f": {_line(seat.says)}" if seat.says else ""
    return f"- {seat.name}{model} {seat.position or 'answered'}{sure}{risk}{says} [item:{seat.item}]"


def _risk(line: str) -> dict[str, str] | None:
    entry = _BULLET.fullmatch(line)
    if entry is None:
        return None
    said = entry["text"].strip()
    level = _RISK.fullmatch(said)
    if level is None:  # a person wrote it without a level: nobody said that it is small
        return {"risk": said, "level": str(Risk.HIGH)}
    return {"risk": level["risk"].strip(), "level": level["level"].lower()}


def _line(text: str) -> str:
    return " ".join(text.split())
