"""The marks and words that boards use for a status, a priority and a detail, in the languages boards are written in.

Languages: English, Russian, Ukrainian, German, French, Spanish, Portuguese, Italian, Dutch, Polish, Turkish, Chinese,
Japanese, Korean. A language is data here and nowhere else; what a heading or a column may be called is in
`sources.naming`.
"""

# ruff: noqa: E501 (tables of words read better wide)

from __future__ import annotations

import re

from models.enums import Declared

MARKS: dict[str, Declared] = {
    "": Declared.TODO,
    **dict.fromkeys("xX✓✔☑✅🗸vVхХ+", Declared.DONE),  # the two letters before the plus are Cyrillic
    **dict.fromkeys("~/", Declared.IN_PROGRESS),
    **dict.fromkeys("-—–", Declared.SKIPPED),
    "!": Declared.BLOCKED,
}
ODD_MARKS = frozenset('?>*<.=хХ"')
"""Read as an item all the same, with a finding: the mark has no agreed meaning, or is a letter that looks like x."""

GLYPHS: dict[str, Declared] = {
    **dict.fromkeys("☐□⬜🔲", Declared.TODO),
    **dict.fromkeys("☑🗹☒", Declared.DONE),
}
"""Signs that are a box by themselves: `☐ text`."""

_WORDS: dict[Declared, str] = {
    Declared.PARTIAL: (
        r"частичн|частков|\bpartial|\bpartly\b|половин|\balmost\b|\bhalf\b|почти|\bteilweise\b|\bpartiel|\ben partie\b|"
        r"\bparcial|\bparzial|\bgedeeltelijk\b|\bczęściow|\bkısmen\b|部分|一部|부분"
    ),
    Declared.SKIPPED: (
        r"отмен[её]н|пропущен|отклонен|не\s+требуется|неактуальн|скасован|відхилен|\bskipped\b|\bcancell?ed\b|\bdropped\b|"
        r"\bwon'?t\b|\babandoned\b|\brejected\b|\bobsolete\b|\bn/a\b|\babgebrochen\b|\bverworfen\b|\bentfällt\b|"
        r"\bübersprungen\b|\bgestrichen\b|\babgelehnt\b|\bannul[ée]|\babandonn|\brejet|\bignor[ée]|\bcancelad|\bdescartad|"
        r"\bomitid|\banulad|\bannullat|\bscartat|\bsaltat|\bgeannuleerd\b|\bvervallen\b|\banulowan|\bpominięt|\bodrzucon|"
        r"\biptal\b|\batlandı\b|取消|跳过|放弃|作废|中止|キャンセル|スキップ|却下|見送り|취소|건너뜀|➖|⏭|🗑"
    ),
    Declared.BLOCKED: (
        r"(?<!un)\bblocked\b|заблокир|на\s+паузе|приостановл|отложен|ожидает|заблокован|призупинен|очікує|\bon\s+hold\b|"
        r"\bwaiting\b|\bpaused\b|\bstuck\b|\bdeferred\b|\bpostponed\b|\bblockiert\b|\bwartet\b|\bwartend\b|\bpausiert\b|"
        r"\bhängt\b|\bzurückgestellt\b|\bbloqu[ée]|\ben attente\b|\bsuspendu|\bbloquead|\ben espera\b|\ben pausa\b|\bem espera\b|"
        r"\baguardando\b|\bpausad|\bbloccat|\bin attesa\b|\bsospes[oai]\b|\bgeblokkeerd\b|\bin de wacht\b|\bwacht\b|"
        r"\bzablokowan|\bwstrzyman|\boczekuj|\bengellendi\b|\bbekle[mn]ede\b|\bbekliyor\b|阻塞|受阻|等待|暂停|搁置|卡住|"
        r"ブロック|保留|待ち|停止中|차단|보류|대기|⛔|🚫|🛑|⏸|🔒"
    ),
    Declared.IN_PROGRESS: (
        r"\bв\s+работе|в\s+процессе|\bначат|выполняется|\bделаем\b|\bделаю\b|\bделается|на\s+проверке|на\s+ревью|\bв\s+роботі|в\s+процесі|"
        r"виконується|розпочат|\bin[ _-]progress\b|\bwip\b|\bongoing\b|\bdoing\b|\bstarted\b|\bactive\b|\bunder\s?way\b|"
        r"\b(?:in\s+|under\s+|code\s+)?review\b|\b(?:in\s+)?testing\b|\bin\s+arbeit\b|\bin\s+bearbeitung\b|\bläuft\b|\blaufend|"
        r"\bbegonnen\b|\bangefangen\b|\bin\s+prüfung\b|\ben\s+cours\b|\bcommencé|\bdémarré|\ben\s+(?:curso|progreso|proceso|"
        r"marcha|revisión)\b|\bempezad|\biniciad[oa]|\bem\s+(?:andamento|progresso|curso|execução|revisão)\b|\bfazendo\b|"
        r"\bin\s+corso\b|\biniziat|\bin\s+lavorazione\b|\bbezig\b|\bin\s+uitvoering\b|\bw\s+(?:toku|trakcie|realizacji)\b|"
        r"\brozpoczęt|\bdevam\s+ediyor\b|\byapılıyor\b|\bsürüyor\b|进行中|处理中|开发中|正在|进行|审核中|進行中|作業中|対応中|着手|"
        r"レビュー中|진행|작업\s?중|🔄|🚧|⏳|🟡|🏗|🔨|▶|🔵|👷|🏃"
    ),
    Declared.TODO: (
        r"\bto\s?-?do\b|заплан|ожида|открыт|\bnot\s+started\b|\bне\s+начат|\bincomplete\b|\bunfinished\b|\bplanned\b|\bopen\b|"
        r"\bpending\b|\bnew\b|\bqueued\b|\bscheduled\b|\bbacklog\b|\bupcoming\b|\bmissing\b|відкрит|\bнове?\b|\bнов(?:ая|ый|ое)\b|"
        r"\boffen|\bzu\s+erledigen\b|\bgeplant\b|\bausstehend\b|\banstehend\b|\bneu\b|\bà\s+faire\b|\bouvert|\bprévu|\bplanifié|"
        r"\bnouveau\b|\bpor\s+hacer\b|\bpendiente|\babiert[oa]|\bplanificad|\bsin\s+(?:empezar|hacer|iniciar)\b|\ba\s+fazer\b|"
        r"\bpendente|\babert[oa]|\bplanejad|\bda\s+fare\b|\bapert[oa]|\bpianificat|\bte\s+doen\b|\bgepland\b|\bdo\s+zrobienia\b|"
        r"\botwart|\bzaplanowan|\bnow[ey]\b|\byapılacak|\baçık\b|\bplanlan|\bbaşlamadı\b|待办|待处理|待开始|待定|未|计划|待做|没|予定|"
        r"新規|할\s?일|예정|미완료|미정|❌|⬜|🔲|☐|🔴|⚪|🆕|⭕"
    ),
    Declared.DONE: (
        r"✅|✔|✓|☑|🟢|🎉|💯|^ок$|^ok$|^\+$|^x$|^х$|^да$|^yes$|^y$|^так$|^ja$|^oui$|^sí$|^si$|^sim$|^sì$|^tak$|^evet$|^是$|完成|完毕|已|"
        r"完了|済|終了|クローズ|完|완료|끝"
    ),
}
_DONE = (
    r"(?:выполнен\w*|сделан\w*|готов\w?|завершен\w*|завершён\w*|реализован\w*|закрыт\w*|решен[оа]?|исправлен\w*|"
    r"виконан\w*|зроблен\w*|завершен\w*|закрит\w*|"
    r"done|completed?|finished|closed|implemented|shipped|merged|passed|resolved|fixed|released|deployed|delivered|"
    r"erledigt|fertig\w*|abgeschlossen|getan|umgesetzt|geschlossen|behoben|gelöst|"
    r"faite?s?|terminée?s?|finie?s?|achevée?s?|close?s?|livrée?s?|réalisée?s?|résolue?s?|"
    r"hech[oa]s?|terminad[oa]s?|completad[oa]s?|finalizad[oa]s?|list[oa]s?|cerrad[oa]s?|resuelt[oa]s?|"
    r"feit[oa]s?|concluíd[oa]s?|complet[oa]s?|pront[oa]s?|fechad[oa]s?|resolvid[oa]s?|"
    r"fatt[oaie]|completat[oaie]|finit[oaie]|terminat[oaie]|chius[oaie]|risolt[oaie]|"
    r"klaar|gedaan|afgerond|voltooid|gereed|zrobion[eyao]|gotow[eyao]|ukończon[eyao]|zakończon[eyao]|wykonan[eyao]|zamknięt[eyao]|"
    r"bitti|tamamlandı|yapıldı|tamam|kapandı|çözüldü)"
)
_NOT = (
    r"(?:\bне|\bнет|\bnot|\bnicht|\bnoch\s+nicht|\bpas|\bnon|\bno|\bnie|\bniet|\bnão|\bsin|\bще\s+не|\bещ[её]\s+не)"
    r"\s+(?:yet\s+|до\s*|encore\s+|aún\s+|ainda\s+|ancora\s+|jeszcze\s+|ganz\s+|vollständig\s+)?"
)
_BEGUN = r"(?:начат\w*|розпочат\w*|started|begonnen|angefangen|commencée?s?|démarrée?s?|iniciad[oa]s?|empezad[oa]s?|iniziat[oaie]|rozpoczęt[eyao])"

