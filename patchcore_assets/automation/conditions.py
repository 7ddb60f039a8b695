"""When assets are rebuilt without a request: the automation conditions and their sensor.

The conditions judge the present state: a partition is due when Dagster calls it stale or missing.
So nothing is lost while the sensor is off. Dagster's conditions on changes
(`data_version_changed` with `since_last_handled`) lose an input that changes in the tick in which
its asset is done.

A category is rebuilt in two runs at most. The manifest has a run of its own: a changed folder often
gives an equal manifest, and then the network must not run. Everything else shares one more run,
which loads torch once.

A failed or cancelled attempt is repeated only when an input has another version.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import dagster as dg
from dagster._core.definitions.events import AssetKeyPartitionKey as Target

from patchcore_assets.automation.staleness import Present

if TYPE_CHECKING:
    from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView

AUTOMATION_SENSOR = "rebuild_what_changed"

Context = dg.AutomationContext[dg.AssetKey]
Holds = Callable[[Target], bool]
Judge = Callable[[Present, Context], Holds]


class Fact(dg.AutomationCondition[dg.AssetKey]):
    """A condition that is judged target by target, from the event log."""

    def __init__(self, name: str, judge: Judge) -> None:
        self._name = name
        self._judge = judge

    @property
    def name(self) -> str:
        """The name in the UI."""
        return self._name

    def evaluate(self, context: Context) -> dg.AutomationResult[dg.AssetKey]:
        """Keep the candidates for which the condition holds."""
        holds = self._judge(present_of(context.asset_graph_view), context)
        candidates = context.candidate_subset.expensively_compute_asset_partitions()
        subset = context.asset_graph_view.get_asset_subset_from_asset_partitions(
            context.key, {target for target in candidates if holds(target)}
        )
        return dg.AutomationResult(context, subset)


# An evaluation has a view of its own, which all its conditions share; with it goes what was found.
_found_in: WeakKeyDictionary[AssetGraphView, Present] = WeakKeyDictionary()


def present_of(view: AssetGraphView) -> Present:
    """Return the state that all conditions of one evaluation share."""
    if view not in _found_in:
        _found_in[view] = Present(view)
    return _found_in[view]


def rebuild_when_stale() -> dg.AutomationCondition[Any]:
    """Return the condition of an asset that is partitioned by category."""

    def inputs_ready(present: Present, context: Context) -> Holds:
        in_this_run = _in_this_run(context)
        return lambda target: all(
            parent in in_this_run or present.is_fresh(parent) for parent in present.parents(target)
        )

    def category_at_work(present: Present, _: Context) -> Holds:
        return lambda target: target.partition_key in present.busy_categories

    return (
        (_due() | _parent_requested())
        & Fact("inputs_ready", inputs_ready)
        & ~Fact("category_at_work", category_at_work)
        & ~dg.AutomationCondition.in_progress()
        & ~_earlier_run_first()
    ).with_label("rebuild_when_stale")


def rebuild_after_the_last_category() -> dg.AutomationCondition[Any]:
    """Return the condition of an asset over all categories: once, after the last of them.

    Failed categories do not hold it up. A scheduled wave is left to its own summary.
    """

    def any_input(present: Present, context: Context) -> Holds:
        in_this_run = _in_this_run(context)
        return lambda target: any(
            parent in in_this_run or present.exists(parent) for parent in present.parents(target)
        )

    def left_to_its_wave(present: Present, _: Context) -> Holds:
        return present.is_left_to_its_wave

    def any_category_at_work(present: Present, _: Context) -> Holds:
        return lambda _: bool(present.busy_categories)

    return (
        ((_due() & ~Fact("left_to_its_wave", left_to_its_wave)) | _parent_requested())
        & Fact("any_input", any_input)
        & ~Fact("any_category_at_work", any_category_at_work)
        & ~dg.AutomationCondition.in_progress()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~_earlier_run_first()
    ).with_label("rebuild_after_the_last_category")


def automation_sensor(
    assets: dg.AssetSelection, seconds_between_ticks: int, run_tags: Mapping[str, str]
) -> dg.AutomationConditionSensorDefinition:
    """Define the sensor that requests what is due; it is off by default."""
    return dg.AutomationConditionSensorDefinition(
        AUTOMATION_SENSOR,
        target=assets,
        minimum_interval_seconds=seconds_between_ticks,
        run_tags=run_tags,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Rebuilds what is stale or missing, in each category in order, and then the table "
            "and the report once. Turn on watch_inputs too, which sees what has changed."
        ),
        emit_backfills=False,
        # Conditions of one's own are judged in the code location.
        use_user_code_server=True,
    )


def _due() -> Fact:
    return Fact(
        "out_of_date_and_not_tried",
        lambda present, _: (
            lambda target: not present.is_fresh(target) and not present.is_tried(target)
        ),
    )


def _parent_requested() -> Fact:
    def parent_requested(present: Present, context: Context) -> Holds:
        in_this_run = _in_this_run(context)
        return lambda target: any(parent in in_this_run for parent in present.parents(target))

    return Fact("parent_requested", parent_requested)


def _earlier_run_first() -> Fact:
    """Wait while an ancestor has a run of its own, which may change nothing."""

    def earlier_run_first(_: Present, context: Context) -> Holds:
        earlier = context.asset_graph.get_ancestor_asset_keys(context.key) - _companions(context)
        categories = {target.partition_key for target in _requested(earlier, context)}
        return lambda target: (
            bool(categories) if target.partition_key is None else target.partition_key in categories
        )

    return Fact("earlier_run_first", earlier_run_first)


def _in_this_run(context: Context) -> set[Target]:
    return _requested(_companions(context), context)


def _companions(context: Context) -> set[dg.AssetKey]:
    """Return the ancestors that may be made in the same run: not those made from inputs alone."""
    graph, partitions = context.asset_graph, context.partitions_def
    return {
        key
        for key in graph.get_ancestor_asset_keys(context.key) & graph.materializable_asset_keys
        if graph.get(key).partitions_def == partitions
        and graph.get(key).parent_keys & graph.materializable_asset_keys
    }


def _requested(assets: Collection[dg.AssetKey], context: Context) -> set[Target]:
    """Return the targets of assets that this evaluation has requested so far."""
    return {
        target
        for asset in assets
        if (subset := context.request_subsets_by_key.get(asset)) is not None
        for target in subset.expensively_compute_asset_partitions()
    }
