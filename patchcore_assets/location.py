"""Which configuration this code location serves."""

from __future__ import annotations

import os
from pathlib import Path

CONFIG_VARIABLE = "PATCHCORE_CONFIG"
DEFAULT_CONFIG = "patchcore.yaml"


def config_path() -> str:
    """Return what PATCHCORE_CONFIG names, or patchcore.yaml here or beside the packages."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return named
    here = Path.cwd() / DEFAULT_CONFIG
    beside = Path(__file__).resolve().parents[1] / DEFAULT_CONFIG
    return str(here if here.is_file() else beside)
