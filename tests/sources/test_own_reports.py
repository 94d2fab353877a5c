"""A report of an earlier run is no source for the next, unless it is named itself."""

from __future__ import annotations

from pathlib import Path

import sources


def test_a_folder_with_an_old_report(tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text("- [ ] a\n", encoding="utf-8")
    report = tmp_path / "penstock-report" / "report.md"
    report.parent.mkdir()
    report.write_text(f"{sources.REPORT_MARK}\n# Penstock report\n", encoding="utf-8")
    assert [Path(origin.name).name for origin in sources.expand([str(tmp_path)])] == ["plan.md"]
    assert len(sources.expand([str(report)])) == 1
