"""Reads the benchmark's YAML file and resolves it for each category.

Paths are relative to the file, and absolute in a file at a URL; `${VAR}` is expanded;
`PATCHCORE_DATASET_ROOT` and `PATCHCORE_STORAGE_ROOT` win over the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from patchcore_ops.config.categories import MVTEC_CATEGORIES as MVTEC_CATEGORIES  # noqa: PLC0414 - API
from patchcore_ops.config.categories import category_names
from patchcore_ops.config.mistakes import Mistakes, describe, listed, shown, unknown_key
from patchcore_ops.config.overrides import read_overrides, resolve_category
from patchcore_ops.config.paths import (
    configuration_place,
    resolve_dataset_root,
    resolve_folder,
    resolve_place,
    resolve_storage_root,
)
from patchcore_ops.config.presets import read_preset
from patchcore_ops.config.sections import (
    CategoryConfig,
    ConfigFile,
    DatasetSection,
    EvaluationSection,
    InboxSection,
    RuntimeSection,
    ScheduleSection,
    StorageSection,
    TrackerSection,
)
from patchcore_ops.config.trackers import read_trackers
from patchcore_ops.config.yaml_document import join_key, read_document, shorten
from patchcore_ops.runtime.errors import ConfigError

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_Model = TypeVar("_Model", bound=BaseModel)
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Evaluated:
    """What is evaluated again: a folder of categories, and one of models, or None for one's own."""

    dataset_root: Path
    models: Path | None


@dataclass(frozen=True)
class Inbox:
    """Where new images arrive: a folder or a URL of categories, and the first day (ISO 8601)."""

    root: str
    first_day: str
    settled_seconds: float


@dataclass(frozen=True)
class BenchmarkConfig:
    """A whole configuration, validated and resolved.

    All paths are absolute. `path` and `storage_root` may be URLs; `storage_cache` is None for the
    user's cache folder. `by_category` is in the file's order, or sorted where discovered.
    `tracking` says for each tracker in which folder it writes, if it writes on this machine.
    `evaluation` is None where nothing is evaluated again, `inbox` where no images arrive.
    `of_discovered` are the settings of a discovered category without overrides, None where
    categories are named.
    """

    path: str
    dataset_root: Path
    storage_root: str
    storage_cache: Path | None
    storage_cache_bytes: int
    runtime: RuntimeSection
    schedule: ScheduleSection
    tracking: tuple[TrackerSection, ...]
    by_category: Mapping[str, CategoryConfig]
    evaluation: Evaluated | None = None
    inbox: Inbox | None = None
    of_discovered: CategoryConfig | None = field(default=None, compare=False)

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the categories: the partitions of every asset."""
        return tuple(self.by_category)

    def for_category(self, category: str) -> CategoryConfig:
        """Return a category's resolved sections; raise ConfigError if it is not configured."""
        if category not in self.by_category:
            raise ConfigError(
                f"{self.path}: '{category}' is not one of the configured categories "
                f"({listed(self.categories)})"
            )
        return self.by_category[category]


