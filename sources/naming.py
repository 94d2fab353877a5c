"""What headings and table columns are called, in the languages of `sources.vocabulary`: which of them holds what."""

from __future__ import annotations

import re

from models.enums import Declared

LEGEND = re.compile(
    r"легенд|legend|légende|leyenda|обозначени|позначенн|условные|умовні|формат|\bformat|\bkey\b|статус|status|estados?\b|"
    r"\bnotation|zeichen|图例|说明|凡例|범례|göstergeler",
    re.IGNORECASE,
)
TEMPLATE = re.compile(
    r"\btemplate\b|\bшаблон\b|\(reference\)|\(example\)|\(пример\)|\(приклад\)|\bобразец\b|\bзразок\b|\bvorlage\b|\bmuster\b|"
    r"\bbeispiel\b|\bmodèle\b|\bgabarit\b|\bexemple\b|\bplantilla\b|\bejemplo\b|\bmodelo\b|\bexemplo\b|\bmodello\b|\besempio\b|"
    r"\bsjabloon\b|\bvoorbeeld\b|\bszablon\b|\bprzykład\b|\bwzór\b|\bşablon\b|\börnek\b|模板|示例|テンプレート|例\b|템플릿",
    re.IGNORECASE,
)

_DECORATION = re.compile(r"^[\W\d_]+|[\W_]+$")
_COUNT = re.compile(r"\s*[(\[【（]\s*\d+(?:\s*/\s*\d+)?\s*[)\]】）]\s*$|\s*[:—–-]\s*\d+\s*$")
_LANES: dict[Declared, tuple[str, ...]] = {
    Declared.TODO: (
        "todo", "to do", "to-do", "todos", "to dos", "open", "backlog", "ideas", "icebox", "inbox", "next", "next up", "up next",
        "now", "soon", "later", "someday", "someday maybe", "planned", "upcoming", "ready", "ready for dev", "ready to start",
        "selected", "selected for development", "new", "queue", "queued", "pending", "not started", "today", "tomorrow",
        "this week", "next week", "this month", "wishlist", "wish list",
        "к выполнению", "сделать", "надо сделать", "нужно сделать", "бэклог", "беклог", "идеи", "запланировано", "план",
        "в планах", "открыто", "открытые", "очередь", "в очереди", "далее", "дальше", "позже", "не начато", "новые", "сегодня",
        "зробити", "до виконання", "заплановано", "ідеї", "відкриті", "черга",
        "offen", "zu erledigen", "zu tun", "geplant", "ideen", "als nächstes", "später", "heute", "anstehend", "offene punkte",
        "à faire", "a faire", "idées", "prévu", "à venir", "plus tard", "ouvert", "en file",
        "por hacer", "pendiente", "pendientes", "ideas pendientes", "planificado", "próximo", "próximos", "después", "hoy",
        "a fazer", "fazer", "pendente", "pendentes", "planejado", "ideias", "próximas", "próximo passo", "para fazer", "hoje",
        "da fare", "idee", "pianificato", "prossimi", "in programma", "più tardi",
        "te doen", "gepland", "ideeën", "do zrobienia", "zaplanowane", "pomysły", "zaległe",
        "yapılacak", "yapılacaklar", "yapılacak işler", "planlanan", "fikirler", "sırada",
        "待办", "待办事项", "待处理", "未开始", "计划", "计划中", "想法", "待做", "需求池", "未着手", "やること", "予定", "アイデア",
        "バックログ", "할 일", "예정", "아이디어", "백로그",
    ),
    Declared.IN_PROGRESS: (
        "doing", "in progress", "in-progress", "in work", "wip", "work in progress", "started", "active", "current", "ongoing",
        "underway", "under way", "in flight", "working on", "in development", "review", "in review", "code review", "needs review",
        "reviewing", "to review", "qa", "testing", "in testing", "in qa", "verify", "verifying", "staging",
        "в работе", "в процессе", "делаю", "делаем", "выполняется", "на проверке", "на ревью", "ревью", "тестирование", "сейчас",
        "в тестировании", "в роботі", "в процесі", "робиться", "на перевірці", "зараз",
        "in arbeit", "in bearbeitung", "laufend", "läuft", "begonnen", "in prüfung", "im test", "aktuell",
        "en cours", "en train", "en revue", "en relecture", "à vérifier", "en test", "en curso", "en progreso", "en proceso", "haciendo",
        "en revisión", "em andamento", "em progresso", "em curso", "fazendo", "em revisão", "em teste", "in corso", "in lavorazione",
        "in revisione", "bezig", "mee bezig", "in uitvoering", "w toku", "w trakcie", "w realizacji", "do sprawdzenia", "yapılıyor",
        "devam eden", "devam edenler", "devam ediyor", "incelemede", "进行中", "处理中", "开发中", "正在进行", "审核中", "测试中",
        "進行中", "作業中", "対応中", "レビュー中", "レビュー", "진행 중", "진행중", "검토 중",
    ),
    Declared.BLOCKED: (
        "blocked", "on hold", "waiting", "waiting for", "waiting on", "paused", "stuck", "blockers", "hold", "deferred", "postponed",
        "заблокировано", "ожидание", "ждём", "ждем", "на паузе", "отложено", "заблоковано", "очікування", "на паузі", "відкладено",
        "blockiert", "wartet", "wartend", "zurückgestellt", "pausiert", "bloqué", "en attente", "suspendu", "bloqueado",
        "bloqueados", "en espera", "em espera", "aguardando", "bloccato", "in attesa", "sospeso", "geblokkeerd", "in de wacht",
        "zablokowane", "wstrzymane", "oczekujące", "engellendi", "beklemede", "bekleyen", "阻塞", "受阻", "等待", "等待中", "暂停", "搁置",
        "ブロック", "ブロック中", "保留", "待ち", "차단됨", "보류", "대기 중",
    ),
    Declared.DONE: (
        "done", "completed", "complete", "finished", "closed", "shipped", "released", "deployed", "resolved", "archive", "archived",
        "merged", "done this week", "recently done", "recently completed",
        "готово", "сделано", "выполнено", "завершено", "закрыто", "архив", "готовые", "зроблено", "виконано", "архів", "закрито",
        "erledigt", "fertig", "abgeschlossen", "archiv", "fait", "terminé", "terminés", "fini", "archivé", "archives", "livré",
        "hecho", "hechos", "terminado", "completado", "completados", "finalizado", "archivo", "listo", "feito", "feitos", "concluído",
        "concluídos", "concluídas", "finalizados", "arquivo", "pronto", "fatto", "completato", "completati", "finito", "archivio", "chiuso",
        "klaar", "gedaan", "afgerond", "archief", "zrobione", "gotowe", "ukończone", "zakończone", "archiwum", "bitti", "tamamlandı",
        "tamamlanan", "tamamlananlar", "yapıldı", "arşiv", "完成", "已完成", "完了", "済", "已归档", "归档", "アーカイブ", "完了済み", "완료",
        "완료됨", "보관",
    ),
    Declared.SKIPPED: (
        "cancelled", "canceled", "skipped", "dropped", "rejected", "won't do", "wont do", "won't fix", "wontfix", "abandoned", "discarded",
        "отменено", "отклонено", "не делаем", "скасовано", "відхилено", "abgebrochen", "verworfen", "abgelehnt", "annulé", "abandonné",
        "cancelado", "cancelados", "descartado", "descartados", "annullato", "scartato", "geannuleerd", "anulowane", "odrzucone",
        "iptal", "iptal edildi", "取消", "已取消", "放弃", "中止", "キャンセル", "취소", "취소됨",
    ),
}  # fmt: skip
_LANE = {name: status for status, names in _LANES.items() for name in names}


