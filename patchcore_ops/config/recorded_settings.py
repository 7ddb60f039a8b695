"""The settings that an artefact was made with, as it records them.

Later steps use these recorded settings, whatever the configuration says by then.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from patchcore_ops.config.sections import CategoryConfig, DatasetSection, EmbeddingMember
from patchcore_ops.runtime.fingerprints import HashOf

SETTINGS = "settings.json"
SETTINGS_BY_CATEGORY = "settings_by_category.json"

# What was used has numbers instead.
_DECIDED = ("dataset.imagesize", "auto")
Recorded = Mapping[str, Mapping[str, Any]]


class Difference(NamedTuple):
    """A setting that differs: its dotted key, the used value and the other one."""

    key: str
    used: str
    other: str


def record(settings: CategoryConfig, sections: Collection[str], hash_of: HashOf) -> Recorded:
    """Return the named sections as an artefact records them.

    Local weights are recorded by content (`hash_of` gives the SHA-256), not by path.
    """
    recorded = settings.model_dump(mode="json", include=set(sections))
    if "embedding" in recorded:
        for member in recorded["embedding"]["members"]:
            if member["weights"] is not None:
                member["weights"] = _content(Path(member["weights"]), hash_of)
    return {name: recorded[name] for name in CategoryConfig.model_fields if name in recorded}


def _content(file: Path, hash_of: HashOf) -> str:
    try:
        return f"sha256 {hash_of(file)}"
    except OSError:
        # Whoever needs the weights says so.
        return "a file that cannot be read"


def apply(settings: CategoryConfig, recorded: Recorded) -> CategoryConfig:
    """Return settings with recorded sections in place of their own."""
    sections = settings.model_dump(mode="json")
    sections.update(recorded)
    sections["dataset"] = {**sections["dataset"], "max_pixels": settings.dataset.max_pixels}
    return CategoryConfig.model_validate(sections)


def write_settings_by_category(folder: Path, recorded: Mapping[str, Recorded]) -> None:
    """Write the settings of all categories of a table, `settings_by_category.json`."""
    text = json.dumps(recorded, indent=1, ensure_ascii=False) + "\n"
    (folder / SETTINGS_BY_CATEGORY).write_text(text, encoding="utf-8")


def read_settings_by_category(folder: Path) -> dict[str, Recorded]:
    """Read `settings_by_category.json`; empty if it does not exist."""
    file = folder / SETTINGS_BY_CATEGORY
    if not file.is_file():
        return {}
    recorded: dict[str, Recorded] = json.loads(file.read_text(encoding="utf-8"))
    return {category: _with_later_keys(settings) for category, settings in recorded.items()}


def write_settings(folder: Path, recorded: Recorded) -> None:
    """Write `settings.json` of an artefact."""
    (folder / SETTINGS).write_bytes(settings_content(recorded))


def settings_content(recorded: Recorded) -> bytes:
    """Return the content of `settings.json`; equal settings of one release have equal contents."""
    return (json.dumps(recorded, indent=2, ensure_ascii=False) + "\n").encode()


def read_settings(folder: Path) -> Recorded | None:
    """Read `settings.json` of an artefact; None if an earlier release wrote none."""
    file = folder / SETTINGS
    if not file.is_file():
        return None
    return _with_later_keys(json.loads(file.read_text(encoding="utf-8")))


def _with_later_keys(recorded: Recorded) -> Recorded:
    """Add keys that are newer than the record, with their defaults."""
    defaults = CategoryConfig().model_dump(mode="json")
    member = EmbeddingMember().model_dump(mode="json")
    completed = {name: {**defaults.get(name, {}), **keys} for name, keys in recorded.items()}
    if "embedding" in completed:
        members = [{**member, **one} for one in completed["embedding"]["members"]]
        completed["embedding"]["members"] = members
    return completed


def differences(used: Recorded, other: Recorded) -> list[Difference]:
    """List the settings that differ, in the sections that both have; numbers do not from `auto`."""
    found: list[Difference] = []
    for section in used:
        if section in other:
            mine, theirs = (_with_default_fit({section: one[section]}) for one in (used, other))
            found.extend(
                Difference(key, mine.get(key, "not set"), theirs.get(key, "not set"))
                for key in dict.fromkeys([*mine, *theirs])
                if mine.get(key) != theirs.get(key) and (key, theirs.get(key)) != _DECIDED
            )
    return found


def differing_keys(recorded: Mapping[str, Recorded]) -> dict[str, dict[str, list[str]]]:
    """Map each setting that differs between categories to its values and their categories."""
    values: dict[str, dict[str, list[str]]] = {}
    for category, settings in recorded.items():
        for key, value in _with_default_fit(settings).items():
            values.setdefault(key, {}).setdefault(value, []).append(category)
    everywhere = len(recorded)
    return {
        key: by_value
        for key, by_value in values.items()
        if len(by_value) > 1 or sum(map(len, by_value.values())) < everywhere
    }


def _with_default_fit(recorded: Recorded) -> dict[str, str]:
    """Flatten settings, with the default of `dataset.fit`, which records leave out."""
    default = {"dataset.fit": DatasetSection().fit} if "dataset" in recorded else {}
    return {**default, **dict(flatten(recorded))}


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted path and text of every value; sections in lists are numbered from 0."""
    for key, value in nested.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{path}.")
        elif isinstance(value, Sequence) and any(isinstance(one, Mapping) for one in value):
            numbered = {str(at): one for at, one in enumerate(value)}
            yield from flatten(numbered, f"{path}.")
        elif isinstance(value, list | tuple):
            yield path, f"[{', '.join(map(str, value))}]"
        else:
            yield path, str(value) or "none"
