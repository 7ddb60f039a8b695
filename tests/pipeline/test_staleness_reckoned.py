"""What the automation calls stale is what Dagster's own resolver calls stale, whatever happened."""

import gc
import random
import warnings
import weakref
from typing import Any

import dagster as dg
import pytest
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.data_version import (
    CachingStaleStatusResolver,
    StaleStatus,
    extract_data_version_from_entry,
)
from dagster._core.definitions.events import AssetKeyPartitionKey as Target

from patchcore_assets.automation.conditions import present_of
from patchcore_assets.automation.staleness import Present
from patchcore_assets.inputs.recording import (
    DATA_VERSION,
    INPUT_DATA_VERSION,
    INPUT_EVENT_POINTER,
    observation,
)

CATEGORIES = ("a", "b", "c")
PARTITIONS = dg.StaticPartitionsDefinition(list(CATEGORIES))
BY_CATEGORY = ("first", "second")
INPUTS = ("folder", "setting")
OVER_ALL = ("table", "page")


class History:
    """A small graph of the benchmark's kind, and what happens to it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.codes = dict.fromkeys((*BY_CATEGORY, *OVER_ALL), "1")
        self.also_reads_the_setting = False

    def assets(self, version: str = "", points_to_inputs: bool = False) -> list[Any]:
        """Define the assets; each gives `version` to what it makes."""

        def made(name: str, deps: list[str], partitions: Any) -> dg.AssetsDefinition:
            @dg.asset(
                name=name, deps=deps, partitions_def=partitions, code_version=self.codes[name]
            )
            def make(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
                tags = self.pointers(deps, context.partition_key) if points_to_inputs else {}
                return dg.MaterializeResult(data_version=dg.DataVersion(version), tags=tags)

            return make

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            inputs = [
                dg.observable_source_asset(name=name, partitions_def=PARTITIONS)(lambda: None)
                for name in INPUTS
            ]
        of_first = ["folder", "setting"] if self.also_reads_the_setting else ["folder"]
        return [
            *inputs,
            made("first", of_first, PARTITIONS),
            made("second", ["first", "setting"], PARTITIONS),
            made("table", ["second"], None),
            made("page", ["table"], None),
        ]

    def pointers(self, deps: list[str], category: str) -> dict[str, str]:
        """Point to the latest observations of inputs, as the benchmark's own steps do."""
        tags = {}
        for name in set(deps) & set(INPUTS):
            for record in self.instance.fetch_observations(
                dg.AssetRecordsFilter(dg.AssetKey(name), [category]), limit=1
            ).records:
                assert record.asset_observation is not None
                tags[INPUT_EVENT_POINTER + name] = str(record.storage_id)
                tags[INPUT_DATA_VERSION + name] = (record.asset_observation.tags or {})[
                    DATA_VERSION
                ]
        return tags

    def fail(self, name: str, category: str | None, chance: random.Random) -> None:
        """Start a run that makes nothing, though it may have observed an input."""
        job = dg.Definitions(assets=self.assets()).resolve_implicit_global_asset_job_def()
        run = self.instance.create_run_for_job(
            job.get_subset(asset_selection={dg.AssetKey(name)}),
            tags={"dagster/partition": category} if category else {},
            status=dg.DagsterRunStatus.FAILURE,
            asset_selection=frozenset({dg.AssetKey(name)}),
        )
        if category and chance.random() < 0.5:
            event = observation(dg.AssetKey("setting"), category, "w", f"run {run.run_id}")
            self.instance.report_runless_asset_event(event)

    def happens(self, chance: random.Random) -> str:
        """Let one thing happen, and say what."""
        category, version = chance.choice(CATEGORIES), chance.choice("xyz")
        kind = chance.choices(
            ["observed", "made", "made over all", "failed", "reported", "new code", "new input"],
            [8, 10, 4, 6, 1, 1, 0.5],
        )[0]
        if kind == "observed":
            name = chance.choice(INPUTS)
            event = dg.AssetObservation(name, partition=category, tags={DATA_VERSION: version})
            self.instance.report_runless_asset_event(event)
        elif kind in ("made", "made over all"):
            name = chance.choice(BY_CATEGORY if kind == "made" else OVER_ALL)
            partition = category if kind == "made" else None
            assets = self.assets(
                version, points_to_inputs=partition is not None and chance.random() < 0.7
            )
            dg.materialize(
                assets, selection=[name], instance=self.instance, partition_key=partition
            )
        elif kind == "failed":
            name = chance.choice(list(self.codes))
            self.fail(name, category if name in BY_CATEGORY else None, chance)
        elif kind == "reported":
            name = chance.choice(BY_CATEGORY)
            event_by_hand = dg.AssetMaterialization(name, partition=category)
            self.instance.report_runless_asset_event(event_by_hand)
        elif kind == "new code":
            name = chance.choice(list(self.codes))
            self.codes[name] += "1"
        else:
            name = "first"
            self.also_reads_the_setting = not self.also_reads_the_setting
        return f"{kind} {name} {category} {version}"


def is_tried(view: AssetGraphView, target: Target, news: list[Target]) -> bool:
    """Tell of one target alone whether its last attempt has seen what is new for it."""
    latest = (
        view.get_inner_queryer_for_back_compat().get_latest_materialization_or_observation_record
    )
    attempt = view.instance.event_log_storage.get_latest_planned_materialization_info(
        target.asset_key, target.partition_key
    )
    made = latest(target)
    if attempt is None or (made is not None and made.storage_id > attempt.storage_id):
        return False
    for parent in news:
        now = latest(parent)
        if now is None or now.storage_id <= attempt.storage_id or now.run_id == attempt.run_id:
            continue
        seen = now.asset_observation
        if seen and attempt.run_id in str(seen.metadata.get("seen_by", "")):
            continue
        before = latest(parent, before_cursor=attempt.storage_id + 1)
        if before is None or version_of(before) != version_of(now):
            return False
    return True