def lane_of(title: str) -> Declared | None:
    """Status that a lane's heading names ("🚧 In Progress (3)", "Erledigt", "待办"), None for any other heading."""
    if len(title) > 60:
        return None
    name = _COUNT.sub("", title.replace("*", "").replace("`", "").strip())
    name = " ".join(_DECORATION.sub("", name).replace("_", " ").replace("’", "'").casefold().split())
    return _LANE.get(name) or _LANE.get(name.removesuffix(" tasks").removesuffix(" items"))


NUMBER_COLUMN = re.compile(
    r"(?:№|#|no\.?|n|nr\.?|n[°ºr]\.?|num\.?|nº|id|key|п/п|№ ?п/п|lp\.?|l\.p\.|sıra|序号|编号|番号|번호|код|ключ|code)",
    re.IGNORECASE,
)
STATUS_COLUMN = re.compile(
    r"(?:статус|status|состояние|стан|state|готово\??|done\??|готовность|результат|result|progress|прогресс|прогрес|stand|zustand|"
    r"fortschritt|erledigt\??|ergebnis|statut|état|avancement|fait\s?\??|estado|situación|situação|progreso|progresso|hecho\??|feito\??|"
    r"stato|avanzamento|fatto\??|staat|voortgang|klaar\??|postęp|zrobione\??|durum|ilerleme|状态|進捗|进度|完成情况|完成|是否完成|状態|"
    r"ステータス|状況|完了|상태|진행|진행\s?상황|✓|✔|✅|☑|completed\??|complete\??|%|ok\??|выполнено\??|сделано\??|виконано\??)\W*",
    re.IGNORECASE,
)
CHECK_COLUMN = re.compile(
    r"\b(?:провер\w+|перевір\w+|check\w*|тест\w*|tests?|критери\w+|критері\w+|criteri\w+|требовани\w+|вимог\w+|requirements?|"
    r"prüf\w+|kriteri\w+|anforderung\w*|vérification\w*|contrôles?|critères?|exigences?|comprobaci\w+|verificaci\w+|pruebas?|criterios?|"
    r"requisit\w+|verificaç\w+|testes?|critérios?|verific[ah]e?|controll[oi]|prov[ae]|sprawdz\w+|kryteri\w+|wymagani\w+|kontrol\w*)"
    r"|检查|测试|验收|要求|確認|チェック|検証|テスト|要件|확인|검사|테스트",
    re.IGNORECASE,
)
WORK_COLUMN = re.compile(
    r"\b(?:пункт\w*|план\w*|задач\w+|шаг\w*|действи\w+|что\s+сделать|фич\w+|этап\w*|работ[аы]|завдан\w+|крок\w*|ді[яї]|що\s+зробити|"
    r"plan|tasks?|steps?|items?|actions?|to-?do|what\s+to\s+do|what|features?|track|work|deliverables?|stor(?:y|ies)|tickets?|issues?|"
    r"activit(?:y|ies)|milestones?|goals?|objectives?|stages?|phases?|epics?|bugs?|chores?|"
    r"aufgaben?|schritte?|maßnahmen?|massnahmen?|was|arbeitspakete?|punkte?|vorg[aä]ng\w*|thema|themen|meilensteine?|ziele?|"
    r"tâches?|étapes?|fonctionnalités?|jalons?|objectifs?|quoi|sujets?|tareas?|pasos?|acci[oó]n\w*|actividad\w*|hitos?|qué|tarefas?|passos?|"
    r"aç(?:ão|ões)|atividades?|etapas?|marcos?|attivit\w+|compit\w+|azion[ei]|fas[ei]|cosa|taken?|stappen|acties?|zadani[ea]|kroki?|"
    r"czynnoś\w+|etapy?|co|görev\w*|iş|işler|adım\w*)\b|任务|事项|步骤|工作|功能|内容|项目|里程碑|タスク|作業|項目|課題|ステップ|機能|작업|할\s?일|항목|단계",
    re.IGNORECASE,
)
OWNER_COLUMN = re.compile(
    r"(?:кто|хто|who|owner|владелец|ответственн\w+|відповідальн\w+|assignee|assigned(?: to)?|исполнитель|виконавець|wer|verantwortlich\w*|"
    r"zuständig\w*|qui|responsables?|quién|encargad[oa]|responsável|quem|chi|responsabile|wie|odpowiedzialn\w+|kto|sorumlu|"
    r"负责人|担当者?|담당자?)\W*",
    re.IGNORECASE,
)
