"""Sets of settings with a name: `preset` fills what a configuration does not write."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, get_args

from patchcore_ops.config.mistakes import Mistakes, did_you_mean, shown

PRESET_VARIABLE = "PATCHCORE_PRESET"
Preset = Literal["reference", "accurate", "fast"]
Sections = Mapping[str, Mapping[str, Any]]

_SMOOTHED: Mapping[str, Any] = {
    "anomaly_scorer_num_nn": 2,
    "distance": "root",
    "smoothing_sigma": 6.0,
    "image_score": "smoothed_max",
    "image_smoothing_sigma": 8.0,
    "ensemble": "leave_one_out",
}
# docs/accuracy.md has the study behind them.
PRESETS: Mapping[str, Sections] = {
    # The defaults are the published baseline.
    "reference": {},
    "accurate": {
        "embedding": {"target_embed_dimension": 256},
        "coreset": {"percentage": 0.1},
        "scoring": _SMOOTHED,
    },
    "fast": {
        "embedding": {"target_embed_dimension": 256},
        "coreset": {"percentage": 0.04},
        # Only the rows in the five lists nearest to a patch are looked at.
        "index": {"factory": "IVFauto,Flat", "search_parameters": "nprobe=5"},
        "scoring": _SMOOTHED,
    },
}


def read_preset(raw: Mapping[str, Any], mistakes: Mistakes) -> Sections:
    """Return the settings of a configuration's preset; `PATCHCORE_PRESET` wins over the file."""
    from_environment = os.environ.get(PRESET_VARIABLE)
    name = from_environment or raw.get("preset", "reference")
    if not isinstance(name, str) or name not in PRESETS:
        names = get_args(Preset)
        near = did_you_mean(name, names) if isinstance(name, str) else ""
        key = PRESET_VARIABLE if from_environment else "preset"
        mistakes.add(key, f"must be one of {', '.join(names)} (got {shown(name)}){near}")
        return {}
    return PRESETS[name]


def fill(section: str, written: Mapping[str, Any], preset: Sections) -> dict[str, Any]:
    """Fill what a section does not write with the settings of a preset.

    Search parameters suit the one factory: beside another one, the preset's do not count.
    """
    if section == "index" and "factory" in written:
        return dict(written)
    return {**preset.get(section, {}), **written}