_PHRASES: tuple[tuple[re.Pattern[str], Declared], ...] = tuple(
    (re.compile(pattern), status)
    for pattern, status in (
        (_WORDS[Declared.PARTIAL], Declared.PARTIAL),
        (rf"{_NOT}(?:{_DONE}|{_BEGUN})\b|недо{_DONE}\b|\bнезаверш|(?:未|没有?|尚未)(?:完成|完了|开始|着手|対応|済)|미완료|\bbaşlamadı\b"
         r"|\bnierozpoczęt|\bnot\s+started\b|\bincomplete\b|\bunfinished\b|\bunerledigt\b|\binachevé", Declared.TODO),
        (_WORDS[Declared.SKIPPED], Declared.SKIPPED),
        (_WORDS[Declared.BLOCKED], Declared.BLOCKED),
        (_WORDS[Declared.IN_PROGRESS], Declared.IN_PROGRESS),
        (rf"\b{_DONE}\b", Declared.DONE),
        (r"^(?:нет|no|n|ні|nein|non|não|nie|hayır|否|-|—|–)$", Declared.TODO),
        (r"待办|待处理|待开始|待定|待做|计划|予定", Declared.TODO),
        (_WORDS[Declared.DONE], Declared.DONE),
        (_WORDS[Declared.TODO], Declared.TODO),
    )
)  # fmt: skip
_PERCENT = re.compile(
    r"^\W{0,40}?(\d{1,3})(?:[.,]\d{1,6})?\s*[%٪％]"
)  # a bar may stand before it: ▓▓▓░░ 60 %
_FRACTION = re.compile(
    r"^\W{0,40}?(\d{1,5})\s*(?:/|of|из|з|von|sur|de|di|van|z)\s*(\d{1,5})(?:\s+[^\W\d_]+){0,3}\W{0,3}$"
)
_BOX = re.compile(r"\[(.?)\]")
_SIGNS = re.compile(r"[^\w\s'’/+-]+")
_SHORTCODES = {
    "white check mark": "✅", "heavy check mark": "✅", "ballot box with check": "✅", "x": "❌", "construction": "🚧",
    "no entry": "⛔", "hourglass flowing sand": "⏳", "black square button": "⬜", "white large square": "⬜",
}  # fmt: skip


