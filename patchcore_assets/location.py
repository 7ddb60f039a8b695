"""Which configuration file this code location serves."""

from __future__ import annotations

import os
from pathlib import Path

CONFIG_VARIABLE = "PATCHCORE_CONFIG"
DEFAULT_CONFIG = "patchcore.yaml"


def config_path() -> Path:
    """Return the file named by PATCHCORE_CONFIG, or patchcore.yaml here or beside the packages."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    here = Path.cwd() / DEFAULT_CONFIG
    return here if here.is_file() else Path(__file__).resolve().parents[1] / DEFAULT_CONFIG
