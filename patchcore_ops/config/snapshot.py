"""A resolved configuration as JSON, read again without its YAML file.

The file and the environment may have changed since it was read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from patchcore_ops.config.load import BenchmarkConfig, Evaluated, Inbox
from patchcore_ops.config.sections import (
    CategoryConfig,
    RuntimeSection,
    ScheduleSection,
    TrackerSection,
)


def snapshot(config: BenchmarkConfig) -> str:
    """Write a resolved configuration as JSON; equal settings are written once."""
    return json.dumps(_document(config), indent=1, ensure_ascii=False) + "\n"


def restore(text: str) -> BenchmarkConfig:
    """Read what `snapshot` has written."""
    content = json.loads(text)
    settings = [CategoryConfig.model_validate(one) for one in content["settings"]]
    cache = content["storage_cache"]
    return BenchmarkConfig(
        path=content["path"],
        dataset_root=Path(content["dataset_root"]),
        storage_root=content["storage_root"],
        storage_cache=None if cache is None else Path(cache),
        storage_cache_bytes=content["storage_cache_bytes"],
        runtime=RuntimeSection.model_validate(content["runtime"]),
        schedule=ScheduleSection.model_validate(content["schedule"]),
        # A run that began with an earlier release has none.
        tracking=tuple(
            TrackerSection.model_validate(tracker) for tracker in content.get("tracking", [])
        ),
        by_category={name: settings[at] for name, at in content["categories"].items()},
        evaluation=_evaluated(content.get("evaluation")),
        inbox=Inbox(**content["inbox"]) if "inbox" in content else None,
    )


def configuration_hash(config: BenchmarkConfig) -> str:
    """Hash a configuration, except its path: 16 hexadecimal digits."""
    content = {**_document(config), "path": None}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _document(config: BenchmarkConfig) -> dict[str, Any]:
    # Categories without overrides share one object; a thousand of them are written once.
    distinct = list({id(one): one for one in config.by_category.values()}.values())
    at = {id(one): position for position, one in enumerate(distinct)}
    cache = config.storage_cache
    again = config.evaluation
    evaluated = {} if again is None else {"evaluation": _paths(again)}
    inbox = {} if config.inbox is None else {"inbox": asdict(config.inbox)}
    return {
        **evaluated,
        **inbox,
        "path": config.path,
        "dataset_root": str(config.dataset_root),
        "storage_root": config.storage_root,
        "storage_cache": None if cache is None else str(cache),
        "storage_cache_bytes": config.storage_cache_bytes,
        "runtime": config.runtime.model_dump(mode="json"),
        "schedule": config.schedule.model_dump(mode="json"),
        "tracking": [tracker.model_dump(mode="json") for tracker in config.tracking],
        "settings": [_sections(one) for one in distinct],
        "categories": {name: at[id(one)] for name, one in config.by_category.items()},
    }


def _paths(evaluated: Evaluated) -> dict[str, str | None]:
    models = evaluated.models
    return {
        "dataset": str(evaluated.dataset_root),
        "models": None if models is None else str(models),
    }


def _evaluated(content: dict[str, str | None] | None) -> Evaluated | None:
    if content is None:
        return None
    models = content["models"]
    return Evaluated(Path(str(content["dataset"])), None if models is None else Path(models))


def _sections(settings: CategoryConfig) -> dict[str, Any]:
    """Dump all sections, with `max_pixels`, which no version counts."""
    dumped = settings.model_dump(mode="json")
    return {**dumped, "dataset": {**dumped["dataset"], "max_pixels": settings.dataset.max_pixels}}
