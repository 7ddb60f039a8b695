"""OpenVINO without its telemetry.

Importing openvino sends what is used to Google Analytics, and leaves files in the user's home,
unless its user has opted out. It does without where the package that sends is not installed.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """Import openvino; the package that would send what is used counts as not installed.

    Where somebody has imported openvino before, it is what it is.
    """
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    # Python's own way to say that a module cannot be imported.
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[_TELEMETRY]
