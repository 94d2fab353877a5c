"""Encodings of languages, told by the bytes alone: right, or not certain and said so, never wrong."""

from __future__ import annotations

import codecs
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import SourceError
from sources import decode, parse
from sources.encodings import guess, wide_encoding

TEXTS: dict[str, tuple[list[str], list[str]]] = {
    "German": (
        ["cp1252"],
        [
            "- [ ] Prüfe die Bremsen für Müller\n- [x] Öl nachfüllen\n",
            "# Aufgaben\n\n- [ ] Größe ändern\n- [ ] Tür schließen\n",
            "- [ ] Call the office in Zürich\n",
            "# Übersicht\n\n- [ ] Rückmeldung an die Geschäftsführung\n- [x] Schlüssel abholen – heute\n",
            "# Sprint 4\n\n- [ ] Löschen alter Einträge\n- [x] Überprüfung\n  - [ ] Maß nehmen\n",
            "- [ ] Böden\n",
            "- [ ] fix für Müller GmbH & Co\n",
            "# Umzug\n- [ ] Möbel verkaufen\n- [ ] Vermieter anrufen (Kündigung!)\n",
            "- [x] Säule\n- [ ] Straße\n",
            "- [ ] Daten für März prüfen\n",
        ],
    ),
    "French": (
        ["cp1252"],
        [
            "- [ ] visiter le café à Orléans\n- [x] réparer la fenêtre\n",
            "# Tâches\n\n- [ ] déployer en préproduction\n- [ ] vérifier l’accès\n",
            "- [ ] mettre à jour\n",
            "- [ ] créer une fiche élève\n- [x] où est passé le modèle ?\n",
            "- [ ] tâche nº 1 : créer l’écran d’accueil\n",
            "- [ ] œuvre\n",
            "- [ ] Réunion à 15 h – équipe « sécurité »\n",
            "- [ ] Noël\n",
            "- [ ] Préparer la démo du 12 août\n- [ ] Relire les spécifications\n",
            "- [ ] problème d'accès réseau\n",
            "# À faire\n- [ ] payer l'hôtel\n",
        ],
    ),
    "Spanish": (
        ["cp1252"],
        [
            "- [ ] Añadir la función de búsqueda\n- [ ] ¿Cuándo?\n",
            "- [ ] Revisión del código en producción\n",
            "- [ ] mañana\n",
            "# Añadir\n- [x] Corrección de diseño\n",
            "- [ ] Revisar señal\n",
            "- [ ] Depuración\n- [ ] Instalación rápida\n",
            "# Tareas pendientes\n- [ ] Configuración del módulo de autenticación\n- [x] Diseñar página\n",
            "- [ ] niño\n",
            "- [ ] Próxima reunión: lunes\n",
        ],
    ),
    "Portuguese": (
        ["cp1252"],
        [
            "- [ ] Verificar a configuração\n- [x] Correção não está pronta\n",
            "- [ ] Ações de manutenção\n",
            "- [ ] Não\n",
            "- [ ] Migração dos usuários\n",
            "- [ ] Atualizar documentação\n- [ ] Reunião amanhã às 10h\n",
            "- [ ] Versão estável\n",
        ],
    ),
    "Swedish": (
        ["cp1252"],
        [
            "- [ ] Lägg till fält för ålder\n- [x] Över\n",
            "- [ ] Kör på måndag\n",
            "- [ ] Åtgärda felet\n- [x] Testa på nytt\n",
        ],
    ),
    "Italian": (
        ["cp1252"],
        [
            "- [ ] Verificare perché il modulo non funziona più\n",
            "- [ ] Attività: qualità è alta\n",
            "- [ ] Più velocità\n- [ ] Città\n",
            "- [ ] la riunione è lunedì\n",
        ],
    ),
    "Polish": (
        ["cp1250", "iso8859-2"],
        [
            "- [ ] Sprawdzić źródło błędów\n- [x] Naprawić łącze\n",
            "- [ ] Dodać obsługę płatności\n",
            "# Zadania\n- [ ] Zażółć gęślą jaźń\n",
            "- [ ] Usunąć stare pliki\n",
            "- [ ] Żółty\n",
            "- [ ] wdrożyć nową wersję na środowisko\n- [ ] poprawić błąd\n",
            "- [ ] Ćwiczenia\n",
            "# Do zrobienia\n- [ ] Wysłać ofertę do klienta\n- [x] Przygotować raport\n",
            "- [ ] Spotkanie w środę\n",
            "- [ ] przetestować moduł płatności\n- [ ] usunąć zbędne pliki\n",
        ],
    ),
    "Czech": (
        ["cp1250", "iso8859-2"],
        [
            "- [ ] Opravit čerpadlo ve sklepě\n- [x] Koupit nové hadice, žluté\n",
            "- [ ] Přidat tlačítko uložit\n",
            "- [ ] Příliš žluťoučký kůň\n",
            "- [ ] Změnit heslo\n",
            "# Úkoly\n- [ ] Dokončit návrh databáze\n- [x] Zavolat zákazníkovi\n",
            "- [ ] Ověřit přihlášení\n",
        ],
    ),
    "Hungarian": (
        ["cp1250", "iso8859-2"],
        [
            "- [ ] Javítani a szivattyút a pincében\n- [x] Új tömlők vásárlása, zöld fűnyíró\n",
            "# Teendők\n- [ ] Felhasználó törlése\n- [ ] Jelszó módosítása, ügyfél értesítése\n",
        ],
    ),
    "Turkish": (
        ["cp1254"],
        [
            "- [ ] Şifre değiştirme ekranı yapılacak\n- [x] Kullanıcı girişi düzeltildi\n",
            "- [ ] Ödeme akışını güncelle\n",
            "- [ ] Çalışanların listesi\n- [ ] İzin günü\n",
            "- [ ] Görüşme\n",
            "- [ ] Hata düzeltildiğinde kullanıcıya bildir\n",
            "- [ ] Türkçe çeviri\n",
            "# Yapılacaklar\n- [ ] Sunucuyu güncelle\n- [x] Müşteriyi ara\n",
            "- [ ] Giriş sayfası hatası\n",
            "- [ ] toplantı: salı günü\n",
        ],
    ),
    "Russian": (
        ["cp1251", "koi8-r", "cp866"],
        [
            "- [ ] Починить насос в подвале\n- [x] Купить новые шланги\n",
            "- [ ] Тест\n",
            "# План\n\n- [ ] API: добавить проверку\n",
            "- [ ] fix the bug (см. чат)\n",
            "- [ ] Да\n",
            "- [x] Готово: 50%\n- [~] В работе\n",
            "## Фаза 1\n- [DONE] Настроить CI\n- [TODO] Ёлка\n",
            "- [ ] ТЕСТ СИСТЕМЫ\n",
            "# Переезд\n- [ ] Продать мебель\n- [ ] Позвонить хозяину\n",
            "- [ ] Обновить README\n",
            "- [x] Ошибка в форме входа (prod)\n",
            "- [ ] ПРОВЕРИТЬ ОТЧЁТ\n",
        ],
    ),
    "Ukrainian": (
        ["cp1251", "koi8-u"],
        [
            "- [ ] Полагодити насос у підвалі\n- [x] Купити нові шланги\n",
            "- [ ] Перевірити їжу та є чи ні\n",
            "- [ ] Виправити помилку\n- [ ] Зробити звіт\n",
            "- [ ] Їжак\n",
            "# Завдання\n- [ ] Оновити документацію\n- [x] Зателефонувати клієнту\n",
            "- [ ] Підготувати зустріч\n",
        ],
    ),
    "Bulgarian": (
        ["cp1251"],
        [
            "- [ ] Поправи помпата в мазето\n- [x] Купи нови маркучи\n",
            "# Задачи\n- [ ] Обнови документацията\n- [x] Обади се на клиента\n",
        ],
    ),
    "Greek": (
        ["cp1253"],
        [
            "- [ ] Επισκευή της αντλίας\n- [x] Αγορά νέων σωλήνων\n",
            "- [ ] Έλεγχος\n",
            "- [ ] Διόρθωση σφάλματος\n- [ ] Νέα έκδοση\n",
            "# Εργασίες\n- [ ] Ενημέρωση τεκμηρίωσης\n- [x] Κλήση πελάτη\n",
            "- [ ] Δοκιμή φόρμας\n",
        ],
    ),
    "Hebrew": (
        ["cp1255"],
        [
            "- [ ] לתקן את המשאבה במרתף\n- [x] לקנות צינורות\n",
            "- [ ] לבדוק את הקוד\n- [x] גרסה חדשה\n",
            "# משימות\n- [ ] לעדכן את התיעוד\n- [x] להתקשר ללקוח\n",
        ],
    ),
    "Japanese": (
        ["shift_jis", "euc-jp"],
        [
            "- [ ] ポンプを修理する\n- [x] 新しいホースを買う\n",
            "- [ ] 設計書を書く\n",
            "# 計画\n- [ ] テスト\n",
            "- [ ] 認証を追加\n",
            "# タスク\n\n- [ ] データベースの設計\n- [x] 環境構築\n",
            "- [ ] ログイン画面（修正）\n",
            "# やること\n- [ ] 資料を更新する\n- [x] 顧客に電話\n",
            "- [ ] サーバー移行\n",
            "- [ ] 会議の準備\n",
        ],
    ),
    "Chinese": (
        ["gb18030"],
        [
            "- [ ] 修理地下室的水泵\n- [x] 购买新的软管\n",
            "- [ ] 测试\n",
            "- [ ] 添加登录验证\n- [ ] 更新文档\n",
            "# 待办事项\n\n- [ ] 数据库设计\n- [x] 环境搭建\n",
            "- [ ] 修复登录页面（紧急）\n",
            "# 任务\n- [ ] 更新说明文档\n- [x] 联系客户\n",
            "- [ ] 准备会议材料\n",
            "- [ ] 服务器迁移\n",
        ],
    ),
    "Chinese, traditional": (
        ["big5"],
        [
            "- [ ] 修理地下室的水泵\n- [x] 購買新的軟管\n",
            "- [ ] 測試\n",
            "- [ ] 新增登入驗證\n",
            "# 待辦事項\n\n- [ ] 資料庫設計\n- [x] 環境建置\n",
            "- [ ] 修復登入頁面（緊急）\n",
            "# 任務\n- [ ] 更新說明文件\n- [x] 聯絡客戶\n",
            "- [ ] 準備會議資料\n",
            "- [ ] 伺服器移轉\n",
        ],
    ),
    "Korean": (
        ["euc-kr"],
        [
            "- [ ] 지하실 펌프 수리\n- [x] 새 호스 구입\n",
            "- [ ] 테스트\n",
            "- [ ] 로그인 인증 추가\n",
            "# 할 일\n\n- [ ] 데이터베이스 설계\n- [x] 환경 구축\n",
            "- [ ] 로그인 화면 수정 (긴급)\n",
            "# 해야 할 일\n- [ ] 문서 업데이트\n- [x] 고객에게 전화\n",
            "- [ ] 서버 이전\n",
            "- [ ] 회의 준비\n",
        ],
    ),
    "Danish": (
        ["cp1252"],
        [
            "- [ ] Læs på æblerne\n- [ ] køb grønt\n",
        ],
    ),
    "English": (
        ["cp1252"],
        [
            "- [ ] “smart quotes” — and a dash\n",
            "- [ ] don’t break\n",
            "- [ ] costs £5 and 20 €\n",
            "- [ ] naïve résumé café\n",
        ],
    ),
    "Norwegian": (
        ["cp1252"],
        [
            "- [ ] Oppgradér nøkler på serveren\n- [ ] Møte på tirsdag\n",
        ],
    ),
    "Finnish": (
        ["cp1252"],
        [
            "- [ ] Päivitä ympäristö\n- [ ] Lisää käyttäjä\n",
        ],
    ),
    "Slovak": (
        ["cp1250"],
        [
            "- [ ] Opraviť chybu v prihlasovaní\n- [x] Ďalšia úloha, ľahká\n",
        ],
    ),
    "Serbian": (
        ["cp1251"],
        [
            "- [ ] Ажурирај документацију\n- [x] Позови клијента\n",
        ],
    ),
}


