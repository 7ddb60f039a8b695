"""What a tracker receives of a wave: a small folder that can be kept until it is sent.

It holds `record.json` and `pictures/<category>/<picture>.jpg`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RECORD = "record.json"
PICTURES = "pictures"


@dataclass(frozen=True)
class CategoryResult:
    """The results of a category, or their mean."""

    category: str
    metrics: Mapping[str, float]  # and other numbers: seconds by asset, rows of the memory bank
    settings: Mapping[str, str]  # that the results were made with, by dotted key
    versions: Mapping[str, str]  # of packages, machine, and what the results were made from
    model: str = ""  # data version of the model of the results; empty where there is none


@dataclass(frozen=True)
class Record:
    """The results of a wave, the mean first."""

    id: str  # equal for what is to be sent once
    wave: str
    made: str  # when the table was made, in ISO 8601 with a time zone
    group: str  # the name that follows from the settings
    results: Sequence[CategoryResult]
    # Where the record was read; its pictures lie there.
    folder: Path | None = field(default=None, compare=False)

    def pictures(self, category: str) -> list[Path]:
        """List the pictures of a category."""
        if self.folder is None:
            return []
        return sorted((self.folder / PICTURES / category).glob("*.jpg"))


def write_record(record: Record, folder: Path) -> None:
    """Write `record.json`; the pictures are put beside it by who has them."""
    content = asdict(record)
    del content["folder"]
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(folder: Path) -> Record:
    """Read what `write_record` has written."""
    content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    results = tuple(CategoryResult(**one) for one in content.pop("results"))
    return Record(**content, results=results, folder=folder)


def numbers_of(values: Mapping[Any, Any]) -> dict[str, float]:
    """Keep the values that are defined numbers."""
    return {
        str(name): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def common_settings(settings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the settings of a mean: those that all categories share, and which differ."""
    keys = dict.fromkeys(key for one in settings for key in one)
    values = {key: {one.get(key, "not set") for one in settings} for key in keys}
    return {
        key: next(iter(found)) if len(found) == 1 else "differs between categories"
        for key, found in values.items()
    }


def versions_of(lineage: Mapping[str, str]) -> dict[str, str]:
    """Turn an artefact's lineage into versions: a package once, then what was made by which run.

    Where two assets were made with different versions, each is named.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for key, value in sorted(lineage.items()):
        asset, _, what = key.partition(".")
        facts = {what: value}
        if what == "packages":
            facts = dict(package.split("==", 1) for package in value.split() if "==" in package)
        elif what in _OF_ASSET:
            facts = {key: value}
        for name, version in facts.items():
            found.setdefault(name, {}).setdefault(version, []).append(asset)
    return {
        name: "; ".join(
            version if len(by_version) == 1 else f"{version} ({', '.join(assets)})"
            for version, assets in by_version.items()
        )
        for name, by_version in found.items()
    }


# These are of one asset by their nature.
_OF_ASSET = frozenset({"data_version", "run_id", "made", "made_from", "code_version"})