def load_config(path: str | os.PathLike[str]) -> BenchmarkConfig:
    """Read and validate a configuration file.

    Parameters
    ----------
    path : path-like
        The YAML file, or any URL of it that fsspec understands.

    Returns
    -------
    BenchmarkConfig
        Paths absolute, variables expanded, categories and overrides resolved.

    Raises
    ------
    ConfigError
        With one line per mistake; each names the file and the key. `ConfigOutOfReach` if a URL
        does not answer.

    Examples
    --------
    >>> load_config("patchcore.yaml").for_category("bottle").coreset.percentage
    0.1
    """
    file = configuration_place(path)
    document = read_document(file)
    mistakes = Mistakes(file)
    mistakes.update(document.mistakes)
    raw = _without_empty(_expand_variables(document.content, mistakes))
    for key, section in raw.items():
        if key not in ConfigFile.model_fields:
            mistakes.add(join_key("", key), unknown_key(key, ConfigFile.model_fields))
        elif not isinstance(section, dict) and key not in ("tracking", "preset"):
            mistakes.add(key, f"must be a mapping of keys to values (got {shown(section)})")
    preset = read_preset(raw, mistakes)
    dataset = _validate(DatasetSection, raw.get("dataset", {}), mistakes, "dataset")
    runtime = _validate(RuntimeSection, raw.get("runtime", {}), mistakes, "runtime")
    storage = _validate(StorageSection, raw.get("storage", {}), mistakes, "storage")
    schedule = _validate(ScheduleSection, raw.get("schedule", {}), mistakes, "schedule")
    evaluation = _validate(EvaluationSection, raw.get("evaluation", {}), mistakes, "evaluation")
    inbox = _validate(InboxSection, raw.get("inbox", {}), mistakes, "inbox")
    root = resolve_dataset_root(dataset.root, mistakes) if dataset else None
    store = resolve_storage_root(storage.root, mistakes) if storage else None
    cache = resolve_folder("storage.cache", storage.cache if storage else None, mistakes)
    tracking = read_trackers(raw.get("tracking", []), store, mistakes)
    evaluated = _resolve_evaluation(evaluation, mistakes)
    arriving = _resolve_inbox(inbox, mistakes)
    categories = category_names(dataset, Path(root), mistakes) if dataset and root else ()
    default = resolve_category(raw, {}, preset, mistakes, "")
    resolved = {
        category: resolve_category(raw, override, preset, mistakes, join_key("overrides", category))
        for category, override in read_overrides(raw, categories, mistakes).items()
    }
    mistakes.raise_if_any()
    by_category = {name: resolved.get(name, default) for name in categories}
    return BenchmarkConfig(
        path=file,
        dataset_root=Path(_certain(root)),
        storage_root=_certain(store),
        storage_cache=cache,
        storage_cache_bytes=round(_certain(storage).cache_gb * 1e9),
        runtime=_certain(runtime),
        schedule=_certain(schedule),
        tracking=tracking,
        by_category={name: _certain(config) for name, config in by_category.items()},
        evaluation=evaluated,
        inbox=arriving,
        of_discovered=default if _certain(dataset).categories == "discover" else None,
    )


def section_hash(*sections: BaseModel, extra: Mapping[str, str] | None = None) -> str:
    """Hash resolved sections by value: 16 hexadecimal digits, equal for equal settings.

    Defaults do not count, so a new key with a default makes nothing stale. If you change a default,
    raise the `code_version` of the assets that it determines. `extra` holds further facts to hash.
    """
    content = [
        *(
            [type(one).__name__, one.model_dump(mode="json", exclude_defaults=True)]
            for one in sections
        ),
        dict(extra or {}),
    ]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _certain(value: _Value | None) -> _Value:
    """Return a value that is not None, since no mistake was reported of it."""
    assert value is not None  # noqa: S101 - what is absent has been reported
    return value


def _without_empty(content: dict[str, Any]) -> dict[str, Any]:
    """Drop empty sections and empty overrides."""
    raw = {key: value for key, value in content.items() if value is not None}
    if isinstance(overrides := raw.get("overrides"), dict):
        raw["overrides"] = {
            category: {name: keys for name, keys in sections.items() if keys is not None}
            if isinstance(sections, dict)
            else sections
            for category, sections in overrides.items()
            if sections is not None
        }
    return raw


def _expand_variables(content: Any, mistakes: Mistakes, where: str = "") -> Any:
    """Replace `${VAR}` in every text; an unset variable is a mistake of its key."""
    if isinstance(content, dict):
        return {
            key: _expand_variables(value, mistakes, join_key(where, key))
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [
            _expand_variables(value, mistakes, join_key(where, str(position)))
            for position, value in enumerate(content)
        ]
    if not isinstance(content, str):
        return content

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            mistakes.add(
                where,
                f"uses ${{{shorten(name)}}}, which is not set; set it, or write the value itself",
            )
        return os.environ.get(name, match[0])

    return _VARIABLE.sub(value_of, content)


def _validate(model: type[_Model], content: Any, mistakes: Mistakes, where: str) -> _Model | None:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        mistakes.update(describe(error, model, where))
        return None


def _resolve_evaluation(section: EvaluationSection | None, mistakes: Mistakes) -> Evaluated | None:
    if section is None:
        return None
    models = resolve_folder("evaluation.models", section.models, mistakes)
    dataset = resolve_folder("evaluation.dataset", section.dataset, mistakes)
    if section.models is not None and section.dataset is None:
        mistakes.add("evaluation.dataset", "is missing; name the folder to evaluate the models on")
    return None if dataset is None else Evaluated(dataset, models)


def _resolve_inbox(section: InboxSection | None, mistakes: Mistakes) -> Inbox | None:
    if section is None or section.root is None:
        return None
    root = resolve_place("inbox.root", section.root, mistakes)
    return None if root is None else Inbox(root, section.first_day, section.settled_seconds)
