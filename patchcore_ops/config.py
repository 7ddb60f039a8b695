"""Reads the benchmark's YAML file and resolves what it means for each category.

One file says everything: sections with defaults (see `patchcore_ops.sections`) and `overrides` per
category. Paths are relative to the file; `${VAR}` is expanded; `PATCHCORE_DATASET_ROOT` and
`PATCHCORE_STORAGE_ROOT` win over the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from patchcore_ops.errors import ConfigError
from patchcore_ops.sections import (
    CategoryConfig,
    ConfigFile,
    DatasetSection,
    EmbeddingSection,
    ImageSize,
    RuntimeSection,
    ScheduleSection,
)

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
DATASET_ROOT_VARIABLE = "PATCHCORE_DATASET_ROOT"
STORAGE_ROOT_VARIABLE = "PATCHCORE_STORAGE_ROOT"

_CATEGORY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class BenchmarkConfig:
    """A whole configuration, validated and resolved.

    Attributes
    ----------
    path : Path
        The file that it was read from.
    dataset_root : Path
        Absolute folder that holds one folder per category.
    storage_root : str
        Absolute folder, or URL, that holds the artefacts.
    runtime : RuntimeSection
        What the machine does; no result depends on it.
    schedule : ScheduleSection
        When the benchmark runs by itself.
    by_category : mapping of str to CategoryConfig
        The resolved sections of each category, in the file's order (sorted where discovered).
    """

    path: Path
    dataset_root: Path
    storage_root: str
    runtime: RuntimeSection
    schedule: ScheduleSection
    by_category: Mapping[str, CategoryConfig]

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the categories: the partitions of every asset."""
        return tuple(self.by_category)

    def for_category(self, category: str) -> CategoryConfig:
        """Resolve the sections for one category: the defaults plus its overrides.

        Raises
        ------
        ConfigError
            If the category is not one of `categories`.
        """
        if category not in self.by_category:
            raise ConfigError(
                f"{self.path}: '{category}' is not one of the configured categories "
                f"({', '.join(self.categories)})"
            )
        return self.by_category[category]


def load_config(path: str | os.PathLike[str]) -> BenchmarkConfig:
    """Read and validate a configuration file.

    Parameters
    ----------
    path : path-like
        The YAML file.

    Returns
    -------
    BenchmarkConfig
        Paths absolute, variables expanded, categories and overrides resolved.

    Raises
    ------
    ConfigError
        With one line per mistake; each names the file and the key.
    """
    file = Path(path).expanduser().absolute()
    raw = _expand_variables(_read_yaml(file), file)
    config = _validate(ConfigFile, raw, file)
    dataset_root = _resolve_root(config.dataset.root, DATASET_ROOT_VARIABLE, file)
    categories = _categories(config.dataset, Path(dataset_root), file)
    _refuse_foreign_overrides(config, categories, file)
    return BenchmarkConfig(
        path=file,
        dataset_root=Path(dataset_root),
        storage_root=_resolve_root(config.storage.root, STORAGE_ROOT_VARIABLE, file),
        runtime=config.runtime,
        schedule=config.schedule,
        by_category={name: _resolve_category(name, raw, file) for name in categories},
    )


