"""Findings as SARIF 2.1.0, as code hosts take it: they show each beside its line."""

from __future__ import annotations

import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from models.enums import Severity
from models.findings import LINT, Rule, described
from models.lint import LintedFile, LintFinding, LintReport
from tasks.places import repository_of

LEVELS = {Severity.INFO: "note", Severity.WARNING: "warning", Severity.ERROR: "error"}
ROOT = "%SRCROOT%"
_LINK = re.compile(r"\[([^\[\]]*)\]\(")  # in a message of SARIF that would be a link
FINGERPRINT = "primaryLocationLineHash"
"""The one that GitHub looks at. It tells the same finding in two versions of a file."""


def log(report: LintReport) -> str:
    """One run with all rules that lint knows; results in the order of the files."""
    codes = dict.fromkeys([*LINT, *(finding.code for _, finding in report.findings)])
    rules = [described(code) for code in codes]
    index = {rule.code: number for number, rule in enumerate(rules)}
    here = Path.cwd()
    top = repository_of(here)
    uris = {id(file): _artifact(file, here, top) for file in report.files if file.findings}
    run = {
        "tool": {
            "driver": {
                "name": "Penstock",
                "version": version("penstock"),
                "semanticVersion": version("penstock"),
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "automationDetails": {"id": "penstock/"},
        "originalUriBaseIds": {ROOT: {"description": {"text": "The root of the repository."}}},
        "results": [
            _result(each, index[each.finding.code], uris[id(file)])
            for file in report.files
            for each in file.findings
        ],
    }
    data = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    kind = "recommendation" if rule.severity is Severity.INFO else str(rule.severity)
    return {
        "id": rule.code,
        "name": "".join(part.capitalize() for part in rule.code.split("_")),
        "shortDescription": {"text": f"{rule.title}."},
        "fullDescription": {"text": rule.meaning},
        "help": {
            "text": f"{rule.meaning}\n\n{rule.remedy}",
            "markdown": f"{rule.meaning}\n\n**What to do:** {rule.remedy}",
        },
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"tags": ["boards"], "problem.severity": kind},
    }


def _result(each: LintFinding, rule: int, artifact: dict[str, str]) -> dict[str, Any]:
    finding = each.finding
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": LEVELS[finding.severity],
        "message": {"text": _LINK.sub(r"\\[\1](", finding.message)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": artifact,
                    "region": {"startLine": max(finding.line, 1)},
                }
            }
        ],
        "partialFingerprints": {FINGERPRINT: each.fingerprint},
    }


def _artifact(file: LintedFile, here: Path, top: Path | None) -> dict[str, str]:
    """Where the file is: from the root of the working directory's repository, else of its own, else from here."""
    if file.inside is not None or file.path is None:
        return {"uri": _quoted(file.inside or file.name), "uriBaseId": ROOT}
    path = Path(os.path.abspath(file.path))
    if top is None or not path.is_relative_to(top):
        top = repository_of(path.parent) or here
    if path.is_relative_to(top):
        return {"uri": _quoted(path.relative_to(top).as_posix()), "uriBaseId": ROOT}
    return {"uri": f"file://{_quoted(path.as_posix())}"}


def _quoted(path: str) -> str:
    return quote(path.encode("utf-8", "surrogateescape"))
