"""What the event log says of each partition: whether it is stale, was tried, or is at work.

Whether something is stale is Dagster's own judgement, the one that the UI shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.data_version import (
    CachingStaleStatusResolver,
    StaleCauseCategory,
    StaleStatus,
    extract_data_version_from_entry,
)
from dagster._core.definitions.events import AssetKeyPartitionKey as Target
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from patchcore_assets.waves import category_of_run, wait_for_their_summary

if TYPE_CHECKING:
    from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
    from dagster._core.event_api import EventLogRecord


class Present:
    """What is so now, asked of the event log once.

    A target is an asset key with a category, or with None where the asset has no partitions.
    """

    def __init__(self, view: AssetGraphView) -> None:
        self._instance = view.instance
        self._graph = view.asset_graph
        self._queryer = view.get_inner_queryer_for_back_compat()
        self._versions = CachingStaleStatusResolver(
            view.instance, view.asset_graph, view, self._queryer
        )

    def is_fresh(self, target: Target) -> bool:
        """Tell whether an artefact is neither missing nor stale, or an input has been seen."""
        if self._graph.get(target.asset_key).is_external:
            return self.exists(target)
        status = self._versions.get_status(target.asset_key, target.partition_key)
        return status is StaleStatus.FRESH

    def exists(self, target: Target) -> bool:
        """Tell whether an artefact was ever made, or an input seen."""
        return self._latest(target) is not None

    def parents(self, target: Target) -> Iterator[Target]:
        """Yield what a target is made from: of its category, or of all where it has none."""
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
        """Tell whether a run was started for a target when its parents were as they are now."""
        attempt = self._instance.event_log_storage.get_latest_planned_materialization_info(
            target.asset_key, target.partition_key
        )
        made = self._latest(target)
        if attempt is None or (made is not None and made.storage_id > attempt.storage_id):
            return False
        return not any(
            self._is_newer(parent, attempt.storage_id, attempt.run_id)
            for parent in self._news(target)
        )

    def is_refused(self, target: Target) -> bool:
        """Tell whether a blocking check has refused an artefact as it is now."""
        latest = self._latest(target)
        if latest is None or self._graph.get(target.asset_key).is_external:
            return False
        evaluations = (
            record.event_log_entry.asset_check_evaluation
            for record in self._instance.get_records_for_run(
                latest.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
            ).records
        )
        return any(
            one.asset_key == target.asset_key
            and one.blocking
            and not one.passed
            and one.severity is dg.AssetCheckSeverity.ERROR
            for one in evaluations
            if one is not None
        )

    def is_left_to_its_wave(self, target: Target) -> bool:
        """Tell whether all that is new for a target comes from waves without a summary yet."""
        runs = {latest.run_id for parent in self._news(target) if (latest := self._latest(parent))}
        return bool(runs) and wait_for_their_summary(self._instance, runs)

    @cached_property
    def busy_categories(self) -> set[str | None]:
        """The categories for which a run is at work or waits; None stands for a run without one."""
        computed = self._graph.materializable_asset_keys
        return {
            category_of_run(run)
            for run in self._instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
            if run.asset_selection is None or run.asset_selection & computed
        }

    def _latest(self, target: Target) -> EventLogRecord | None:
        """Return the latest materialisation, or observation of an input."""
        return self._queryer.get_latest_materialization_or_observation_record(target)

    def _news(self, target: Target) -> list[Target]:
        """Return the parents for which a target is due: those that changed, or all if missing."""
        causes = self._versions.get_stale_causes(target.asset_key, target.partition_key)
        changed = {
            cause.dependency for cause in causes if cause.category is not StaleCauseCategory.CODE
        }
        return [parent for parent in self.parents(target) if not causes or parent in changed]

    def _is_newer(self, parent: Target, storage_id: int, run_id: str) -> bool:
        """Tell whether a parent has another version than the run that began there has seen."""
        latest = self._latest(parent)
        if latest is None or latest.storage_id <= storage_id or run_id in _makers(latest):
            return False
        before = self._queryer.get_latest_materialization_or_observation_record(
            parent, before_cursor=storage_id + 1
        )
        return before is None or _version(before) != _version(latest)


def _version(record: EventLogRecord) -> str | None:
    version = extract_data_version_from_entry(record.event_log_entry)
    return None if version is None else version.value


def _makers(record: EventLogRecord) -> set[str]:
    """Return the runs to which an event belongs: that of its step, or the one that reported it."""
    seen_by = record.asset_observation.metadata.get("seen_by") if record.asset_observation else None
    return {record.run_id, str(seen_by.value).removeprefix("run ") if seen_by else ""}