def version_of(record: Any) -> Any:
    return extract_data_version_from_entry(record.event_log_entry)


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_dagster_after_whatever_happens(
    instance: dg.DagsterInstance, seed: int
) -> None:
    history, chance, happened = History(instance), random.Random(seed), []
    met, tried = set(), set()
    for _ in range(40):
        happened.append(history.happens(chance))
        view = AssetGraphView.for_test(dg.Definitions(assets=history.assets()), instance)
        present = Present(view)
        dagsters = CachingStaleStatusResolver(
            instance, view.asset_graph, view, view.get_inner_queryer_for_back_compat()
        )
        for name in (*BY_CATEGORY, *OVER_ALL):
            for category in CATEGORIES if name in BY_CATEGORY else (None,):
                target = Target(dg.AssetKey(name), category)
                status = dagsters.get_status(target.asset_key, category)
                assert present.is_fresh(target) == (status is StaleStatus.FRESH), (target, happened)
                assert present.exists(target) == (status is not StaleStatus.MISSING)
                causes = dagsters.get_stale_causes(target.asset_key, category)
                changed = {cause.dependency for cause in causes} & set(present.parents(target))
                if status is StaleStatus.STALE:
                    assert set(present.news(target)) == changed, (target, happened)
                if status is not StaleStatus.FRESH:
                    was_tried = is_tried(view, target, list(present.news(target)))
                    assert present.is_tried(target) == was_tried, (target, happened)
                    tried.add(was_tried)
                met.add(status)
    assert met == set(StaleStatus), "the history has been of every kind"
    assert tried == {True, False}


def test_the_table_is_compared_with_a_hundred_categories_and_more(
    instance: dg.DagsterInstance,
) -> None:
    names = [f"part {number}" for number in range(120)]
    partitions = dg.StaticPartitionsDefinition(names)

    @dg.asset(partitions_def=partitions, code_version="1")
    def second() -> None: ...

    @dg.asset(deps=[second], code_version="1")
    def table() -> None: ...

    def report(name: str, version: str) -> None:
        instance.report_runless_asset_event(
            dg.AssetMaterialization("second", partition=name, tags={DATA_VERSION: version})
        )

    def is_fresh() -> bool:
        view = AssetGraphView.for_test(dg.Definitions(assets=[second, table]), instance)
        return Present(view).is_fresh(Target(table.key))

    for name in names[:-1]:
        report(name, "x")
    assert dg.materialize([second, table], selection=[table], instance=instance).success
    assert is_fresh()
    report(names[3], "x")
    assert is_fresh(), "made again with an equal version"
    report(names[3], "y")
    assert not is_fresh()
    report(names[3], "x")
    assert is_fresh(), "and taken back"
    report(names[-1], "x")
    assert not is_fresh(), "a category that was not there"


@pytest.mark.parametrize("categories", [3, 60])
def test_the_number_of_queries_does_not_follow_the_categories(
    instance: dg.DagsterInstance, categories: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"part {number}" for number in range(categories)]
    partitions = dg.StaticPartitionsDefinition(names)

    @dg.asset(partitions_def=partitions, code_version="1")
    def first() -> None: ...

    @dg.asset(deps=[first], partitions_def=partitions, code_version="1")
    def second() -> None: ...

    for name in names:
        for asset in ("first", "second"):
            event = dg.AssetMaterialization(asset, partition=name, tags={DATA_VERSION: "x"})
            instance.report_runless_asset_event(event)
    queries: list[str] = []
    storage = type(instance.event_log_storage)
    connect = storage.index_connection
    monkeypatch.setattr(
        storage, "index_connection", lambda self: queries.append("one") or connect(self)
    )
    present = Present(AssetGraphView.for_test(dg.Definitions(assets=[first, second]), instance))
    for name in names:
        assert present.is_fresh(Target(first.key, name))
        assert not present.is_tried(Target(second.key, name))
    assert len(queries) < 25


def test_a_run_over_a_range_keeps_all_its_categories_busy(instance: dg.DagsterInstance) -> None:
    history = History(instance)
    definitions = dg.Definitions(assets=history.assets())
    job = definitions.resolve_implicit_global_asset_job_def()
    for tags in (
        {"dagster/asset_partition_range_start": "b", "dagster/asset_partition_range_end": "c"},
        {},
    ):
        assert "a" not in Present(AssetGraphView.for_test(definitions, instance)).busy_categories
        instance.create_run_for_job(
            job.get_subset(asset_selection={dg.AssetKey("first" if tags else "table")}),
            tags=tags,
            status=dg.DagsterRunStatus.STARTED,
        )
    busy = Present(AssetGraphView.for_test(definitions, instance)).busy_categories
    assert busy == {"b", "c", None}


def test_a_run_in_the_process_of_a_command_keeps_its_category_busy(
    instance: dg.DagsterInstance,
) -> None:
    seen = []

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    def first() -> None:
        seen.append(Present(AssetGraphView.for_test(definitions, instance)).busy_categories)

    definitions = dg.Definitions(assets=[first])
    definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key="a"
    )
    assert seen == [{"a"}]


def test_what_an_evaluation_found_goes_with_it(instance: dg.DagsterInstance) -> None:
    definitions = dg.Definitions(assets=History(instance).assets())
    # Dagster itself keeps the first view of a process.
    AssetGraphView.for_test(definitions, instance)
    view = AssetGraphView.for_test(definitions, instance)
    found = weakref.ref(present_of(view))
    assert present_of(view) is found(), "all conditions share it"
    del view
    gc.collect()
    assert found() is None
