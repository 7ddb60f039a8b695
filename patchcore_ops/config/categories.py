"""The categories of a configuration, and the rules for their names.

A name is a folder, a partition key of Dagster and a table entry. Names are in Unicode's composed
form (NFC), so that a name is the same partition wherever it was typed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from patchcore_ops.config.mistakes import Mistakes, listed, shown
from patchcore_ops.config.sections import DatasetSection

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
# A file system takes 255 bytes, and the names of temporary files are longer than the category's.
MOST_BYTES_OF_A_NAME = 200

# The last row of the table of metrics, which no category may be called.
MEAN = "Mean"

# What stands for a missing value in a table of text, as pandas reads it.
_MISSING_VALUES = frozenset({"NA", "NULL", "NaN", "None", "nan", "null"})
# Files that every folder of Windows has.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_CHARACTERS = (
    f"a name has 1 to {LONGEST_CATEGORY_NAME} letters, digits, '_', '-', '.' and blanks, in no "
    f"more than {MOST_BYTES_OF_A_NAME} bytes, begins with a letter, digit or '_', and ends with "
    "neither blank nor '.'"
)


def category_names(dataset: DatasetSection, root: Path, mistakes: Mistakes) -> tuple[str, ...]:
    """Return the names of the categories; note those that cannot be names."""
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
    names = [composed(name) for name in names]
    if refusal := _refusal(names):
        remedy = f"; rename the folder below {root}" if is_discovery else ""
        mistakes.add(key, refusal + remedy)
        return ()
    if decomposed := [name for name in names if _is_decomposed_in(root, name)]:
        mistakes.add(
            key,
            f"{_all_shown(decomposed)}: the folder's name is in Unicode's decomposed form (NFD, as "
            f"some Macs write it), which other systems take for another name; rename it below "
            f"{root} to the name as it is written here",
        )
        return ()
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        mistakes.add(key, f"names one category twice: {_all_shown(twice)}; name it once")
    elif alike := [group for group in _alike(names) if len(group) > 1]:
        mistakes.add(
            key,
            f"{' and '.join(map(shown, alike[0]))} differ only in upper and lower case, and are "
            "one folder on some systems; rename one",
        )
    return tuple(names)


def composed(name: str) -> str:
    """Return a name in Unicode's composed form."""
    return unicodedata.normalize("NFC", name)


def _refusal(names: Sequence[str]) -> str | None:
    """Say which names cannot be a category's, and why; None if all can."""
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if reason := _reason(name):
            reasons[reason].append(name)
    sentences = [
        f"{_all_shown(refused)} cannot be a category, for {reason}"
        for reason, refused in reasons.items()
    ]
    return "; ".join(sentences) or None


def _reason(name: str) -> str | None:
    if not _has_characters_of_a_name(name):
        return f"it becomes a folder's name; {_CHARACTERS}"
    if "..." in name:
        return "'...' means a range of partitions; leave it out"
    if name in _MISSING_VALUES:
        return "tables are read back with a missing value in its place; use another name"
    if name == MEAN:
        return "the last row of the table of metrics is called so; use another name"
    if name == "_" or _DEVICES.fullmatch(name):
        return "a folder of that name has a meaning of its own; use another name"
    return None


def _has_characters_of_a_name(name: str) -> bool:
    return (
        0 < len(name) <= LONGEST_CATEGORY_NAME
        and len(name.encode(errors="surrogatepass")) <= MOST_BYTES_OF_A_NAME
        and all(one in "_-. " or unicodedata.category(one)[0] in "LMN" for one in name)
        and (name[0] == "_" or unicodedata.category(name[0])[0] in "LN")
        and name[-1] not in ". "
    )


def _is_decomposed_in(root: Path, name: str) -> bool:
    """Tell whether only the decomposed form of a name is a folder; a Mac finds both."""
    if name.isascii():
        return False
    try:
        is_there = (root / name).exists()
        return not is_there and (root / unicodedata.normalize("NFD", name)).exists()
    except OSError:  # Who reads the folder says what is wrong with it.
        return False


def _alike(names: Sequence[str]) -> list[list[str]]:
    """Group names that are the same but for upper and lower case."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[composed(name.casefold())].append(name)
    return list(groups.values())


def _all_shown(names: Sequence[str]) -> str:
    return listed([shown(name) for name in names])


def _discover(root: Path) -> list[str]:
    """List the folders that have a `train` folder."""
    return sorted(folder.parent.name for folder in root.glob("[!.]*/train") if folder.is_dir())