def status_of(cell: str) -> Declared | None:
    """Status of a table cell or a short phrase ("**СДЕЛАНО**", "in Arbeit", "✅", "60 %", "2/5"), else None.

    A negation goes before what it negates and "partly" before "done": "не выполнено" is not done.
    """
    text = cell.replace("*", "").replace("`", "").replace("_", " ").replace("~~", "").strip()[:200].lower()
    text = text.replace("i\u0307", "i")  # a Turkish capital İ becomes two characters
    if not text:
        return None
    if box := _BOX.fullmatch(text):
        return MARKS.get(box[1].strip())
    if text[0] == ":" and (sign := _SHORTCODES.get(text.partition(":")[2].partition(":")[0])):
        text = sign
    if percent := _PERCENT.match(text):
        share = int(percent[1])
        return Declared.DONE if share >= 100 else Declared.TODO if share == 0 else Declared.PARTIAL
    if fraction := _FRACTION.match(text):
        part, whole = int(fraction[1]), int(fraction[2])
        return (
            None
            if not whole
            else Declared.DONE
            if part >= whole
            else Declared.PARTIAL
            if part
            else Declared.TODO
        )
    words = _SIGNS.sub(" ", text).strip()
    for said in (words, text) if words and words != text else (text,):  # "⏳ Pending": the word says more
        if (
            found := next((status for pattern, status in _PHRASES if pattern.search(said)), None)
        ) is not None:
            return found
    return None


