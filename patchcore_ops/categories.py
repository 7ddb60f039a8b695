"""Which categories a configuration names, and what may be the name of one."""

from __future__ import annotations

import re
from pathlib import Path

from patchcore_ops.config_mistakes import Mistakes, shown
from patchcore_ops.sections import DatasetSection

MVTEC_CATEGORIES = (
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
)
LONGEST_CATEGORY_NAME = 100

# The last row of the table of metrics, which no category may be called.
MEAN = "Mean"

# Categories become folder names and Dagster's partition keys; in those, '...' means a range.
_CATEGORY_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{LONGEST_CATEGORY_NAME - 1}}}")


def category_names(dataset: DatasetSection, root: Path, mistakes: Mistakes) -> tuple[str, ...]:
    """Return the names of the categories, as far as they can be names."""
    if dataset.categories == "mvtec":
        return MVTEC_CATEGORIES
    key, names = "dataset.categories", dataset.categories
    is_discovery = isinstance(names, str)
    if isinstance(names, str):
        try:
            names = _discover(root)
        except OSError as error:
            mistakes.add(key, f"discover cannot read {root} ({error.strerror}); make it readable")
            return ()
    if not names:
        mistakes.add(
            key,
            f"discover found no folder with a 'train' folder below {root}; put one folder per "
            "category there, or correct dataset.root"
            if is_discovery
            else "names no category; name one, or write discover",
        )
    if refused := [name for name in names if not _is_category_name(name)]:
        mistakes.add(
            key,
            f"{', '.join(map(shown, refused))} cannot be a category, for it becomes a folder's "
            f"name; use 1 to {LONGEST_CATEGORY_NAME} letters, digits, '_', '-' and '.', beginning "
            f"with a letter, digit or '_', and neither '...' in it nor '{MEAN}'"
            + (f"; rename the folder below {root}" if is_discovery else ""),
        )
        return ()
    if twice := sorted({name for name in names if names.count(name) > 1}):
        mistakes.add(key, f"names one category twice: {', '.join(map(shown, twice))}; name it once")
    return tuple(names)


def _is_category_name(name: str) -> bool:
    return _CATEGORY_NAME.fullmatch(name) is not None and "..." not in name and name != MEAN


def _discover(root: Path) -> list[str]:
    """List the folders that have a `train` folder."""
    return sorted(folder.parent.name for folder in root.glob("[!.]*/train") if folder.is_dir())
