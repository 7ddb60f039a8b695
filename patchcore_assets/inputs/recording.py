"""Which versions of the inputs Dagster knows, and how a new one becomes known.

Dagster calls an artefact stale when an input was observed with another version after the
observation that the artefact points to. So a step first makes the version in hand the latest
observed one, and then points to that observation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import dagster as dg

from patchcore_assets.inputs.launched import starts_runs_elsewhere
from patchcore_assets.inputs.versions import inputs_of
from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.config.snapshot import configuration_hash
from patchcore_ops.runtime.errors import UserError
from patchcore_ops.runtime.fingerprints import ABSENT, FileHashes, HashOf

# Tags that Dagster reads: the version of an observation, and what a materialisation was made from.
DATA_VERSION = "dagster/data_version"
INPUT_DATA_VERSION = "dagster/input_data_version/"
INPUT_EVENT_POINTER = "dagster/input_event_pointer/"

_FOLDER = "file_hashes"


def file_hashes(
    instance: dg.DagsterInstance, config: BenchmarkConfig, category: str, until: float | None = None
) -> FileHashes:
    """Return the hasher of a category's files; see `FileHashes` for `until`.

    Its memory describes files of this machine, so it lies in Dagster's local storage.
    """
    place = hashlib.sha256(str(config.dataset_root / category).encode()).hexdigest()[:8]
    return FileHashes(_memory(instance, f"{category}-{place}"), until)


def weights_hashes(instance: dg.DagsterInstance) -> FileHashes:
    """Return the hasher of weights files, which categories share; see `file_hashes`."""
    return FileHashes(_memory(instance, "weights"))


def _memory(instance: dg.DagsterInstance, name: str) -> Path:
    return Path(instance.storage_directory()) / _FOLDER / name


def observation(
    asset: dg.AssetKey, category: str, version: str, seen_by: str
) -> dg.AssetObservation:
    """Return the event that an input has a version; it needs no run."""
    return dg.AssetObservation(
        asset, partition=category, tags={DATA_VERSION: version}, metadata={"seen_by": seen_by}
    )


def known_versions(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    kind: dg.DagsterEventType = dg.DagsterEventType.ASSET_OBSERVATION,
    before: int | None = None,
) -> dict[str | None, str]:
    """Return the version of each category's latest event of a kind, before a storage id."""
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        asset, kind, [DATA_VERSION], before_cursor=before
    )
    return {category: one[DATA_VERSION] for category, one in tags.items() if DATA_VERSION in one}


def record_inputs(
    instance: dg.DagsterInstance,
    config: BenchmarkConfig,
    category: str,
    assets: Collection[dg.AssetKey],
    hash_of: HashOf,
    seen_by: str,
) -> Mapping[str, str]:
    """Make the present versions of inputs known; return tags that point to them."""
    tags = {}
    for observed in inputs_of(config):
        if observed.key in assets:
            version = observed.version_of(config, category, hash_of)
            if version == ABSENT:
                continue
            event = _ensure_known(instance, observed.key, category, version, seen_by)
            name = observed.key.to_user_string()
            tags[INPUT_DATA_VERSION + name] = version
            tags[INPUT_EVENT_POINTER + name] = str(event)
    return tags


def record_newer_settings(
    instance: dg.DagsterInstance,
    used: BenchmarkConfig,
    category: str,
    assets: Collection[dg.AssetKey],
    hash_of: HashOf,
) -> None:
    """Make settings known that changed while a run used the ones before.

    Where runs are started elsewhere, a node may have a file of its own: the sensor looks.
    """
    if starts_runs_elsewhere(instance):
        return
    try:
        now = load_config(used.path)
        if category not in now.categories or configuration_hash(now) == configuration_hash(used):
            return
        for observed in inputs_of(now):
            if observed.key in assets and observed.sections:
                version = observed.version_of(now, category, hash_of)
                _ensure_known(instance, observed.key, category, version, "a run that began before")
    except UserError:
        # A file that cannot be used now has nothing to say about a run that is over.
        return


def _ensure_known(
    instance: dg.DagsterInstance, asset: dg.AssetKey, category: str, version: str, seen_by: str
) -> int:
    """Return the storage id of the observation that makes a version the latest."""
    of_category = dg.AssetRecordsFilter(asset, [category])
    latest = _observations(instance, of_category, 1)
    if latest and latest[0][1] == version:
        return latest[0][0]
    instance.report_runless_asset_event(observation(asset, category, version, seen_by))
    # Someone else may have reported a version in between, but hardly ten.
    return next(
        number for number, seen in _observations(instance, of_category, 10) if seen == version
    )


def _observations(
    instance: dg.DagsterInstance, wanted: dg.AssetRecordsFilter, limit: int
) -> list[tuple[int, str]]:
    """Return storage id and version of the latest observations with one, the latest first."""
    return [
        (record.storage_id, version)
        for record in instance.fetch_observations(wanted, limit=limit).records
        if (event := record.asset_observation) and (version := (event.tags or {}).get(DATA_VERSION))
    ]
