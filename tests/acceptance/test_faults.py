"""One of five requests fails, each in another way: everything is settled, and each cause is the one that it was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pytest

from backends import simulator
from models.enums import ErrorType

from .conftest import LongRun

MEANS = {
    "error500": ErrorType.SERVER_ERROR,
    "empty": ErrorType.EMPTY,
    "rate_limited": ErrorType.RATE_LIMITED,
    "echo": ErrorType.ECHO,
    "stall": ErrorType.TIMEOUT,
    "refusal": ErrorType.REFUSED,
    "error503": ErrorType.OVERLOADED,
    "truncated": ErrorType.TRUNCATED,
    "broken": ErrorType.SERVER_ERROR,
    "other_language": ErrorType.RULE,
    "hang": ErrorType.TIMEOUT,
    "no_json": ErrorType.MALFORMED,
    "cut": ErrorType.CONNECTION,
    "echo_inside": ErrorType.ECHO,
    "nonsense": ErrorType.SERVER_ERROR,
    "unfinished": ErrorType.SERVER_ERROR,
    "wrong_model": ErrorType.MODEL_MISSING,
}
ITEMS = 70


def write(board: Path) -> None:
    """Sentences long enough that their language is certain."""
    lines = [
        f"- [ ] Say how high the water of basin {number} is above the level of the sea, and where that was written"
        for number in range(1, ITEMS + 1)
    ]
    (board / "plan.md").write_text("# Many questions\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.timeout(200)
def test_one_of_five_requests_fails_in_any_way(settings_env: Path, tmp_path: Path) -> None:
    script = [fault for name in MEANS for fault in ("ok", "ok", "ok", "ok", name)]
    with simulator.running(slots=8, latency=0.01, script=script) as server:
        run = LongRun(settings_env, tmp_path, ITEMS, 16, server)
        write(run.board)
        endpoint = {
            "backend": "openai",
            "url": server.openai_url,
            "slots": 8,
            "first_token_timeout": 1,
            "stall_timeout": 1,
        }
        run.environment |= {
            "PENSTOCK_ENDPOINTS": orjson.dumps([endpoint]).decode(),
            "PENSTOCK_RETRY_DELAY": "0.2",
            "PENSTOCK_RETRY_DELAY_CAP": "5",
            "PENSTOCK_BREAKER_FAILURES": "20",
        }
        ended = run.again()
        injected = server.stats()["faults"]
        assert ended.returncode == 0, ended.stdout + ended.stderr
        run.check_settled()
        assert injected == dict.fromkeys(MEANS, 1)
        with run.connected() as connection:
            causes = connection.execute(
                "select error_type, count(*) from attempt where error_type is not null group by 1"
            ).fetchall()
            charged = connection.execute("select sum(attempts) from item").fetchone()
        assert dict(causes) == Counter(map(str, MEANS.values()))
        assert charged == (sum(kind.charged for kind in MEANS.values()),)
