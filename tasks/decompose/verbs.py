"""Does a line begin as an instruction does? Infinitives by their endings, English and German imperatives by name."""

from __future__ import annotations

import re

_FIRST = re.compile(r"[\W\d_]*([^\W\d_]+)")
_LAST = re.compile(r"([^\W\d_]+)[\W\d_]*$")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# English has no ending that tells a verb: these are the ones that plans are made of.
_ENGLISH = _words(
    """
    accept add adjust agree align allow analyse analyze announce answer apply approve archive arrange ask
    assemble assess assign attach audit automate avoid backfill back benchmark book bring build bump buy
    cache calculate call cancel capture change check choose clarify clean clear clone close code collect
    combine commit communicate compare compile complete compress compute configure confirm connect consider
    consolidate containerise containerize convert copy correct cover create cut debug decide declare
    decommission decouple define delete deliver demonstrate deploy deprecate describe design detect
    determine develop disable discuss display distribute divide document download draft draw drop dry
    duplicate edit elect eliminate embed enable encrypt enforce ensure estimate evaluate examine exclude
    execute expand explain explore export expose extend extract fetch fill filter finalise finalize find
    finish fix flag follow force format forward freeze gather generate get give go group grant guard handle
    harden hide hook identify implement import improve include increase index inform initialise initialize
    inspect install instrument integrate introduce invalidate investigate invite isolate join keep label
    launch learn limit link list listen load localise localize lock log look lower maintain make manage map
    mark match measure meet merge migrate minimise minimize mirror mock modify monitor mount move name
    negotiate normalise normalize notify observe obtain offer open optimise optimize order organise organize
    outline package parse patch pause pay perform pick pin plan plot point polish populate port post prepare
    present preserve prevent print prioritise prioritize process procure produce profile promote prompt
    propose protect prototype prove provide provision prune publish pull purge push put query queue raise
    read rebase rebuild receive record redesign redirect reduce refactor refresh register reject release
    reload remind remove rename render repair replace replay report reproduce request require reschedule
    research reset resize resolve restart restore restrict retire retry return revert review revise revoke
    rewrite roll rotate route run sanitise sanitize save scale scan schedule scope script search secure seed
    select send separate serialise serialize serve set share ship show sign simplify simulate sketch skip
    smooth solve sort specify spin split stage standardise standardize start state stop store stream
    streamline strip study submit subscribe summarise summarize support switch sync synchronise synchronize
    tag take talk teach tell test throttle tidy track train transfer transform translate trigger trim tune
    turn unify uninstall unlock update upgrade upload use validate verify version visit wait walk warn watch
    wire work wrap write
    """
)
_GERMAN = _words(
    """
    baue bereite beschreibe bestimme definiere deploye entferne entwirf erstelle ersetze erweitere führe
    füge implementiere installiere kläre konfiguriere lege lies lösche migriere mache nimm prüfe richte
    schreibe sende setze sichere stelle teste trage überprüfe verbinde verschiebe veröffentliche wähle
    """
)
_CYRILLIC = re.compile(r"\w+(?:ть|ти|чь|ться|тись|йте|ите|ьте|уйтесь)")
_POLISH = re.compile(r"\w+(?:ać|eć|ić|yć|ąć|uć|ść|źć)")
_ROMANCE = re.compile(r"\w{2,}(?:ar|er|ir|are|ere|ire|dre|tre|arse|rre)")
# "Server" and "broken" end like infinitives, too: the text must also have a small word of such a language.
_ROMANCE_WORDS = _words(
    """
    de la le el un une uno una los las les des du del da dos das il lo gli per para pour con com avec sur
    dans nel al à
    """
)
_GERMAN_WORDS = _words(
    """
    der das den dem ein eine einen einer und für mit auf im zum zur von bei nach alle am vor
    """
)
_TURKISH = re.compile(r"\w{2,}m[ae]k")
_GERMAN_END = re.compile(r"[a-zäöüß]{2,}(?:en|ern|eln)")
_HAN = re.compile(
    "添加|增加|新增|实现|编写|创建|修复|更新|删除|测试|配置|部署|设计|优化|支持|集成|检查|迁移|重构|定义|确认|准备|完成|整理|发布"
    "|撰寫|實現|建立|修復|刪除|測試|設計"
)
_JAPANESE = re.compile(
    "(?:する|る|す|く|ぐ|む|ぶ|う|つ|ぬ|追加|作成|実装|修正|更新|削除|確認|設定|対応)[。.]?$"
)
_KOREAN = re.compile("(?:하기|기|하다|다|한다|추가|작성|구현|수정|삭제|확인|설정)[.]?$")


def begins_with_a_verb(text: str, among: str = "") -> bool:
    """False where it can't be told: a list of notes must not be taken for steps. `among`: the texts around it, which
    say what language it is."""
    plain = text.strip()
    if _HAN.match(plain) or (re.search("[\u3040-\u30ff]", plain) and _JAPANESE.search(plain)):
        return True
    if re.search("[\uac00-\ud7af]", plain):
        return _KOREAN.search(plain) is not None
    first = _FIRST.match(plain)
    if first is None:
        return False
    word = first[1].lower()
    if word in _ENGLISH or word in _GERMAN:
        return True
    if "\u0400" <= word[0] <= "\u04ff":
        return _CYRILLIC.fullmatch(word) is not None
    if _POLISH.fullmatch(word):
        return True
    others = {other.strip(".,;:()").lower() for other in f"{plain} {among}".split()}
    if _ROMANCE.fullmatch(word) and others & _ROMANCE_WORDS:
        return True
    last = _LAST.search(plain)
    ends = last[1] if last and last[1].islower() else ""
    german = bool(others & _GERMAN_WORDS) or re.search("[äöüßÄÖÜ]", plain + among) is not None
    return bool(_TURKISH.fullmatch(ends) or (german and _GERMAN_END.fullmatch(ends)))
