"""Requirements documents: knowledge whose sections become items when they are run."""

from __future__ import annotations

import pytest

from sources import parse

BODY = "\n\nThe shop needs a cart.\n\n## Cart\n\nGuests have one, too.\n"


@pytest.mark.parametrize(
    "title",
    [
        "PRD: the cart", "Cart PRD", "# PRD v2 - cart", "Product Requirements Document: cart",
        "Software requirements specification", "# Functional requirements", "ТЗ: корзина",
        "Техническое задание на разработку корзины", "Технічне завдання", "Lastenheft Warenkorb", "# Pflichtenheft",
        "Cahier des charges du panier", "Documento de requisitos de producto", "Capitolato tecnico",
        "Especificación de requisitos del carrito", "Dokument wymagań", "购物车产品需求文档", "カート要件定義書",
        "장바구니 요구사항 정의서",
    ],
)  # fmt: skip
def test_titles(title: str) -> None:
    board = parse(f"{title}{BODY}".encode(), "cart.md")
    assert (board.dialect, board.items) == ("prd", [])
    assert [(finding.code, finding.severity) for finding in board.findings] == [("prd_sections", "info")]
    assert board.text.endswith("Guests have one, too.\n")


@pytest.mark.parametrize(
    "name", ["prd.md", "PRD-cart.txt", "cart_prd.md", "product-requirements.md", "Lastenheft.txt", "ТЗ.md"]
)
def test_names(name: str) -> None:
    assert parse(f"# Cart{BODY}".encode(), name).dialect == "prd"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("# System requirements", "install.md"), ("# Deploying to PRD hosts", "runbook.md"),
        ("pip", "requirements.txt"), ("# Cart", "cart.md"),
        ("# Приход товара, коТЗ", "x.md"), ("# Spec of nothing", "spec.md"),
    ],
)  # fmt: skip
def test_other_documents_stay_documents(title: str, name: str) -> None:
    board = parse(f"{title}{BODY}".encode(), name)
    assert board.dialect == "document"
    assert [finding.code for finding in board.findings] == ["no_items"]


def test_checkboxes_and_status_tables_go_first() -> None:
    assert parse(f"# PRD: cart{BODY}- [ ] guests\n".encode(), "prd.md").dialect == "gfm"
    table = "| Task | Status |\n|---|---|\n| guests | done |\n"
    assert parse(f"# PRD: cart{BODY}{table}".encode(), "prd.md").dialect == "checklist"


def test_boxes_in_code_and_sentences_are_accounted_for() -> None:
    text = "# PRD: cart\n\n```\n- [ ] code\n```\n\nPeople tick [x] here.\n"
    board = parse(text.encode(), "x.md")
    assert [(line, reason) for line, reason in board.not_items] == [(4, "code"), (7, "text")]