def all_cases() -> list[tuple[str, str, str]]:
    return [
        (language, encoding, text)
        for language, (encodings, texts) in TEXTS.items()
        for encoding in encodings
        for text in texts
    ]


@pytest.mark.parametrize("language", TEXTS)
def test_no_text_is_read_as_another(language: str) -> None:
    encodings, texts = TEXTS[language]
    for encoding in encodings:
        for text in texts:
            try:
                data = text.encode(encoding)
            except UnicodeEncodeError:
                continue
            found = decode(data, "b.md")
            codes = [finding.code for finding in found.findings]
            if found.text == text:
                assert codes == ["encoding_fallback"]
                assert found.encoding in found.findings[0].message
                assert found.text.encode(found.encoding) == data  # a mark can be written back
            else:
                assert codes == ["encoding_loss"], (encoding, text, found)
                assert len(text.split()) <= 8 or encoding == "iso8859-2", (
                    encoding,
                    text,
                )  # too short to know


def test_nearly_all_are_known() -> None:
    """93 in 100 of these texts, most of which are one line."""
    known: Counter[bool] = Counter()
    for _, encoding, text in all_cases():
        data = text.encode(encoding, "replace")
        if data.decode(encoding) == text:
            found = guess(data)
            known[found is not None and found.text == text] += 1
    assert known[True] >= 0.93 * known.total(), known


