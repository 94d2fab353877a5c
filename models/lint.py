"""What `penstock lint` found, in the order of the files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.board import Finding
from models.enums import Severity


@dataclass(slots=True)
class LintFinding:
    """A finding with the fingerprint that it keeps while other lines change."""

    finding: Finding
    fingerprint: str


@dataclass(slots=True)
class LintedFile:
    """One file that was read, or could not be: then it has no dialect, and the finding `unreadable_file`."""

    name: str  # as the user sees it
    path: Path | None = None  # a file on this machine
    inside: str | None = None  # its path inside a repository, when it was read at a revision
    dialect: str | None = None
    items: int = 0
    open: int = 0
    done: int = 0
    findings: list[LintFinding] = field(default_factory=list)


@dataclass(slots=True)
class LintReport:
    files: list[LintedFile]

    @property
    def findings(self) -> list[tuple[LintedFile, Finding]]:
        return [(file, each.finding) for file in self.files for each in file.findings]

    @property
    def unreadable(self) -> list[LintedFile]:
        return [file for file in self.files if file.dialect is None]

    @property
    def dialects(self) -> Counter[str]:
        return Counter(file.dialect for file in self.files if file.dialect is not None)

    def worst(self) -> Severity | None:
        """The highest severity among the findings."""
        seen = {finding.severity for _, finding in self.findings}
        return max(seen, key=lambda each: each.rank, default=None)

    def filtered(self, least: Severity, select: frozenset[str], ignore: frozenset[str]) -> LintReport:
        """The same files with the findings that are asked for. An empty `select` is all codes."""

        def wanted(finding: Finding) -> bool:
            shown = finding.severity.rank >= least.rank
            return shown and (not select or finding.code in select) and finding.code not in ignore

        return LintReport(
            [
                replace(file, findings=[each for each in file.findings if wanted(each.finding)])
                for file in self.files
            ]
        )

    def summary(self) -> dict[str, Any]:
        """Counts as JSON, the most frequent first."""
        found = [finding for _, finding in self.findings]
        severities = Counter(str(finding.severity) for finding in found)
        with_findings = Counter({file.name: len(file.findings) for file in self.files if file.findings})
        return {
            "files": len(self.files) - len(self.unreadable),
            "unreadable": [file.name for file in self.unreadable],
            "dialects": dict(self.dialects.most_common()),
            "items": sum(file.items for file in self.files),
            "open": sum(file.open for file in self.files),
            "done": sum(file.done for file in self.files),
            "findings": len(found),
            "severities": {str(severity): severities[str(severity)] for severity in reversed(Severity)},
            "codes": dict(Counter(finding.code for finding in found).most_common()),
            "files_with_findings": len(with_findings),
            "worst_files": dict(with_findings.most_common(10)),
        }
