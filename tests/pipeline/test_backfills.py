"""Backfills: each is a wave, with one summary however its runs end; a run makes one category."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    OTHER,
    OVER_ALL,
    Configure,
    Finished,
    category_of_run,
    failures,
)
from test_waves import Watched

from patchcore_assets.automation.waves import (
    BENCHMARK_JOB,
    wait_for_their_summary,
    wave_of_run,
)
from patchcore_assets.graph import define
from patchcore_assets.step.one_category import refuse_partition_range
from patchcore_ops.config import load_config
from patchcore_ops.runtime.errors import ConfigError

ASKED = datetime(2026, 3, 1, 3, 0, 7, 250_000, tzinfo=UTC)
FIRST = "2026-03-01T03:00:07+00:00 abcdefgh"
STATUS = BulkActionStatus
MEASURED = dg.AssetKey("category_metrics")
# What a summary ends with; nobody asks for the first one here.
ENDS = [dg.AssetKey("tracked_results"), dg.AssetKey("benchmark_report")]


def waits(instance: dg.DagsterInstance, run_ids: list[str]) -> bool:
    return wait_for_their_summary(instance, run_ids, MEASURED, ENDS)


class Backfilled(Watched):
    """A backfill as Dagster's daemon would work on it."""

    def ask(self, *assets: str, name: str = "abcdefgh", asked: datetime = ASKED) -> None:
        """Ask for assets of both categories."""
        self.instance.add_backfill(
            PartitionBackfill(
                backfill_id=name,
                status=STATUS.REQUESTED,
                from_failure=False,
                tags={},
                backfill_timestamp=asked.timestamp(),
                asset_selection=[dg.AssetKey(asset) for asset in assets],
            )
        )

    def start(self, category: str | None, *assets: str, name: str = "abcdefgh") -> dg.DagsterRun:
        """Start one of its runs, tagged as Dagster does."""
        place = "dagster/asset_partition_range"
        category_tags = {f"{place}_start": category, f"{place}_end": category} if category else {}
        return self.instance.create_run_for_job(
            self.definitions.resolve_implicit_global_asset_job_def(),
            status=dg.DagsterRunStatus.STARTED,
            asset_selection={dg.AssetKey(asset) for asset in assets},
            tags={"dagster/backfill": name, **category_tags},
        )

    def end(self, run: dg.DagsterRun, status: str) -> None:
        """End a run."""
        self.report(run, dg.DagsterEventType[f"RUN_{status}"])

    def settle(self, status: BulkActionStatus, name: str = "abcdefgh") -> None:
        """Say that Dagster starts no more runs of it."""
        backfill = self.instance.get_backfill(name)
        assert backfill is not None
        self.instance.update_backfill(backfill.with_status(status))


@pytest.fixture
def backfilled(configure: Configure) -> Iterator[Backfilled]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Backfilled(configure(), instance)


def test_a_run_that_would_be_started_again_is_not_waited_for_once_the_backfill_has_ended(
    backfilled: Backfilled,
) -> None:
    backfilled.ask(*BY_CATEGORY)
    one, other = (backfilled.start(name, *BY_CATEGORY) for name in (CATEGORY, OTHER))
    backfilled.end(one, "SUCCESS")
    backfilled.end(other, "FAILURE")
    backfilled.instance.add_run_tags(other.run_id, {"dagster/will_retry": "true"})
    assert backfilled.tick() == ([], "a wave is at work")
    backfilled.settle(STATUS.COMPLETED_FAILED)
    assert backfilled.tick()[0] == [FIRST]