def section_hash(*sections: BaseModel, extra: Mapping[str, str] | None = None) -> str:
    """Hash resolved sections by value: equal settings give equal hashes, in any file.

    Parameters
    ----------
    sections : BaseModel
        Resolved sections, in a fixed order.
    extra : mapping, optional
        Further facts that belong to the version, such as the hash of a weights file.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    content = [section.model_dump(mode="json") for section in sections] + [dict(extra or {})]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: no such configuration file; set PATCHCORE_CONFIG to an existing one, "
            "or start from patchcore.yaml of this repository"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML ({' '.join(str(error).split())})") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must be a mapping of section names to sections")
    return {key: value for key, value in content.items() if value is not None}


def _expand_variables(content: Any, file: Path, where: str = "") -> Any:
    """Replace `${VAR}` in every string; an unset variable is an error that names the key."""
    if isinstance(content, dict):
        return {
            key: _expand_variables(value, file, f"{where}.{key}" if where else str(key))
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [
            _expand_variables(value, file, f"{where}.{position}")
            for position, value in enumerate(content)
        ]
    if not isinstance(content, str):
        return content

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ConfigError(f"{file}: {where} uses ${{{name}}}, which is not set")
        return os.environ[name]

    return _VARIABLE.sub(value_of, content)


def _validate(model: type[_Model], content: Any, file: Path, where: str = "") -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = dict.fromkeys(_describe(problem, where) for problem in error.errors())
        raise ConfigError("\n".join(f"{file}: {line}" for line in lines)) from None


def _describe(problem: ErrorDetails, where: str) -> str:
    """Turn one pydantic error into `section.key: what is wrong (got ...)`."""
    location = [str(part) for part in problem["loc"]]
    if location[:2] == ["dataset", "categories"]:
        return (
            "dataset.categories: must be 'mvtec', 'discover' or a list of names "
            f"(got {problem['input']!r})"
        )
    key = where + ".".join(location)
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; see README.md, Configuration, for those that exist"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if problem["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message} (got {problem['input']!r})"


def _resolve_root(configured: str, variable: str, file: Path) -> str:
    """Make a root absolute: relative to the file, or to here if the environment gave it."""
    from_environment = os.environ.get(variable)
    root = (from_environment or configured).removeprefix("file://")
    if "://" in root:
        protocol, _, path = root.partition("://")
        return f"{protocol}://{path.rstrip('/')}"
    base = Path.cwd() if from_environment else file.parent
    return os.path.normpath(base / Path(root).expanduser())


def _categories(dataset: DatasetSection, root: Path, file: Path) -> tuple[str, ...]:
    if dataset.categories == "mvtec":
        return MVTEC_CATEGORIES
    names = _discover(root, file) if dataset.categories == "discover" else dataset.categories
    if not names:
        raise ConfigError(f"{file}: dataset.categories: names no category")
    for name in names:
        if not _CATEGORY_NAME.fullmatch(name):
            raise ConfigError(
                f"{file}: dataset.categories: {name!r} cannot be a category; "
                "use letters, digits, '_', '-' and '.', beginning with a letter, digit or '_'"
            )
    if len(set(names)) != len(names):
        raise ConfigError(f"{file}: dataset.categories: names one category twice: {names}")
    return tuple(names)


def _discover(root: Path, file: Path) -> list[str]:
    found = sorted(folder.parent.name for folder in root.glob("[!.]*/train") if folder.is_dir())
    if not found:
        raise ConfigError(
            f"{file}: dataset.categories: discover found no folder with a 'train' folder below "
            f"{root}; put one folder per category there, or correct dataset.root"
        )
    return found


def _refuse_foreign_overrides(config: ConfigFile, categories: tuple[str, ...], file: Path) -> None:
    """Refuse overrides of categories, sections or keys that cannot be overridden."""
    mistakes = []
    for category, sections in config.overrides.items():
        if category not in categories:
            mistakes.append(
                f"overrides.{category}: not one of the configured categories "
                f"({', '.join(categories)})"
            )
        for name, keys in sections.items():
            if name not in CategoryConfig.model_fields:
                mistakes.append(
                    f"overrides.{category}.{name}: cannot be overridden per category; "
                    f"these can: {', '.join(CategoryConfig.model_fields)}"
                )
            elif name == "dataset" and (foreign := set(keys) - set(ImageSize.model_fields)):
                mistakes.append(
                    f"overrides.{category}.dataset.{min(foreign)}: cannot be overridden per "
                    f"category; these can: {', '.join(ImageSize.model_fields)}"
                )
    if mistakes:
        raise ConfigError("\n".join(f"{file}: {mistake}" for mistake in mistakes))


def _resolve_category(category: str, raw: Mapping[str, Any], file: Path) -> CategoryConfig:
    """Lay a category's overrides over the general sections and validate the whole."""
    override = raw.get("overrides", {}).get(category, {})
    merged = {
        name: {**(raw.get(name) or {}), **override.get(name, {})}
        for name in CategoryConfig.model_fields
    }
    merged["dataset"] = {
        key: value for key, value in merged["dataset"].items() if key in ImageSize.model_fields
    }
    config = _validate(CategoryConfig, merged, file, where=f"overrides.{category}.")
    return config.model_copy(update={"embedding": _with_absolute_weights(config.embedding, file)})


def _with_absolute_weights(embedding: EmbeddingSection, file: Path) -> EmbeddingSection:
    members = [
        member
        if member.weights is None
        else member.model_copy(
            update={"weights": os.path.normpath(file.parent / Path(member.weights).expanduser())}
        )
        for member in embedding.members
    ]
    return embedding.model_copy(update={"members": members})