STATES: dict[str, Declared] = {
    **dict.fromkeys(("TODO", "TO DO", "OPEN", "PLANNED", "NEW", "PENDING", "NEXT"), Declared.TODO),
    **dict.fromkeys(
        ("НЕ НАЧАТО", "НЕ СДЕЛАНО", "К ВЫПОЛНЕНИЮ", "ЗАПЛАНИРОВАНО", "ОТКРЫТО", "ЗАПЛАНОВАНО", "ВІДКРИТО"),
        Declared.TODO,
    ),
    **dict.fromkeys(
        (
            "OFFEN",
            "GEPLANT",
            "À FAIRE",
            "A FAIRE",
            "PENDIENTE",
            "POR HACER",
            "A FAZER",
            "PENDENTE",
            "DA FARE",
        ),
        Declared.TODO,
    ),
    **dict.fromkeys(("DO ZROBIENIA", "YAPILACAK", "待办", "未着手", "未开始", "할 일"), Declared.TODO),
    **dict.fromkeys(
        ("IN PROGRESS", "WIP", "DOING", "STARTED", "ACTIVE", "REVIEW", "IN REVIEW"), Declared.IN_PROGRESS
    ),
    **dict.fromkeys(("В РАБОТЕ", "В ПРОЦЕССЕ", "В РОБОТІ", "В ПРОЦЕСІ", "НАЧАТО"), Declared.IN_PROGRESS),
    **dict.fromkeys(
        ("IN ARBEIT", "IN BEARBEITUNG", "LÄUFT", "EN COURS", "EN CURSO", "EN PROGRESO", "EM ANDAMENTO"),
        Declared.IN_PROGRESS,
    ),
    **dict.fromkeys(
        ("EM PROGRESSO", "EM CURSO", "IN CORSO", "W TOKU", "DEVAM EDIYOR", "进行中", "進行中", "진행 중"),
        Declared.IN_PROGRESS,
    ),
    **dict.fromkeys(
        ("BLOCKED", "ON HOLD", "WAITING", "ЗАБЛОКИРОВАНО", "ОЖИДАЕТ", "ЗАБЛОКОВАНО"), Declared.BLOCKED
    ),
    **dict.fromkeys(
        (
            "BLOCKIERT",
            "BLOQUÉ",
            "BLOQUE",
            "BLOQUEADO",
            "BLOQUEADA",
            "BLOCCATO",
            "ZABLOKOWANE",
            "阻塞",
            "保留",
        ),
        Declared.BLOCKED,
    ),
    **dict.fromkeys(("DONE", "COMPLETED", "COMPLETE", "FINISHED", "CLOSED", "FIXED"), Declared.DONE),
    **dict.fromkeys(("СДЕЛАНО", "ГОТОВО", "ВЫПОЛНЕНО", "ЗАВЕРШЕНО", "ЗАКРЫТО"), Declared.DONE),
    **dict.fromkeys(("ЗРОБЛЕНО", "ВИКОНАНО", "ЗАКРИТО"), Declared.DONE),
    **dict.fromkeys(
        ("ERLEDIGT", "FERTIG", "FAIT", "TERMINÉ", "HECHO", "TERMINADO", "FEITO", "CONCLUÍDO", "FATTO"),
        Declared.DONE,
    ),
    **dict.fromkeys(("ZROBIONE", "GOTOWE", "TAMAMLANDI", "完成", "已完成", "完了", "완료"), Declared.DONE),
    **dict.fromkeys(("SKIPPED", "CANCELLED", "CANCELED", "DROPPED", "WONTFIX", "REJECTED"), Declared.SKIPPED),
    **dict.fromkeys(("ОТМЕНЕНО", "ПРОПУЩЕНО", "СКАСОВАНО", "ПРОПУЩЕНО"), Declared.SKIPPED),
    **dict.fromkeys(
        ("ABGEBROCHEN", "ENTFÄLLT", "ANNULÉ", "CANCELADO", "CANCELADA", "ANNULLATO", "ANULOWANE", "取消"),
        Declared.SKIPPED,
    ),
    **dict.fromkeys(
        (
            "PARTIAL",
            "PARTIALLY DONE",
            "PARTLY DONE",
            "ЧАСТИЧНО",
            "ЧАСТКОВО",
            "TEILWEISE",
            "PARTIEL",
            "PARCIAL",
        ),
        Declared.PARTIAL,
    ),
}


