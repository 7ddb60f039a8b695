"""The configuration of a run: read once, kept, and the same for all its steps.

The first step reads the file and keeps its content beside the artefacts. Tags of the run say which
configuration that is and where it is kept. All other steps, and a run that resumes a failed one,
read it there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg

from patchcore_assets.inputs.launched import read_as_launched, starts_runs_elsewhere
from patchcore_assets.storage.documents import read_document, write_document
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.config.snapshot import configuration_hash, restore, snapshot
from patchcore_ops.runtime.errors import ConfigError

CONFIGURATION = "patchcore/configuration"
CONFIGURATION_FILE = "patchcore/configuration_file"
# The run that has read it: Dagster hands tags on to runs that start anew, which read the file. The
# pages show no tag that begins like this.
CONFIGURATION_READ_BY = ".dagster/patchcore_configuration_read_by"

_FOLDER = ".configurations"
# What Dagster gives to a run that goes on where another has failed.
_CONTINUES = ("dagster/is_resume_retry", "dagster/is_asset_resume_retry", "dagster/retry_number")


def configuration_of_run(
    instance: dg.DagsterInstance, run: dg.DagsterRun, file: str
) -> tuple[BenchmarkConfig, bool]:
    """Return the configuration of a run, and whether it is kept already.

    A run that goes on where another has failed may do so on another machine, of which it takes
    what is each machine's own.
    """
    if not _is_kept(run):
        return read_as_launched(instance, run, file), False
    kept = _read_kept(run)
    if run.parent_run_id is None or not starts_runs_elsewhere(instance):
        return kept, True
    return _on_this_machine(kept, read_as_launched(instance, run, file)), True


def _read_kept(run: dg.DagsterRun) -> BenchmarkConfig:
    place = run.tags[CONFIGURATION_FILE]
    text = read_document(place)
    if text is None:
        raise ConfigError(
            f"{place}: the configuration with which the run began is gone; start a new run, which "
            "reads the file as it is now"
        )
    return restore(text)


def _on_this_machine(kept: BenchmarkConfig, own: BenchmarkConfig) -> BenchmarkConfig:
    """Return a kept configuration with the device, the folders and the cache of this machine."""
    pictures = {"save_segmentation_images": kept.runtime.save_segmentation_images}
    return replace(
        kept,
        path=own.path,
        dataset_root=own.dataset_root,
        storage_cache=own.storage_cache,
        storage_cache_bytes=own.storage_cache_bytes,
        runtime=own.runtime.model_copy(update=pictures),
    )


def keep_configuration(config: BenchmarkConfig, run_id: str, scratch: Path) -> Mapping[str, str]:
    """Keep the configuration beside the artefacts; return the tags that point to it."""
    text = snapshot(config)
    name = f"{_FOLDER}/{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    place = write_document(config.storage_root, name, text, scratch)
    return {
        CONFIGURATION: configuration_hash(config),
        CONFIGURATION_FILE: place,
        CONFIGURATION_READ_BY: run_id,
    }


def tags_of_configuration(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, str]:
    """Return the tags by which other runs share the configuration of a run."""
    run = instance.get_run_by_id(run_id)
    kept = (CONFIGURATION, CONFIGURATION_FILE, CONFIGURATION_READ_BY)
    return {} if run is None else {tag: run.tags[tag] for tag in kept if tag in run.tags}


def _is_kept(run: dg.DagsterRun) -> bool:
    if CONFIGURATION_FILE not in run.tags:
        return False
    is_own = run.parent_run_id is None or run.tags.get(CONFIGURATION_READ_BY) == run.run_id
    return is_own or any(tag in run.tags for tag in _CONTINUES)
