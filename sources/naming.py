"""What headings and table columns are called, in the languages of `sources.vocabulary`: which of them holds what."""

# ruff: noqa: E501 (tables of words read better wide)

from __future__ import annotations

import re

from models.enums import Declared

LEGEND = re.compile(
    r"легенд|legend|légende|leyenda|обозначени|позначенн|условные|умовні|формат|\bformat|\bkey\b|статус|status|estados?\b|"
    r"\bnotation|zeichen|图例|说明|凡例|범례|göstergeler",
    re.IGNORECASE,
)
LEGEND_ALONE = re.compile(
    r"\W*(?:legend\w*|légende|leyenda|легенд\w*|(?:условные )?обозначени\w*|(?:умовні )?позначенн\w*|marks?|key|notation|"
    r"what the (?:marks|boxes|states) mean|states?|statuses|статусы|zeichenerklärung|图例|凡例|범례)\W*",
    re.IGNORECASE,
)
"""A heading that promises an explanation of the marks and nothing else."""
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
        "a fazer", "fazer", "pendente", "pendentes", "planejado", "ideias", "próximas", "para fazer", "hoje",
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
        "merged", "done this week", "recently done", "recently completed", "published", "live", "delivered",
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
        "отменено", "отклонено", "не делаем", "скасовано", "відхилено", "abgebrochen", "verworfen", "abgelehnt", "gestrichen", "entfällt", "entfallen", "annulé", "abandonné",
        "cancelado", "cancelados", "descartado", "descartados", "annullato", "scartato", "annullati", "scartati", "geannuleerd", "anulowane", "odrzucone",
        "iptal", "iptal edildi", "取消", "已取消", "放弃", "中止", "キャンセル", "취소", "취소됨",
    ),
}  # fmt: skip
_LANE = {name: status for status, names in _LANES.items() for name in names}
_PLAIN = frozenset((
    "open", "ideas", "inbox", "next", "now", "soon", "later", "new", "ready", "today", "tomorrow", "this week", "next week",
    "this month", "pending", "active", "current", "started", "testing", "review", "staging", "verify", "qa", "hold", "complete",
    "closed", "released", "live", "published", "archive", "archived", "archives", "merged", "resolved", "план", "идеи", "сегодня",
    "сейчас", "далее", "дальше", "позже", "новые", "архив", "тестирование", "ревью", "ідеї", "зараз", "архів", "ideen", "heute",
    "später", "aktuell", "archiv", "offene punkte", "idées", "plus tard", "à venir", "hoy", "después", "próximo", "próximos",
    "archivo", "pronto", "listo", "ideias", "hoje", "próximas", "arquivo", "idee", "archivio", "ideeën", "archief", "pomysły",
    "archiwum", "fikirler", "arşiv", "想法", "计划", "需求", "归档", "アイデア", "予定", "レビュー", "アーカイブ", "예정", "아이디어", "보관",
))  # fmt: skip
"""Names of lanes that headings of any document have, too: they make no board by themselves."""


def lane_of(title: str, *, loose: bool = False) -> Declared | None:
    """Status that a lane's heading names ("🚧 In Progress (3)", "Doing: research", "Erledigt", "待办"), None for any other.

    `loose` also reads what begins with such a name ("Waiting for guest"): for files that say they are boards.
    """
    if not (name := _lane_name(title)):
        return None
    if (status := _LANE.get(name)) is not None:
        return status
    first = re.split(r"\s*[:：|/]\s*|\s+[—–-]\s+", name, maxsplit=1)[0]
    if (status := _LANE.get(first)) is not None:
        return status
    words = name.split() if loose else []
    return next(
        (_LANE[head] for n in range(len(words) - 1, 0, -1) if (head := " ".join(words[:n])) in _LANE), None
    )


def is_plain(title: str) -> bool:
    """Is the lane's name one that headings of other documents have, too ("Today", "Archive")?"""
    return _lane_name(title) in _PLAIN


def _lane_name(title: str) -> str:
    if len(title) > 60:
        return ""
    name = _COUNT.sub("", title.replace("*", "").replace("`", "").strip())
    name = " ".join(_DECORATION.sub("", name).replace("_", " ").replace("’", "'").casefold().split())
    return (
        name if name in _LANE else name.removesuffix(" tasks").removesuffix(" items").removesuffix(" cards")
    )


