"""Faults that earlier releases had, planted to see that the comparison finds them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import dagster as dg
import pandas as pd

from patchcore_assets.step import work
from patchcore_assets.step.lineage import Ancestry
from patchcore_assets.step.resource import Benchmark
from patchcore_ops.config import load_config
from patchcore_ops.config.recorded_settings import record
from patchcore_ops.runtime.fingerprints import file_hash
from patchcore_ops.stages import layout

_READ_IMAGES = layout.read_images
_SECTIONS = ("dataset", "embedding", "coreset", "index", "scoring", "metrics")


@contextmanager
def planted(fault: str | None) -> Iterator[None]:
    """Put one fault into the product for a while.

    Parameters
    ----------
    fault : str or None
        `position`: scores are joined to the images of today's manifest by their position, and
        nothing compares versions. `refused`: what a blocking check refuses becomes current. `file`:
        every step reads the configuration anew, and takes all settings from there; so does the
        report.
    """
    report = importlib.import_module("patchcore_assets.assets.benchmark_report")
    patches: dict[str | None, list[tuple[Any, str, Any]]] = {
        "position": [
            (Ancestry, "add", lambda self, artefact: None),
            (layout, "read_images", _by_position),
        ],
        "refused": [(work.Work, "_refused", _current_all_the_same)],
        "file": [
            (report, "settings_of", _in_the_file),
            (Benchmark, "_configuration", lambda self, *_: (load_config(self.config_path), True)),
            (work.Work, "settings", property(_of_today)),
        ],
    }
    with ExitStack() as stack:
        for owner, name, replacement in patches.get(fault, []):
            stack.enter_context(mock.patch.object(owner, name, replacement))
        yield


def _by_position(folder: Any, asset: str = "raw_embeddings") -> Any:
    images = _READ_IMAGES(folder, asset)
    category = images["path"].iloc[0].split("/")[0]
    storage = next(up for up in folder.parents if (up / ".versions").is_dir())
    now = pd.read_parquet(storage / "image_manifest" / category / "manifest.parquet")
    if len(now) != len(images) or (now["split"] != images["split"].to_numpy()).any():
        return images
    return now.assign(pixels=images["pixels"].to_numpy())


def _current_all_the_same(self: Any, sentences: Any, findings: Any, recorded: Any) -> Any:
    self._staging.commit(recorded, (), {one.place: one.data_version for one in self._read})
    raise dg.Failure(description=" ".join(sentences), allow_retries=False)


def _of_today(self: Any) -> Any:
    return load_config(self.config.path).for_category(self.category)


def _in_the_file(artefact: Any) -> Any:
    site = next(up.parent for up in artefact.folder.parents if up.name == "storage")
    settings = load_config(site / "benchmark.yaml").for_category(artefact.category)
    return record(settings, _SECTIONS, file_hash)