def state_of(mark: str) -> Declared | None:
    """Status of a [STATE] mark, None for any other word in brackets."""
    return STATES.get(" ".join(mark.replace("_", " ").replace("-", " ").upper().split()))


_PRIORITIES: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(pattern), level)
    for level, pattern in enumerate(
        (
            r"критич\w*|критическ\w*|critical|urgent\w*|срочн\w*|терміново|термінов\w*|blocker|highest|very high|p0|kritisch\w*|"
            r"dringend\w*|critique\w*|crític[oa]s?|critic[oaie]|urgente\w*|pilne|krytyczn\w*|acil|kritik|紧急|緊急|最高|긴급",
            r"высок\w*|high|важн\w*|висок\w*|важлив\w*|important|p1|hoh\w*|hoch|wichtig\w*|haute?s?|élevée?s?|alt[oai]s?|"
            r"hoge?|wysok\w*|yüksek|高|重要|높음",
            r"средн\w*|середн\w*|medium|normal\w*|обычн\w*|p2|mittel\w*|mittlere|moyenne?s?|medi[oai]s?|médi[oa]s?|gemiddeld\w*|"
            r"średni\w*|orta|中|普通|보통",
            r"низк\w*|низьк\w*|low|minor|p3|niedrig\w*|gering\w*|basse?s?|faibles?|baj[oa]s?|baix[oa]s?|bass[oaie]|lage?|nisk\w*|"
            r"düşük|低|낮음",
            r"lowest|someday|maybe|когда-нибудь|колись|nice to have|p4|irgendwann|un jour|algún día|最低",
        )
    )
)
_FILLER = re.compile(
    r"приоритет\w*|пріоритет\w*|priorit\w*|prioriteit|prioridad\w*|priorytet\w*|öncelik\w*|priorité\w*|优先级?|優先度?|우선순위|"
    r"\btasks?\b|задач\w*|завдан\w*|\baufgaben?\b|\btâches?\b|\btareas?\b|\btarefas?\b|\bde\b|\bà\b|任务|タスク|[^\w\s-]|\b[iv]+\b"
)


def priority_of(words: str) -> int | None:
    """0 (highest) to 4 for "P1", "high", "Высокий приоритет", "Hohe Priorität", "🔥 Критический"; None for any other phrase.

    The phrase must be a level and nothing else: "High-level design" is no priority.
    """
    if len(words) > 100:
        return None
    text = " ".join(_FILLER.sub(" ", words.lower()).split())
    return next((level for pattern, level in _PRIORITIES if pattern.fullmatch(text)), None)


