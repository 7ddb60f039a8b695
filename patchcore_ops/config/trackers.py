"""The list `tracking` of a configuration: each tracker, and the folder in which it writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from patchcore_ops.config.addresses import is_url
from patchcore_ops.config.mistakes import Mistakes, describe, shown
from patchcore_ops.config.paths import resolve_path
from patchcore_ops.config.sections import TrackerSection
from patchcore_ops.config.yaml_document import join_key

# Below a storage on this machine, beside the assets.
FOLDER = "trackers"
MLFLOW_URI = "MLFLOW_TRACKING_URI"
WANDB_URI = "WANDB_BASE_URL"


def read_trackers(
    content: Any, storage_root: str | None, mistakes: Mistakes
) -> tuple[TrackerSection, ...]:
    """Validate the trackers; each that writes on this machine gets the path of its folder."""
    if not isinstance(content, list):
        mistakes.add(
            "tracking", f"must be a list of trackers, each with a kind (got {shown(content)})"
        )
        return ()
    return tuple(_trackers(content, storage_root, mistakes))


def _trackers(
    content: list[Any], storage_root: str | None, mistakes: Mistakes
) -> Iterator[TrackerSection]:
    for position, keys in enumerate(content):
        where = join_key("tracking", str(position))
        try:
            tracker = TrackerSection.model_validate(keys)
        except ValidationError as error:
            mistakes.update(describe(error, TrackerSection, where))
            continue
        has_server = tracker.uri or os.environ.get(MLFLOW_URI)
        if tracker.kind == "mlflow" and tracker.online and not has_server:
            mistakes.add(
                join_key(where, "uri"), f"is needed with online: true; or set {MLFLOW_URI}"
            )
        folder = _folder(tracker, storage_root, mistakes, join_key(where, "folder"))
        yield tracker.model_copy(update={"folder": folder})


def _folder(
    tracker: TrackerSection, storage_root: str | None, mistakes: Mistakes, key: str
) -> str | None:
    """Return the absolute folder of a tracker; None where all is on a server."""
    if tracker.folder is not None:
        return resolve_path(key, tracker.folder, mistakes)
    if tracker.online or storage_root is None:
        return None
    if is_url(storage_root):
        mistakes.add(key, f"is needed, for {tracker.kind} writes files and storage.root is a URL")
        return None
    return str(Path(storage_root, FOLDER, tracker.kind))