PHASE_WORDS = (
    r"phase|stage|milestone|sprint|iteration|wave|фаза|этап|стадия|веха|спринт|итерация|волна|етап|стадія|віха|ітерація|хвиля|"
    r"etappe|meilenstein|[ée]tape|jalon|it[ée]ration|fase|etapa|hito|iteración|marco|iteração|tappa|traguardo|iterazione|"
    r"mijlpaal|iteratie|faza|etap|kamień\s+milowy|iteracja|aşama|evre|faz|kilometre\s+taşı"
)
"""What a phase is called, before its number or letter; the words without spaces between them are PHASE_SIGNS."""
PHASE_SIGNS = r"阶段|階段|里程碑|迭代|冲刺|フェーズ|ステージ|スプリント|マイルストーン|イテレーション|단계|페이즈|스프린트|마일스톤"
COMMIT_WORDS = r"commits?|коммиты?|коміти?|提交|コミット|커밋"
GOAL_WORDS = (
    r"goals?|objectives?|purpose|цель|цели|мета|ціль|ziele?|zweck|objectifs?|but|objetivos?|meta|obiettiv[oi]|scopo|doel|cele?|"
    r"hedef|amaç|目标|目的|目標|ゴール|목표"
)

COUNTED_WORDS = (
    r"задач|issue|task|weakness|слабост|проблем|замечани|finding|bug|баг|пункт|item|тикет|ticket|завдан|зауваж|aufgabe|vorg[aä]ng|"
    r"fehler|schwäche|tâche|problème|tarea|incidencia|punto|tarefa|problema|compit|attivit|ta(?:ak|ken)\b|zadań|zadani|zgłosze|görev|"
    r"sorun|个?任务|个?问题|项|件|個|개|건"
)
"""What issues are counted as: "20 tasks", "12 Aufgaben"; beginnings of words."""
ALL_WORDS = r"все|всех|all|всі|усі|alle|allen|toutes|tous|tod[ao]s|tutt[ei]|wszystkie|wszystkich|tüm"

NEXT_STEP = (
    r"(?:следующий\s+шаг|наступний\s+крок|next\s+step|n[äa]chster\s+schritt|prochaine\s+[ée]tape|(?:pr[óo]ximo|siguiente)\s+paso|"
    r"pr[óo]ximo\s+passo|(?:prossimo\s+passo|passo\s+successivo)|volgende\s+stap|(?:następny|kolejny)\s+krok|(?:sonraki|sıradaki)\s+adım|"
    r"下一步(?:行动|工作|任务|计划)?|次のステップ|次の一手|次にやること|次の作業|다음\s*단계)"
)
"""What the block of the one next step is called; a plural is a list and no step."""
NEXT_STEP_HEADING = re.compile(
    rf"^ {{0,3}}#{{1,6}}[^\S\n]\W{{0,20}}{NEXT_STEP}(?!\w)", re.MULTILINE | re.IGNORECASE
)