@pytest.mark.parametrize(
    ("asked", "outcome", "status"),
    [
        (BY_CATEGORY, "FAILURE", STATUS.COMPLETED_FAILED),
        (BY_CATEGORY, "SUCCESS", STATUS.COMPLETED_SUCCESS),
        (BY_CATEGORY, "CANCELED", STATUS.CANCELED),
        # What is over all categories is left out where one of them has failed.
        ((*BY_CATEGORY, *OVER_ALL), "FAILURE", STATUS.COMPLETED_FAILED),
        (("category_metrics",), "FAILURE", STATUS.FAILED),
    ],
)
def test_a_backfill_has_one_summary_when_it_is_over(
    backfilled: Backfilled, asked: tuple[str, ...], outcome: str, status: BulkActionStatus
) -> None:
    by_category = [asset for asset in asked if asset in BY_CATEGORY]
    backfilled.ask(*asked)
    assert backfilled.tick() == ([], "a wave is at work"), "no run has been started yet"
    one = backfilled.start(CATEGORY, *by_category)
    other = backfilled.start(OTHER, *by_category)
    backfilled.end(one, "SUCCESS")
    assert backfilled.tick() == ([], "a wave is at work")
    assert waits(backfilled.instance, [one.run_id])
    backfilled.end(other, outcome)
    assert backfilled.tick() == ([], "a wave is at work"), "Dagster may start more"
    backfilled.settle(status)
    lost = backfilled.cursor
    assert backfilled.tick()[0] == [FIRST]
    assert waits(backfilled.instance, [one.run_id, other.run_id])
    by_hand = backfilled.instance.create_run_for_job(
        backfilled.definitions.resolve_job_def(BENCHMARK_JOB)
    )
    assert not waits(backfilled.instance, [one.run_id, by_hand.run_id])
    assert waits(backfilled.instance, [one.run_id])
    backfilled.start_summary(FIRST)
    assert not waits(backfilled.instance, [one.run_id])
    for cursor in (backfilled.cursor, lost, None):
        backfilled.cursor = cursor
        assert backfilled.tick() == ([], "no wave is at work"), "once, whatever the cursor says"


def test_a_run_that_outlives_its_backfill_is_waited_for(backfilled: Backfilled) -> None:
    backfilled.ask(*BY_CATEGORY)
    backfilled.end(backfilled.start(CATEGORY, *BY_CATEGORY), "SUCCESS")
    slow = backfilled.start(OTHER, *BY_CATEGORY)
    backfilled.settle(STATUS.CANCELED)
    assert backfilled.tick() == ([], "a wave is at work")
    backfilled.end(slow, "CANCELED")
    assert backfilled.tick()[0] == [FIRST]


def test_a_backfill_that_has_made_its_report_needs_no_summary(backfilled: Backfilled) -> None:
    backfilled.ask(*BY_CATEGORY, *OVER_ALL)
    runs = [backfilled.start(category, *BY_CATEGORY) for category in (CATEGORY, OTHER)]
    for run in runs:
        backfilled.end(run, "SUCCESS")
    over_all = backfilled.start(None, *OVER_ALL)
    assert wave_of_run(backfilled.instance, over_all, MEASURED) == FIRST
    backfilled.instance.report_runless_asset_event(dg.AssetMaterialization("benchmark_report"))
    backfilled.end(over_all, "SUCCESS")
    backfilled.settle(STATUS.COMPLETED_SUCCESS)
    assert backfilled.tick() == ([], "no wave is at work")
    assert not waits(backfilled.instance, [runs[0].run_id])


def test_a_report_of_before_is_none_of_the_backfill(backfilled: Backfilled) -> None:
    backfilled.instance.report_runless_asset_event(dg.AssetMaterialization("benchmark_report"))
    backfilled.ask(*BY_CATEGORY)
    backfilled.end(backfilled.start(CATEGORY, *BY_CATEGORY), "SUCCESS")
    backfilled.settle(STATUS.COMPLETED_SUCCESS)
    assert backfilled.tick()[0] == [FIRST]


def test_a_backfill_in_which_everything_failed_has_no_summary(backfilled: Backfilled) -> None:
    backfilled.ask(*BY_CATEGORY)
    run = backfilled.start(CATEGORY, *BY_CATEGORY)
    backfilled.end(run, "FAILURE")
    assert waits(backfilled.instance, [run.run_id])
    backfilled.settle(STATUS.COMPLETED_FAILED)
    assert not waits(backfilled.instance, [run.run_id])
    assert backfilled.tick() == ([], f"no run of wave {FIRST} succeeded, so it has no summary")
    assert backfilled.tick() == ([], "no wave is at work")


def test_a_backfill_without_metrics_is_no_wave(backfilled: Backfilled) -> None:
    backfilled.ask("image_manifest", "raw_embeddings")
    run = backfilled.start(CATEGORY, "image_manifest", "raw_embeddings")
    assert backfilled.tick() == ([], "no wave is at work")
    assert not waits(backfilled.instance, [run.run_id])
    backfilled.end(run, "SUCCESS")
    backfilled.settle(STATUS.COMPLETED_SUCCESS)
    assert backfilled.tick() == ([], "no wave is at work")


