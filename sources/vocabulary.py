"""The words and marks that boards use for a status, a priority and a detail, in English and Russian."""

from __future__ import annotations

import re

from models.enums import Declared

MARKS: dict[str, Declared] = {
    "": Declared.TODO,
    **dict.fromkeys("xX✓✔☑✅vVхХ+", Declared.DONE),  # the last two letters are Cyrillic
    **dict.fromkeys("~/", Declared.IN_PROGRESS),
    **dict.fromkeys("-—–", Declared.SKIPPED),
    "!": Declared.BLOCKED,
}
ODD_MARKS = frozenset("?>*<.=хХ")
"""Read as an item all the same, with a finding: the mark has no agreed meaning, or is a letter that looks like x."""

STATES: dict[str, Declared] = {
    **dict.fromkeys(("TODO", "TO DO", "OPEN", "PLANNED", "NEW", "PENDING"), Declared.TODO),
    **dict.fromkeys(("НЕ НАЧАТО", "НЕ СДЕЛАНО", "К ВЫПОЛНЕНИЮ", "ЗАПЛАНИРОВАНО"), Declared.TODO),
    **dict.fromkeys(
        ("IN PROGRESS", "WIP", "DOING", "STARTED", "В РАБОТЕ", "В ПРОЦЕССЕ"), Declared.IN_PROGRESS
    ),
    **dict.fromkeys(("BLOCKED", "ON HOLD", "WAITING", "ЗАБЛОКИРОВАНО", "ОЖИДАЕТ"), Declared.BLOCKED),
    **dict.fromkeys(("DONE", "COMPLETED", "COMPLETE", "FINISHED", "CLOSED"), Declared.DONE),
    **dict.fromkeys(("СДЕЛАНО", "ГОТОВО", "ВЫПОЛНЕНО", "ЗАВЕРШЕНО", "ЗАКРЫТО"), Declared.DONE),
    **dict.fromkeys(("SKIPPED", "CANCELLED", "CANCELED", "DROPPED", "WONTFIX"), Declared.SKIPPED),
    **dict.fromkeys(("ОТМЕНЕНО", "ПРОПУЩЕНО"), Declared.SKIPPED),
    **dict.fromkeys(("PARTIAL", "PARTIALLY DONE", "ЧАСТИЧНО"), Declared.PARTIAL),
}


def state_of(mark: str) -> Declared | None:
    """Status of a [STATE] mark, None for any other word in brackets."""
    return STATES.get(" ".join(mark.replace("_", " ").replace("-", " ").upper().split()))


_DONE = (
    r"(?:выполнен\w*|сделан\w*|готов\w?|завершен\w*|завершён\w*|реализован\w*|закрыт\w*|"
    r"done|completed?|finished|closed|implemented|shipped|merged|passed|resolved)"
)
_PHRASES: tuple[tuple[re.Pattern[str], Declared], ...] = tuple(
    (re.compile(pattern), status)
    for pattern, status in (
        (r"частичн|\bpartial|\bpartly\b|половин|\balmost\b|почти", Declared.PARTIAL),
        (rf"(?:\bне\s+(?:до\s*)?|\bnot\s+(?:yet\s+)?|недо){_DONE}\b", Declared.TODO),
        (r"\bне\s+начат|\bnot\s+started|\bincomplete\b|\bunfinished\b|\bto\s?do\b", Declared.TODO),
        (r"отмен[её]н|пропущен|не\s+требуется|\bskipped\b|\bcancell?ed\b|\bdropped\b|won'?t", Declared.SKIPPED),
        (r"(?<!un)\bblocked\b|заблокирован|\bon\s+hold\b|⛔|🚫", Declared.BLOCKED),
        (r"\bв\s+работе|в\s+процессе|\bначат|\bin[ _-]progress\b|\bwip\b|\bongoing\b|\bdoing\b|\bstarted\b|🔄|🚧|⏳|🟡",
         Declared.IN_PROGRESS),
        (rf"\b{_DONE}\b|✅|✔|☑|🟢|^ок$|^ok$|^\+$|^x$|^х$|^да$|^yes$", Declared.DONE),
        (r"\btodo\b|заплан|\bplanned\b|\bopen\b|\bpending\b|\bnew\b|ожида|открыт|❌|⬜|🔲|☐|🔴|^нет$|^no$|^-$|^—$",
         Declared.TODO),
    )
)  # fmt: skip
_PERCENT = re.compile(r"^(\d{1,3})\s*%")


def status_of(cell: str) -> Declared | None:
    """Status of a table cell or a short phrase ("**СДЕЛАНО**", "Уже реализован", "✅", "in progress"), else None.

    A negation goes before what it negates and "partly" before "done": "не выполнено" is not done.
    """
    text = cell.replace("*", "").replace("`", "").replace("_", " ").strip().lower()[:200]
    if not text:
        return None
    if percent := _PERCENT.match(text):
        share = int(percent[1])
        return Declared.DONE if share >= 100 else Declared.TODO if share == 0 else Declared.PARTIAL
    return next((status for pattern, status in _PHRASES if pattern.search(text)), None)


_PRIORITIES: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(pattern), level)
    for level, pattern in enumerate(
        (
            r"критич\w*|критическ\w*|critical|urgent|срочн\w*|blocker|highest|p0",
            r"высок\w*|high|важн\w*|p1",
            r"средн\w*|medium|normal|обычн\w*|p2",
            r"низк\w*|low|minor|p3",
            r"lowest|someday|когда-нибудь|nice to have|p4",
        )
    )
)
_FILLER = re.compile(r"приоритет\w*|priorit\w*|tasks?|задач\w*|[^\w\s-]|\b[iv]+\b")


def priority_of(words: str) -> int | None:
    """0 (highest) to 4 for "P1", "high", "Высокий приоритет", "🔥 Критический"; None for any other phrase.

    The phrase must be a level and nothing else: "High-level design" is no priority.
    """
    text = " ".join(_FILLER.sub(" ", words.lower()).split())
    return next((level for pattern, level in _PRIORITIES if pattern.fullmatch(text)), None)


DETAIL_KEYS: dict[str, str] = {
    "owner": "owner", "владелец": "owner", "ответственный": "owner", "assignee": "owner", "исполнитель": "owner",
    "priority": "priority", "приоритет": "priority",
    "estimate": "estimate", "оценка": "estimate", "effort": "estimate",
    "commit": "commit", "коммит": "commit",
    "due": "due", "deadline": "due", "срок": "due",
    "updated": "updated", "обновлено": "updated", "created": "created", "создано": "created",
    "complexity": "complexity", "сложность": "complexity", "benefit": "benefit", "выгода": "benefit",
    "depends on": "needs", "depends": "needs", "needs": "needs", "blocked by": "needs",
    "зависит от": "needs", "зависимости": "needs", "блокируется": "needs",
}  # fmt: skip
"""Keys of detail lines ("- owner: codex") and the label each fills; "needs" goes to the item's needs."""

LOOKALIKES = str.maketrans("АВЕКМНОРСТУХавекмнорстух", "ABEKMHOPCTYXabekmhopctyx")
_CYRILLIC = re.compile(r"[Ѐ-ӿ]")


def latin_id(ext_id: str) -> str:
    """The id with Cyrillic letters that look Latin made Latin ("10А" to "10A"); a truly Cyrillic id as it is."""
    if ext_id.isascii():
        return ext_id
    latin = ext_id.translate(LOOKALIKES)
    return ext_id if _CYRILLIC.search(latin) else latin
