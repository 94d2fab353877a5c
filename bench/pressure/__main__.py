"""`python -m bench.pressure [PART ...] [--quick]`: single figures of pressure, shown and not kept."""

from __future__ import annotations

import sys

from bench.harness import alone
from bench.pressure import PARTS

if __name__ == "__main__":
    sys.exit(alone("pressure", PARTS))