def test_backfills_of_one_second_are_two_waves(backfilled: Backfilled) -> None:
    for name in ("abcdefgh", "ijklmnop"):
        backfilled.ask(*BY_CATEGORY, name=name)
        backfilled.end(backfilled.start(CATEGORY, *BY_CATEGORY, name=name), "SUCCESS")
    backfilled.settle(STATUS.COMPLETED_SUCCESS, "ijklmnop")
    assert backfilled.tick()[0] == [FIRST.replace("abcdefgh", "ijklmnop")]
    backfilled.start_summary(FIRST.replace("abcdefgh", "ijklmnop"))
    backfilled.settle(STATUS.COMPLETED_SUCCESS)
    assert backfilled.tick()[0] == [FIRST]


def test_a_run_of_a_range_of_one_is_a_run_of_its_category(backfilled: Backfilled) -> None:
    assert category_of_run(backfilled.start(OTHER, *BY_CATEGORY)) == OTHER
    assert category_of_run(backfilled.add(CATEGORY, "STARTED")) == CATEGORY
    assert category_of_run(backfilled.start(None, *OVER_ALL)) is None


def test_several_categories_cannot_be_chosen_as_a_single_run(configure: Configure) -> None:
    graph = define(load_config(configure())).resolve_asset_graph()
    for asset in BY_CATEGORY:
        policy = graph.get(dg.AssetKey(asset)).backfill_policy
        assert policy is not None, asset
        assert policy.max_partitions_per_run == 1, asset
    job = define(load_config(configure())).resolve_job_def(BENCHMARK_JOB)
    assert job.backfill_policy.max_partitions_per_run == 1


def materialise(config: Path, tags: dict[str, str]) -> dict[str, str]:
    """Materialise the manifest in a run with tags; return what failed steps say."""
    job = define(load_config(config)).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance,
            tags=tags,
            asset_selection=[dg.AssetKey("image_manifest")],
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    return failures(result)


def test_a_run_of_several_categories_says_what_to_type(configure: Configure) -> None:
    config, place = configure(), "dagster/asset_partition_range"
    assert materialise(config, {f"{place}_start": OTHER, f"{place}_end": OTHER}) == {}
    assert materialise(config, {f"{place}_start": CATEGORY, f"{place}_end": OTHER}) == {
        "image_manifest": (
            "image_manifest: a run makes one category; type `patchcore benchmark --config "
            f"{config} {CATEGORY} {OTHER}`, or choose the categories in the UI, which starts a "
            "run for each"
        )
    }


def test_a_run_without_a_category_says_so(configure: Configure) -> None:
    said = materialise(configure(), {})
    assert said == {
        "image_manifest": "image_manifest: this run has no category; give one, with --partition"
    }


@pytest.mark.parametrize(
    ("asked", "categories"),
    [
        (f"{CATEGORY}...{OTHER}", f"{CATEGORY} {OTHER}"),
        (f"{OTHER}...{OTHER}", OTHER),
        (f"{CATEGORY}...nowhere", f"{CATEGORY} {OTHER}"),
        ("nonsense", f"{CATEGORY} {OTHER}"),
    ],
)
def test_a_partition_range_says_what_to_type(
    configure: Configure, asked: str, categories: str
) -> None:
    config = load_config(configure())
    command = click.Command("materialize", params=[click.Option(["--partition-range"])])
    with (
        command.make_context("materialize", ["--partition-range", asked]),
        pytest.raises(ConfigError) as caught,
    ):
        refuse_partition_range(config)
    assert str(caught.value).startswith(
        f"--partition-range {asked}: a run makes one category; type `patchcore benchmark --config "
        f"{config.path} {categories}`"
    )
    with command.make_context("materialize", []):
        refuse_partition_range(config)


def test_the_command_with_a_range_is_one_sentence(finished: Finished) -> None:
    said = finished.site.dagster(
        *("asset", "materialize", "-m", "patchcore_assets", "--select", "image_manifest"),
        *("--partition-range", f"{CATEGORY}...{OTHER}"),
    )
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert f"patchcore benchmark --config {finished.site.config} {CATEGORY} {OTHER}" in said.stderr