NUMBER_COLUMN = re.compile(
    r"(?:№|#|no\.?|n|nr\.?|n[°ºr]\.?|num\.?|nº|id|key|п/п|№ ?п/п|lp\.?|l\.p\.|sıra|序号|编号|番号|번호|код|ключ|code)",
    re.IGNORECASE,
)
STATUS_COLUMN = re.compile(
    r"(?:gotow[eya]\??|fertig\??|terminé\??|listo\??|pronto\??|gereed\??|tamamlandı\??|yapıldı\??|статус|status|состояние|стан|state|готово\??|done\??|готовность|результат|result|progress|прогресс|прогрес|stand|zustand|"
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
ISSUE_COLUMN = re.compile(
    r"#?\s*(?:issues?|tickets?|задач[аи]|тикеты?|задачі|завдання|тікети|aufgaben?|vorg[aä]nge?|tâches?|tareas?|incidencias?|"
    r"tarefas?|compiti|attività|segnalazioni|taken|zadania|zgłoszenia|görevler|sorunlar|任务|问题|工单|議題|課題|タスク|チケット|"
    r"イシュー|이슈|작업|티켓)",
    re.IGNORECASE,
)
PHASE_COLUMN = re.compile(rf"(?:{PHASE_WORDS}|{PHASE_SIGNS}|трек|track)", re.IGNORECASE)
OWNER_COLUMN = re.compile(
    r"(?:кто|хто|who|owner|владелец|ответственн\w+|відповідальн\w+|assignee|assigned(?: to)?|исполнитель|виконавець|wer|verantwortlich\w*|"
    r"zuständig\w*|qui|responsables?|quién|encargad[oa]|responsável|quem|chi|responsabile|wie|odpowiedzialn\w+|kto|sorumlu|"
    r"负责人|担当者?|담당자?)\W*",
    re.IGNORECASE,
)
STATUS_IN_HEADER = re.compile(
    r"\b(?:status|статус\w*|состояни[ея]|стан|state|statut|estado|stato|staat|stan|durum\w*|progress|fortschritt|stand)\b|状态|进度|状態|進捗|상태",
    re.IGNORECASE,
)
"""A longer header that speaks of a status ("Implementation status"): it is one where its cells are statuses."""
DATE_COLUMN = re.compile(
    r"\b(?:date|when|since|дата|когда|срок|коли|datum|wann|seit|quand|depuis|fecha|cuándo|quando|desde|data|dal|wanneer|kiedy|tarih|"
    r"ne zaman|version|версия)\b|日期|时间|日付|期日|날짜",
    re.IGNORECASE,
)
MEANING_COLUMN = re.compile(
    r"(?:meaning|description|explanation|what it means|значение|описание|пояснение|значення|опис|bedeutung|beschreibung|erklärung|"
    r"signification|sens|description|significado|descripción|descrição|significato|descrizione|betekenis|omschrijving|znaczenie|opis|"
    r"anlam\w*|açıklama|含义|说明|描述|意味|説明|의미|설명)",
    re.IGNORECASE,
)
THING_COLUMN = re.compile(
    r"\b(?:services?|servers?|hosts?|nodes?|machines?|containers?|endpoints?|ports?|databases?|instances?|environments?|clusters?|"
    r"pods?|workers?|backends?|apis?|urls?|domains?|components?|process(?:es)?|settings?|variables?|parameters?|options?|flags?|"
    r"browsers?|platforms?|packages?|librar(?:y|ies)|dependenc(?:y|ies)|"
    r"сервис\w*|сервер\w*|хост\w*|узел|узлы|контейнер\w*|окружени\w+|компонент\w*|порт\w*|процесс\w*|настройк\w+|параметр\w*|"
    r"переменн\w+|пакет\w*|библиотек\w+|сервіс\w*|вузол|середовищ\w+|налаштуван\w+|змінн\w+|"
    r"dienste?|umgebung\w*|komponenten?|rechner|einstellung\w*|variablen?|pakete?|serveurs?|environnements?|composants?|paramètres?|"
    r"réglages?|paquets?|servicios?|servidor\w*|entornos?|componentes?|ajustes?|parámetros?|paquetes?|serviços?|ambientes?|"
    r"configuraç\w+|pacotes?|servizi\w*|ambient[ei]|component[ei]|impostazion[ei]|parametr[oi]|pacchett[oi]|instelling\w*|omgeving\w*|"
    r"usług\w*|serwer\w*|środowisk\w*|ustawieni\w+|parametr\w*|pakiet\w*|servis\w*|sunucu\w*|ortam\w*|bileşen\w*|ayar\w*|paket\w*)\b"
    r"|服务|环境|组件|节点|配置|参数|变量|サービス|サーバ|環境|コンポーネント|設定|変数|서비스|서버|환경|설정|변수",
    re.IGNORECASE,
)
"""What a table lists the condition of. Its "Status" is no work unless it says how far the work on it is."""
CONDITION = re.compile(
    r"\W*(?:up|down|running|stopped|active|inactive|online|offline|healthy|unhealthy|degraded|available|unavailable|enabled|disabled|"
    r"on|off|live|работает|не\s+работает|актив\w+|неактив\w+|остановлен\w*|запущен\w*|включ[её]н\w*|выключен\w*|отключен\w*|доступ\w+|"
    r"недоступ\w+|працює|увімкнен\w*|вимкнен\w*|läuft|gestoppt|aktiv\w*|inaktiv\w*|verfügbar|gestört|en\s+marche|actif|inactif|arrêté|"
    r"disponible|activ[oa]|inactiv[oa]|disponible|detenid[oa]|ativ[oa]|inativ[oa]|disponível|parad[oa]|attiv[oa]|inattiv[oa]|"
    r"ferm[oa]|disponibile|actief|działa|nie\s+działa|aktywn\w+|nieaktywn\w+|çalışıyor|aktif|pasif|kapalı|"
    r"运行中?|正常|异常|停止|已启用|已停用|稼働中?|稼動中?|停止中?|有効|無効|실행\s*중|정상|중지)\b.{0,40}",
    re.IGNORECASE,
)
"""A cell that says how something is, not how far it is."""
TOTAL_ROW = re.compile(
    r"(?:grand\s+)?totals?|sum|overall|итого|всего|сумма|разом|усього|summe|gesamt|insgesamt|total\s+général|totale|suma|razem|"
    r"totaal|toplam|总计|合计|小计|总进度|合計|計|小計|합계|총계",
    re.IGNORECASE,
)
