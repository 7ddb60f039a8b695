"""The latest event of every category, read asset by asset in a few queries.

Their number does not depend on the number of categories, except that whole events are fetched a
thousand at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import dagster as dg

from patchcore_assets.inputs.recording import DATA_VERSION, known_versions

# None where an asset has no partitions.
Category: TypeAlias = str | None

_MADE = dg.DagsterEventType.ASSET_MATERIALIZATION
_SEEN = dg.DagsterEventType.ASSET_OBSERVATION
_EVENTS_AT_A_TIME = 1000


class Latest(NamedTuple):
    """The latest materialisation, or observation (with the first two fields only)."""

    storage_id: int
    version: str | None
    run_id: str = ""
    timestamp: float = 0.0
    provenance: dg.DataProvenance | None = None


class Attempt(NamedTuple):
    """The planned materialisation of a run that has not made its target (yet)."""

    storage_id: int
    run_id: str


# Events never change, and those of many categories take seconds to read: what the look before has
# read of an asset is kept, by the folder of its instance.
_Key: TypeAlias = tuple[Category, int, str | None]
_already_read: dict[tuple[str, dg.AssetKey], Mapping[_Key, Latest]] = {}


def latest_materializations(
    instance: dg.DagsterInstance, asset: dg.AssetKey
) -> dict[Category, Latest]:
    """Return the latest materialisation of each category that has one."""
    ids = instance.get_latest_storage_id_by_partition(asset, _MADE)
    versions = known_versions(instance, asset, _MADE)
    keys: dict[Category, _Key] = {
        category: (category, number, versions.get(category)) for category, number in ids.items()
    }
    place = (instance.storage_directory(), asset)
    known = _already_read.get(place, {})
    unknown = [key[1] for key in keys.values() if key not in known]
    read = {record.storage_id: _read(record) for record in _fetch(instance, asset, _MADE, unknown)}
    found: dict[Category, Latest] = {
        category: known.get(key) or read[key[1]]
        for category, key in keys.items()
        if key in known or key[1] in read
    }
    _already_read[place] = {keys[category]: latest for category, latest in found.items()}
    return found


def latest_unpartitioned(
    instance: dg.DagsterInstance, asset: dg.AssetKey, until: int | None = None
) -> dict[Category, Latest]:
    """Return the latest materialisation, up to a storage id, without partitions."""
    wanted = dg.AssetRecordsFilter(asset, before_storage_id=None if until is None else until + 1)
    made = instance.fetch_materializations(wanted, limit=1).records
    return {record.partition_key: _read(record) for record in made}


def latest_observations(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[Category, Latest]:
    """Return the latest observation of each category that has one."""
    ids = instance.get_latest_storage_id_by_partition(asset, _SEEN)
    versions = known_versions(instance, asset, _SEEN)
    return {category: Latest(number, versions.get(category)) for category, number in ids.items()}


def attempts(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dict[Category, Attempt]:
    """Return the latest run planned for each category that was not made since."""
    log = instance.event_log_storage
    found = log.get_latest_asset_partition_materialization_attempts_without_materializations(asset)
    return {category: Attempt(number, run_id) for category, (run_id, number) in found.items()}


def attempt_unpartitioned(
    instance: dg.DagsterInstance, asset: dg.AssetKey, made: Latest | None
) -> dict[Category, Attempt]:
    """Return the latest planned run of an asset without partitions, as `attempts`."""
    planned = instance.event_log_storage.get_latest_planned_materialization_info(asset)
    if planned is None or (made is not None and made.storage_id > planned.storage_id):
        return {}
    return {None: Attempt(planned.storage_id, planned.run_id)}


def versions_until(
    instance: dg.DagsterInstance, asset: dg.AssetKey, is_input: bool, until: Mapping[Category, int]
) -> dict[Category, str | None]:
    """Return the version that each category had at its own storage id, if it had one."""
    if None in until:
        made = latest_unpartitioned(instance, asset, until[None])
        return {category: latest.version for category, latest in made.items()}
    if not until:
        return {}
    kind, first, last = _SEEN if is_input else _MADE, min(until.values()), max(until.values())
    earliest = known_versions(instance, asset, kind, before=first + 1)
    versions: dict[Category, str | None] = {
        category: earliest[category] for category in until if category in earliest
    }
    for record in _between(instance, asset, kind, until, first, last):
        category = record.partition_key
        if category in until and record.storage_id <= until[category]:
            versions[category] = _version(record)
    return versions


def makers(
    instance: dg.DagsterInstance, asset: dg.AssetKey, is_input: bool, ids: Sequence[int]
) -> dict[int, set[str]]:
    """Return the runs of events: the run of the step, or the one that reported it."""
    found = {}
    for record in _fetch(instance, asset, _SEEN if is_input else _MADE, ids):
        seen = record.asset_observation
        seen_by = seen.metadata.get("seen_by") if seen else None
        reporter = str(seen_by.value).removeprefix("run ") if seen_by else ""
        found[record.storage_id] = {record.run_id, reporter}
    return found


def _fetch(
    instance: dg.DagsterInstance, asset: dg.AssetKey, kind: dg.DagsterEventType, ids: Sequence[int]
) -> Iterator[dg.EventLogRecord]:
    """Yield the events with these storage ids."""
    fetch = instance.fetch_observations if kind is _SEEN else instance.fetch_materializations
    for start in range(0, len(ids), _EVENTS_AT_A_TIME):
        some = ids[start : start + _EVENTS_AT_A_TIME]
        yield from fetch(dg.AssetRecordsFilter(asset, storage_ids=some), limit=len(some)).records


def _between(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    kind: dg.DagsterEventType,
    categories: Collection[Category],
    after: int,
    last: int,
) -> Iterator[dg.EventLogRecord]:
    """Yield the events of categories between two storage ids, in order."""
    fetch = instance.fetch_observations if kind is _SEEN else instance.fetch_materializations
    # A database takes only so many names in one query; of more, all events are gone through.
    names = [one for one in categories if one] if len(categories) <= _EVENTS_AT_A_TIME else None
    while after < last:
        wanted = dg.AssetRecordsFilter(
            asset, names, after_storage_id=after, before_storage_id=last + 1
        )
        page = fetch(wanted, limit=_EVENTS_AT_A_TIME, ascending=True)
        yield from page.records
        if not page.has_more or not page.records:
            return
        after = page.records[-1].storage_id


def _read(record: dg.EventLogRecord) -> Latest:
    return Latest(
        record.storage_id,
        _version(record),
        record.run_id,
        record.timestamp,
        dg.DataProvenance.from_tags(_tags(record)),
    )


def _version(record: dg.EventLogRecord) -> str | None:
    return _tags(record).get(DATA_VERSION)


def _tags(record: dg.EventLogRecord) -> Mapping[str, str]:
    event = record.asset_materialization or record.asset_observation
    return (event and event.tags) or {}
