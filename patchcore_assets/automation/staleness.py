"""The state of each partition by the event log: stale, tried, or at work.

Stale is what Dagster calls stale, computed for whole assets at a time because Dagster queries each
partition alone. One difference: Dagster does not compare an asset over 100 or more categories with
them, so it shows `metrics` as fresh; here it is compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg
from dagster._core.definitions.data_version import DEFAULT_DATA_VERSION, NULL_DATA_VERSION
from dagster._core.definitions.events import AssetKeyPartitionKey as Target

from patchcore_assets.automation import event_log
from patchcore_assets.automation.waves import PARTITION, wait_for_their_summary
from patchcore_assets.partitions import OF_DAYS

if TYPE_CHECKING:
    from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView

    from patchcore_assets.automation.event_log import Attempt, Category, Latest

# Dagster tags a run of a backfill, or of the automation, with a range even for a single category.
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
AT_WORK = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.SUSPENDED,
]


class Changes(NamedTuple):
    """Why an artefact is stale: parents with another version; other code or dependencies."""

    parents: frozenset[Target]
    is_otherwise: bool


class Present:
    """The state at one moment; each event is read once.

    A target is an asset key with a category, or with None where the asset has no partitions.
    """

    def __init__(self, view: AssetGraphView) -> None:
        self._instance = view.instance
        self._graph = view.asset_graph
        self._latest_of: dict[dg.AssetKey, dict[Category, Latest]] = {}
        self._tried_of: dict[dg.AssetKey, set[Category]] = {}
        self._changes_of: dict[Target, Changes] = {}
        self._versions_at: dict[tuple[dg.AssetKey, int], Mapping[Category, str | None]] = {}

    def is_fresh(self, target: Target) -> bool:
        """Tell whether an artefact is neither missing nor stale, or an input has been seen."""
        latest = self._latest(target)
        if latest is None or self._is_input(target.asset_key):
            return latest is not None
        changes = self._changes(target, latest)
        return not changes.parents and not changes.is_otherwise

    def exists(self, target: Target) -> bool:
        """Tell whether an artefact was ever made, or an input seen."""
        return self._latest(target) is not None

    def parents(self, target: Target) -> Iterator[Target]:
        """Yield the parents of a target: of its category, or of all where it has none."""
        for key in self._graph.get(target.asset_key).parent_keys:
            partitions = self._graph.get(key).partitions_def
            if partitions is None:
                yield Target(key)
            elif target.partition_key is not None:
                yield Target(key, target.partition_key)
            else:
                for category in partitions.get_partition_keys():
                    yield Target(key, category)

    def is_tried(self, target: Target) -> bool:
        """Tell whether a run was started for a target with its present parents."""
        asset = target.asset_key
        if asset not in self._tried_of:
            self._tried_of[asset] = self._tried(asset)
        return target.partition_key in self._tried_of[asset]

    def is_left_to_its_wave(self, target: Target) -> bool:
        """Tell whether all news of a target comes from waves without a summary yet."""
        runs = {latest.run_id for parent in self.news(target) if (latest := self._latest(parent))}
        return bool(runs) and wait_for_their_summary(self._instance, runs, *self._ends_of_a_wave)

    @cached_property
    def _ends_of_a_wave(self) -> tuple[dg.AssetKey, list[dg.AssetKey]]:
        """The asset that a wave makes for each category, and the last ones of its summary."""
        nodes = [self._graph.get(key) for key in self._graph.materializable_asset_keys]
        over_all = {node.key: node for node in nodes if node.partitions_def is None}
        measured = next(
            parent
            for node in over_all.values()
            for parent in node.parent_keys
            if parent not in over_all
        )
        return measured, [key for key, node in over_all.items() if not node.child_keys]

    @cached_property
    def busy_categories(self) -> set[str | None]:
        """The categories with a run at work or queued; None for a run without one.

        What is made of single days, by request only, keeps nothing waiting. A run of
        `patchcore benchmark` names no assets, and makes all.
        """
        computed = self._graph.materializable_asset_keys
        return {
            category
            for run in self._instance.get_runs(dg.RunsFilter(statuses=AT_WORK))
            if not run.asset_selection or run.asset_selection & computed
            for category in self._of_run(run)
        }

    @cached_property
    def _categories(self) -> list[str]:
        """All categories, in their order."""
        for key in self._graph.materializable_asset_keys:
            partitions = self._graph.get(key).partitions_def
            if partitions is not None and not isinstance(partitions, dg.MultiPartitionsDefinition):
                return list(partitions.get_partition_keys())
        return []

    def _of_run(self, run: dg.DagsterRun) -> list[str] | list[None]:
        """Return the category of a run, or those of its range of partitions."""
        start, end = (run.tags.get(tag) for tag in RANGE)
        if OF_DAYS in (run.tags.get(PARTITION) or start or ""):
            return []
        if PARTITION in run.tags:
            return [run.tags[PARTITION]]
        if start in self._categories and end in self._categories:
            return self._categories[self._categories.index(start) : self._categories.index(end) + 1]
        return [None]

    def _is_input(self, asset: dg.AssetKey) -> bool:
        return self._graph.get(asset).is_external

    def _latest(self, target: Target) -> Latest | None:
        """Return the latest materialisation, or observation of an input."""
        asset = target.asset_key
        if asset not in self._latest_of:
            if self._graph.get(asset).partitions_def is None:
                found = event_log.latest_unpartitioned(self._instance, asset)
            elif self._is_input(asset):
                found = event_log.latest_observations(self._instance, asset)
            else:
                found = event_log.latest_materializations(self._instance, asset)
            self._latest_of[asset] = found
        return self._latest_of[asset].get(target.partition_key)

    def _changes(self, target: Target, made: Latest) -> Changes:
        """Compare what an artefact was made from with the present."""
        if target not in self._changes_of:
            used = made.provenance
            self._changes_of[target] = (
                self._compare(target, used) if used else self._compare_times(target, made)
            )
        return self._changes_of[target]

    def _compare(self, target: Target, used: dg.DataProvenance) -> Changes:
        node = self._graph.get(target.asset_key)
        has_other_code = node.code_version is not None and node.code_version != used.code_version
        return Changes(
            frozenset(one for one in self.parents(target) if self._is_changed(target, used, one)),
            has_other_code or not used.input_data_versions.keys() <= node.parent_keys,
        )

    def _compare_times(self, target: Target, made: Latest) -> Changes:
        """Compare a materialisation that was reported by hand, without provenance."""
        later = (
            parent
            for parent in self.parents(target)
            if not self._is_input(parent.asset_key)
            and ((now := self._latest(parent)) is None or now.timestamp > made.timestamp)
        )
        return Changes(frozenset(later), is_otherwise=False)

    def _is_changed(self, target: Target, used: dg.DataProvenance, parent: Target) -> bool:
        """Tell whether a parent has another version than an artefact was made from."""
        asset, now = parent.asset_key, self._latest(parent)
        if not used.has_input_asset(asset):
            return True
        version = used.input_data_versions[asset].value
        if parent.partition_key is None:
            current = (
                (now.version or DEFAULT_DATA_VERSION.value) if now else NULL_DATA_VERSION.value
            )
            return version != current and (now is not None or version != DEFAULT_DATA_VERSION.value)
        seen_until = used.input_storage_ids.get(asset)
        if now is None or seen_until is None or now.storage_id <= seen_until:
            return False
        if target.partition_key is None or version == _UNKNOWN:
            # One recorded version stands for those of all categories, or for none.
            return self._version_at(asset, seen_until).get(parent.partition_key) != now.version
        # Dagster records the hash of the version; what a step has observed itself, the version.
        return version not in (now.version, _hash(now.version or ""))

    def _version_at(self, asset: dg.AssetKey, storage_id: int) -> Mapping[Category, str | None]:
        """Return the version of every category as of a storage id."""
        place = (asset, storage_id)
        if place not in self._versions_at:
            until: dict[Category, int] = dict.fromkeys(self._categories, storage_id)
            self._versions_at[place] = event_log.versions_until(
                self._instance, asset, self._is_input(asset), until
            )
        return self._versions_at[place]

    def news(self, target: Target) -> list[Target]:
        """Return the parents for which a target is due: the changed ones, or all if missing."""
        parents, made = list(self.parents(target)), self._latest(target)
        if made is None or self.is_fresh(target):
            return parents
        changed = self._changes(target, made).parents
        return [parent for parent in parents if parent in changed]

    def _tried(self, asset: dg.AssetKey) -> set[Category]:
        """Return the categories that a run was started for with their present parents."""
        if self._graph.get(asset).partitions_def is None:
            made = self._latest(Target(asset))
            tried = event_log.attempt_unpartitioned(self._instance, asset, made)
        else:
            tried = event_log.attempts(self._instance, asset)
        later: dict[dg.AssetKey, dict[Category, tuple[Category, Attempt]]] = {}
        for category, attempt in tried.items():
            for parent in self.news(Target(asset, category)):
                now = self._latest(parent)
                if now is not None and now.storage_id > attempt.storage_id:
                    place = later.setdefault(parent.asset_key, {})
                    place[parent.partition_key] = (category, attempt)
        again = {one for key, some in later.items() for one in self._with_other_input(key, some)}
        return set(tried) - again

    def _with_other_input(
        self, parent: dg.AssetKey, later: Mapping[Category, tuple[Category, Attempt]]
    ) -> Iterator[Category]:
        """Yield the categories whose attempt has neither seen nor made a parent's version."""
        is_input = self._is_input(parent)
        now = {one: latest for one in later if (latest := self._latest(Target(parent, one)))}
        makers = event_log.makers(
            self._instance, parent, is_input, [latest.storage_id for latest in now.values()]
        )
        until = {one: attempt.storage_id for one, (_, attempt) in later.items()}
        before = event_log.versions_until(self._instance, parent, is_input, until)
        for one, latest in now.items():
            category, attempt = later[one]
            is_known = one in before and before[one] == latest.version
            if not is_known and attempt.run_id not in makers.get(latest.storage_id, ()):
                yield category


def _hash(version: str) -> str:
    return hashlib.sha256(version.encode()).hexdigest()


# What Dagster records of a parent without a materialisation of that category.
_UNKNOWN = _hash("")