DETAIL_KEYS: dict[str, str] = {
    **dict.fromkeys((
        "owner", "assignee", "assigned to", "lead", "владелец", "ответственный", "исполнитель", "відповідальний", "виконавець",
        "verantwortlich", "zuständig", "responsable", "assigné", "asignado", "responsável", "responsabile", "odpowiedzialny",
        "sorumlu", "负责人", "担当", "担当者", "담당자",
    ), "owner"),
    **dict.fromkeys((
        "priority", "приоритет", "пріоритет", "priorität", "priorité", "prioridad", "prioridade", "priorità", "priorytet",
        "öncelik", "优先级", "優先度", "우선순위",
    ), "priority"),
    **dict.fromkeys((
        "estimate", "effort", "оценка", "оцінка", "aufwand", "schätzung", "estimation", "estimación", "estimativa", "stima",
        "estymacja", "tahmin", "估时", "工时", "見積", "예상",
    ), "estimate"),
    **dict.fromkeys(("commit", "коммит", "коміт", "提交", "コミット", "커밋"), "commit"),
    **dict.fromkeys((
        "due", "deadline", "due date", "срок", "термін", "дедлайн", "fällig", "frist", "échéance", "vencimiento", "fecha límite",
        "prazo", "scadenza", "termin", "截止", "截止日期", "期限", "締切", "마감",
    ), "due"),
    **dict.fromkeys((
        "updated", "last updated", "обновлено", "обновлена", "обновлён", "обновлен", "оновлено", "aktualisiert", "mis à jour",
        "mise à jour", "actualizado", "actualizada", "atualizado", "atualizada", "aggiornato", "aggiornata", "bijgewerkt",
        "zaktualizowano", "aktualizacja", "güncellendi", "güncelleme", "更新", "更新日", "更新时间", "업데이트",
    ), "updated"),
    **dict.fromkeys((
        "created", "создано", "створено", "erstellt", "créé", "creado", "criado", "creato", "aangemaakt", "utworzono",
        "oluşturuldu", "创建", "作成", "作成日", "생성",
    ), "created"),
    "complexity": "complexity", "сложность": "complexity", "komplexität": "complexity", "складність": "complexity",
    "benefit": "benefit", "выгода": "benefit",
    **dict.fromkeys((
        "depends on", "depends", "dependencies", "dependency", "needs", "requires", "blocked by", "after", "waits for",
        "зависит от", "зависимости", "блокируется", "после", "залежить від", "залежності", "після", "abhängig von",
        "abhängigkeiten", "hängt ab von", "blockiert durch", "nach", "dépend de", "dépendances", "bloqué par", "après",
        "depende de", "dependencias", "dependências", "bloqueado por", "después de", "depois de", "dipende da", "dipendenze",
        "zależy od", "zależności", "bağımlılıklar", "依赖", "依赖于", "前置", "依存", "의존",
    ), "needs"),
}  # fmt: skip
"""Keys of detail lines ("- owner: codex") and the label each fills; "needs" goes to the item's needs."""

NEEDS_WORDS = (
    r"depends\s+on|blocked\s+by|requires|needs|after|waits\s+for|зависит\s+от|блокируется|после|залежить\s+від|після|"
    r"h[äa]ngt\s+ab\s+von|abh[äa]ngig\s+von|blockiert\s+durch|nach|d[ée]pend\s+de|bloqu[ée]\s+par|apr[èe]s|depende\s+de|"
    r"bloqueado\s+por|despu[ée]s\s+de|depois\s+de|dipende\s+da|dopo|zale[żz]y\s+od|po|依赖于?|依存"
)
"""What stands before the ids of needs inside a line: "(depends on: A-1, A-2)". The ids after it must be ids only."""

LOOKALIKES = str.maketrans("АВЕКМНОРСТУХавекмнорстух", "ABEKMHOPCTYXabekmhopctyx")
_CYRILLIC = re.compile(r"[Ѐ-ӿ]")


def latin_id(ext_id: str) -> str:
    """The id with Cyrillic letters that look Latin made Latin ("10А" to "10A"); a truly Cyrillic id as it is."""
    if ext_id.isascii():
        return ext_id
    latin = ext_id.translate(LOOKALIKES)
    return ext_id if _CYRILLIC.search(latin) else latin
