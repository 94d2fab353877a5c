"""`penstock doctor`: is what is declared true of the machines that answer?

`look` asks, the checks only read what it found (`facts`), so that each can be tried on any facts:

    endpoints      one endpoint and what answers there
    machines       who can reach them, what shares a device, what fits into its memory
    rules          what the settings say of themselves: hours, budgets, spill, limits
    installation   database, Prefect, disk, clocks, files
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from deployments.doctor.endpoints import check_endpoints
from deployments.doctor.facts import Asked, Diagnosis, Facts, House, Road, Seen, Trouble
from deployments.doctor.installation import check_installation
from deployments.doctor.looking import look
from deployments.doctor.machines import check_machines
from deployments.doctor.rules import check_rules
from models.settings import Settings

__all__ = ["CHECKS", "Asked", "Diagnosis", "Facts", "House", "Road", "Seen", "Trouble", "diagnose", "judge"]

Check = Callable[[Facts], Iterator[Trouble]]

CHECKS: tuple[Check, ...] = (check_endpoints, check_machines, check_rules, check_installation)


def diagnose(
    settings: Settings, *, ask: bool = False, tell: Callable[[str], None] | None = None
) -> Diagnosis:
    """Look at everything, all endpoints at once, and say what is wrong. Starts no server.

    `ask`: ask each endpoint's model for one token, which may load it and may cost a fraction of a cent. `tell` gets
    in words what is waited for.
    """
    return judge(look(settings, ask=ask, tell=tell or (lambda words: None)))


def judge(facts: Facts) -> Diagnosis:
    """All findings, the worst first."""
    found = [trouble for check in CHECKS for trouble in check(facts)]
    return Diagnosis(facts, tuple(sorted(found, key=lambda trouble: -trouble.severity.rank)))
