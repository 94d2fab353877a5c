"""Mermaid and SVG: titles are foreign text and stay text; every state has a sign of its own."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from models.items import State
from tasks.graph import MOST_MERMAID, mermaid, svg
from tasks.graph.mermaid import MOST_ARROWS, label
from tasks.graph.model import Arrow, BoardBox, Box, Drawing
from tasks.graph.shape import nest
from tasks.graph.states import LOOKS
from tasks.graph.svg import SIGNS
from tasks.graph.text import fit, plain, width

NASTY = [
    "<script>alert(1)</script>",
    "</text></svg><image href='x' onload='alert(1)'/>",
    '"] --> b["x"]',
    'click n1 "javascript:alert(1)"',
    '%%{init: {"securityLevel": "loose"}}%%',
    "```\n## forged\n```",
    "&#60;img src=x onerror=alert(1)&#62;",
    "#lt;b#gt; #35;",
    "ﬂ°°60¶ßimg¶",
    "\x00\x1b[2J\ud800\u202eoverride\u2066 \ufffe",
    "end",
    "a" * 500,
    "\U0001f600" * 80,
]
ELEMENTS = {"svg", "style", "defs", "g", "use", "rect", "text", "title", "path", "circle"}
ATTRIBUTES = {
    *("id", "class", "role", "aria-label", "href", "viewBox", "width", "height"),
    *("d", "x", "y", "r", "cx", "cy", "rx"),
    *("fill", "stroke", "style", "stroke-width", "stroke-linecap"),
}
titles = st.sampled_from(NASTY) | st.text(max_size=90)


def box(
    number: int, title: str, parent: int | None = None, *, container: bool = False, state: State = State.READY
) -> Box:
    return Box(number, 1, parent, state, True, None, "task", title, number, "todo", container)


def drawn(title: str, *, source: str = "plan.md") -> Drawing:
    found = Drawing([BoardBox(1, source, "")])
    by_id = nest([box(1, title, container=True), box(2, title, 1), box(3, title, state=State.DONE)], found)
    found.arrows = [Arrow(by_id[1], by_id[3], False), Arrow(by_id[3], by_id[2], True)]
    found.notes = [title]
    return found


@given(titles)
def test_a_title_is_text_in_svg(title: str) -> None:
    text = svg(drawn(title, source=title))
    picture = ET.fromstring(text)
    for element in picture.iter():
        assert element.tag.removeprefix("{http://www.w3.org/2000/svg}") in ELEMENTS
        assert set(element.attrib) <= ATTRIBUTES
        assert element.get("href", "#").startswith("#"), "nothing is fetched"
        if not element.tag.endswith("}style"):
            assert "expression" not in element.get("style", "")
    shape = [element.tag for element in picture.iter()]
    assert shape == [element.tag for element in ET.fromstring(svg(drawn("x", source="x"))).iter()]
    assert "url(" not in text.partition("</style>")[0]
    assert "@import" not in text


@given(titles)
def test_a_title_is_text_in_mermaid(title: str) -> None:
    lines = mermaid(drawn(title, source=title)).splitlines()
    plain_lines = mermaid(drawn("x", source="x")).splitlines()
    assert len(lines) == len(plain_lines)
    for line, expected in zip(lines, plain_lines, strict=True):
        # Between the quotes of a label there is nothing that Mermaid, Markdown or HTML could take for its own.
        inside = re.fullmatch(r'( *(?:subgraph )?\w+\[")(.*)("\](?::::\w+)?)', line)
        if inside is None:
            assert line == expected
            continue
        assert not re.search(
            r'[<>"`%{}\[\]|;~@$&*\\^#]', re.sub(r"#\d+;", "", inside[2]).replace("<br/>", "")
        )
        assert expected.startswith(inside[1])
        assert expected.endswith(inside[3])


def test_labels_keep_what_is_harmless() -> None:
    assert label("Ship 2.4 (soon) — «да», 日本") == "Ship 2.4 (soon) — «да», 日本"
    assert label('a "b" <c> #1') == "a #34;b#34; #60;c#62; #35;1"
    assert label("x" * 100).endswith("x…")
    assert len(label("x" * 100)) == 60


def test_the_largest_mermaid_keeps_within_what_its_readers_take() -> None:
    found = Drawing([BoardBox(1, "&" * 200, "")])
    by_id = nest([box(n, "&" * 200) for n in range(10_000_000, 10_000_000 + MOST_MERMAID)], found)
    boxes = list(by_id.values())
    found.arrows = [Arrow(one, other, False) for one in boxes[:10] for other in boxes[10:]]
    text = mermaid(found)
    assert len(text) < 50_000
    assert len(re.findall("==>", text)) == MOST_ARROWS
    assert f"{len(found.arrows) - MOST_ARROWS} more needs are not drawn." in text


def test_every_state_has_a_sign_and_a_shape_of_its_own() -> None:
    assert set(LOOKS) == set(SIGNS) == set(State)
    assert len({look.mark for look in LOOKS.values()}) == len(State)
    shapes = {re.sub(r"\{hue\}", "", SIGNS[state]) for state in State}
    assert len(shapes) == len(State)


def test_a_legend_has_the_states_that_occur() -> None:
    found = Drawing([BoardBox(1, "plan.md", "")])
    nest([box(1, "a", state=State.FAILED), box(2, "b", state=State.RUNNING)], found)
    for text in (svg(found), mermaid(found)):
        for state in State:
            assert (LOOKS[state].words in text) == (state in (State.FAILED, State.RUNNING))


def test_lines_of_one_lane_never_overlap() -> None:
    from tasks.graph.svg import Row, _lanes

    found = Drawing([BoardBox(1, "plan.md", "")])
    by_id = nest([box(n, str(n)) for n in range(20)], found)
    rows = {n: Row(float(n), by_id[n], 0) for n in range(20)}
    arrows = [Arrow(by_id[n], by_id[m], False) for n in range(0, 20, 3) for m in range(1, 20, 7) if n != m]
    lanes = _lanes(arrows, rows)
    spans: dict[int, tuple[float, float]] = {}
    for arrow in arrows:
        ends = [rows[arrow.needs.id].y, rows[arrow.item.id].y, *spans.get(arrow.needs.id, ())]
        spans[arrow.needs.id] = (min(ends), max(ends))
    for one in spans:
        for other in spans:
            if one < other and lanes[one] == lanes[other]:
                assert spans[one][1] < spans[other][0] or spans[other][1] < spans[one][0]


@given(st.text(max_size=200), st.floats(20, 600))
def test_a_title_is_cut_to_its_room(title: str, room: float) -> None:
    text = plain(title)
    assert "\n" not in text
    assert width(fit(text, room)) <= max(room, width("…"))
    assert fit(text, width(text)) == text
