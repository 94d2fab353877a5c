"""What accounts have used today, of what they may: `penstock budgets`. Who counts is tasks/execute/budget.py."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import psycopg

from models.settings import Settings
from sql.statements import statement
from tasks.execute.budget import today
from tasks.execute.limits import Limit, State, limits

__all__ = ["AccountUse", "account_uses"]


@dataclass(frozen=True, slots=True)
class AccountUse:
    """An account that has a budget, or has to wait."""

    account: str
    endpoints: list[str]  # resources
    day: date
    limits: list[Limit]
    unpriced: int  # requests of the day whose cost is not known
    cooldown: float  # seconds that it is left alone; 0: it may be used
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Ready for orjson."""
        return asdict(self) | {
            "limits": [
                {
                    "name": one.name,
                    "limit": one.limit,
                    "used": one.settled,
                    "reserved": one.flying,
                    "percent": one.percent,
                }
                for one in self.limits
            ]
        }


def account_uses(connection: psycopg.Connection, settings: Settings) -> list[AccountUse]:
    """The accounts that have a budget, and those that their provider has told to wait."""
    day = today(settings.timezone)
    budgets = {budget.account: budget for budget in settings.budgets}
    rows = connection.execute(statement("budget.accounts"), {"names": list(budgets), "day": day}).fetchall()
    uses = []
    for name, minute, minute_left, *counts, unpriced, cooldown, reason in rows:
        state = State(minute, minute_left, *counts)
        uses.append(
            AccountUse(
                account=name,
                endpoints=[
                    endpoint.resource
                    for endpoint in settings.endpoints
                    if name == (endpoint.account or endpoint.resource)
                ],
                day=day,
                limits=limits(budgets[name], state) if name in budgets else [],
                unpriced=unpriced,
                cooldown=cooldown,
                reason=reason,
            )
        )
    return uses
