"""How long a fuzz runs, and with which random numbers.

PATCHCORE_FUZZ_SECONDS   seconds for each fuzz, 5 at first
PATCHCORE_FUZZ_SEED      another number gives other inputs, 0 at first
"""

from __future__ import annotations

import os

import pytest
from fuzz_budget import Budget


@pytest.fixture
def budget() -> Budget:
    """Return the attempts that a fuzz has."""
    return Budget(
        float(os.environ.get("PATCHCORE_FUZZ_SECONDS", "5")),
        int(os.environ.get("PATCHCORE_FUZZ_SEED", "0")),
    )