def test_what_is_not_certain_is_said_with_what_to_try() -> None:
    board = parse("- [ ] niño\n".encode("cp1252"), "b.md")
    assert [finding.code for finding in board.findings] == ["encoding_loss"]
    assert "not certain: try `iconv -f cp125" in board.findings[0].message


def test_utf_8_with_some_damage_stays_utf_8() -> None:
    for text, wrong in (("насос и шланг", b"\xe9"), ("Müller über Öl", b"\xfc")):
        found = decode(f"- [ ] {text} ".encode() + wrong + b" x\n", "b.md")
        assert (found.encoding, found.text.count("\ufffd")) == ("utf-8", 1)


def test_a_large_file_is_known_by_its_first_lines() -> None:
    text = "- [ ] Größe der Räume prüfen\n" * 100_000
    assert decode(text.encode("cp1252"), "b.md").text == text
    spoiled = text.encode("cp1252") + b"\x81\n"  # no sign of cp1252
    assert [finding.code for finding in decode(spoiled, "b.md").findings] == ["encoding_loss"]


@pytest.mark.parametrize(
    "text", ["- [ ] Починить насос\n", "- [ ] pump\r\n- [x] hose\r\n", "# 計画\n\n- [ ] 設計書を書く\n"]
)
@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(text: str, name: str) -> None:
    found = decode(text.encode(name), "b.md")
    assert (found.text, found.encoding) == (text.replace("\r\n", "\n"), name)
    assert [(finding.code, finding.line) for finding in found.findings] == [("encoding_fallback", 1)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x00\x02\x00\x03\x00\x04\x00\n\x00",  # numbers of a program
        b"a\x00b\x00c\x00d\x00\xff",  # half a sign
        b"a\x00b\x00\x00c\x00d\n\x00",
        b"\x7fELF\x02\x01\x01\x00" + bytes(8),
        b"\x00" * 64,
        "- [ ] a".encode("utf-32-le"),
    ],
)
def test_bytes_of_a_program_are_no_utf_16(data: bytes) -> None:
    assert wide_encoding(data) is None
    with pytest.raises(SourceError, match="not a text file"):
        decode(data, "b.bin")


@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_one_sentence(data: bytes) -> None:
    try:
        found = decode(data, "b.md")
    except SourceError:
        return
    assert "\x00" not in found.text
    assert "\r" not in found.text
    codecs.lookup(found.encoding)


LINES = st.text(st.characters(codec="cp1251", exclude_categories=["Cc"]), min_size=1, max_size=40)


@given(
    st.lists(LINES, min_size=1, max_size=5),
    st.sampled_from(["cp1251", "cp1252", "koi8-r", "cp866", "gb18030"]),
)
def test_a_reading_can_be_written_as_it_was(lines: list[str], encoding: str) -> None:
    data = "\n".join(lines).encode(encoding, "ignore")
    found = guess(data)
    if found is not None and found.text is not None and not data.isascii():
        assert found.text.encode(found.encoding) == data
