"""`python -m bench.execution [PART ...] [--quick]`: single figures of execution, shown and not kept."""

from __future__ import annotations

import sys

from bench.execution import PARTS
from bench.harness import alone

if __name__ == "__main__":
    sys.exit(alone("execution", PARTS))
