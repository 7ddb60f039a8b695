"""What a user does with the cluster, and what he sees: over GraphQL, Ray's list and the history."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import dagster as dg
from cluster_kit import BUCKET, Cluster
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, ScheduleInstigatorData
from machine import DEADLINE, here, wait_for
from pipeline_kit import BY_CATEGORY, OVER_ALL

from patchcore_assets.automation.backfills import BENCHMARK_JOB, has_ended
from patchcore_assets.automation.waves import (
    PARTITION,
    REBENCHMARK_SCHEDULE,
    SUMMARY_JOB,
    SUMMARY_SENSOR,
    WAVE,
    WAVE_RUNS,
)

_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "patchcore_assets"}
_LAUNCH = """
mutation ($asked: ExecutionParams!) {
  launchRun(executionParams: $asked) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
_TERMINATE = """
mutation ($run: String!) {
  terminateRun(runId: $run, terminatePolicy: SAFE_TERMINATE) {
    __typename ... on TerminateRunFailure { message } ... on PythonError { message }
  }
}
"""
_START = """
mutation ($asked: ScheduleSelector!) {
  startSchedule(scheduleSelector: $asked) {
    __typename ... on ScheduleStateResult { scheduleState { id status } }
  }
}
"""
_STOP = """
mutation ($id: String!) {
  stopRunningSchedule(id: $id) {
    __typename ... on ScheduleStateResult { scheduleState { status } }
    ... on PythonError { message }
  }
}
"""
_STALENESS = """
query ($assets: [AssetKeyInput!]!, $category: String) {
  assetNodes(assetKeys: $assets) { assetKey { path } staleStatus(partition: $category) }
}
"""


# What the daemon logs when it looks through the queue.
_LOOKED = "Priority sorting and checking tag concurrency limits"


class Operator:
    """A user of the cluster."""

    def __init__(self, cluster: Cluster, instance: dg.DagsterInstance) -> None:
        self.cluster = cluster
        self.instance = instance
        self._ask = cluster.webserver.ask

    def launch(self, category: str, tags: Mapping[str, str] | None = None) -> str:
        """Put a run of a category into the queue, as the launchpad does; return its id."""
        given = {PARTITION: category, **(tags or {})}
        asked = {
            "selector": {**_REPOSITORY, "jobName": BENCHMARK_JOB},
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in given.items()]},
        }
        launched = self._ask(_LAUNCH, asked=asked)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def launch_wave(self, wave: str, categories: Sequence[str] = ()) -> dict[str, str]:
        """Put a run of each category into the queue, as one wave; return their ids by category."""
        chosen = categories or self.cluster.categories
        tags = {WAVE: wave, WAVE_RUNS: str(len(chosen))}
        return {category: self.launch(category, tags) for category in chosen}

    def cancel(self, run_id: str) -> None:
        """Press the button that terminates a run."""
        answer = self._ask(_TERMINATE, run=run_id)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def start_schedule(self) -> str:
        """Turn the schedule on, as if a minute ago, so that its first tick is due at once."""
        asked = {**_REPOSITORY, "scheduleName": REBENCHMARK_SCHEDULE}
        started = self._ask(_START, asked=asked)["startSchedule"]
        assert started["scheduleState"]["status"] == "RUNNING", started
        [state] = self._schedules()
        assert isinstance(state.instigator_data, ScheduleInstigatorData)
        moment = (state.instigator_data.start_timestamp or time.time()) - 60
        # Where the daemon overwrites this, the tick comes with the next minute.
        self.instance.update_instigator_state(
            state.with_data(ScheduleInstigatorData("* * * * *", moment))
        )
        return str(started["scheduleState"]["id"])

    def stop_schedule(self, schedule: str) -> None:
        """Turn the schedule off, once the daemon will not write its state of before over it."""
        self.wait_for("the schedule's tick", self._tick_is_noted)
        stopped = self._ask(_STOP, id=schedule)["stopRunningSchedule"]
        assert stopped.get("scheduleState", {}).get("status") == "STOPPED", stopped

    def _tick_is_noted(self) -> bool:
        return any(
            isinstance(one.instigator_data, ScheduleInstigatorData)
            and one.instigator_data.last_iteration_timestamp
            for one in self._schedules()
        )

    def _schedules(self) -> Sequence[InstigatorState]:
        return self.instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)

    def runs(self, wave: str | None = None, job: str = BENCHMARK_JOB) -> Sequence[dg.RunRecord]:
        """Return the runs of a job, the oldest first."""
        tags = {} if wave is None else {WAVE: wave}
        return self.instance.get_run_records(dg.RunsFilter(job_name=job, tags=tags), ascending=True)

    def run(self, run_id: str) -> dg.DagsterRun:
        """Return a run as it is now."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def failures(self, run_id: str) -> list[str]:
        """Return what the failed steps of a run say to their user."""
        events = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        said = [one.dagster_event.step_failure_data for one in events if one.dagster_event]
        return [
            one.user_failure_data.description or "" if one.user_failure_data else str(one.error)
            for one in said
        ]

    def retry_of(self, run_id: str) -> dg.DagsterRun | None:
        """Return the run that goes on for another, if there is one."""
        tried = dg.RunsFilter(tags={"dagster/parent_run_id": run_id})
        return next(iter(self.instance.get_runs(tried)), None)

    def last_try(self, run_id: str) -> dg.DagsterRun:
        """Return the run that goes on for another at last, if need be that itself."""
        return [self.run(run_id), *self.retries_of(run_id)][-1]

    def retries_of(self, run_id: str) -> list[dg.DagsterRun]:
        """Return the runs that went on for another, one after the other."""
        retries: list[dg.DagsterRun] = []
        while (retry := self.retry_of(run_id)) is not None:
            retries.append(retry)
            run_id = retry.run_id
        return retries

    def has_ended(self, run: dg.DagsterRun) -> bool:
        """Tell whether a run has ended, and is not started again."""
        return has_ended(self.instance, run)

    def wait_for(
        self, what: str, happened: Callable[[], object], seconds: float = DEADLINE
    ) -> None:
        """Wait; with what all machines say if it never happens."""
        try:
            wait_for(what, happened, seconds)
        except AssertionError as late:
            late.add_note(self.history())
            raise

    def wait_for_summary(self, wave: str, seconds: float = DEADLINE) -> None:
        """Wait until all runs of a wave have ended, retries too, and its summary has ended."""
        self.wait_for(f"the runs of wave {wave}", lambda: self._is_over(wave), seconds)
        self.wait_for(
            f"the summary of wave {wave}",
            lambda: [one for one in self.runs(wave, SUMMARY_JOB) if one.dagster_run.is_finished],
        )

    def _is_over(self, wave: str) -> bool:
        runs = [record.dagster_run for record in self.runs(wave)]
        return len(runs) >= int(runs[0].tags[WAVE_RUNS]) and all(map(self.has_ended, runs))

    def wait_for_queue(self) -> None:
        """Wait until the queue has been looked through twice more, if anything is in it."""
        log = self.cluster.head.folder / "daemon.log"
        enough = log.read_text("utf-8").count(_LOOKED) + 2
        queued = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])
        self.wait_for(
            "the queue",
            lambda: (
                log.read_text("utf-8").count(_LOOKED) >= enough
                or not self.instance.get_runs_count(queued)
            ),
        )

    def summaries(self, wave: str) -> list[str]:
        """Return how the summaries of a wave stand, when the sensor has looked twice more."""
        log = self.cluster.head.folder / "daemon.log"
        looked = f"Checking for new runs for sensor: {SUMMARY_SENSOR}"
        enough = log.read_text("utf-8").count(looked) + 2
        self.wait_for("the sensor", lambda: log.read_text("utf-8").count(looked) >= enough)
        return self.statuses(wave, SUMMARY_JOB)

    def statuses(self, wave: str, job: str = BENCHMARK_JOB) -> list[str]:
        """Return how the runs of a wave stand, the oldest first."""
        return [one.dagster_run.status.value for one in self.runs(wave, job)]

    def staleness(self) -> dict[str, str]:
        """Return how each asset stands, by asset and category, as the UI shows it."""
        found = {}
        for assets, categories in ((BY_CATEGORY, self.cluster.categories), (OVER_ALL, (None,))):
            keys = [{"path": [asset]} for asset in assets]
            for category in categories:
                for node in self._ask(_STALENESS, assets=keys, category=category)["assetNodes"]:
                    found[f"{node['assetKey']['path'][0]}/{category or ''}"] = node["staleStatus"]
        return found

    def verified(self) -> dict[str, tuple[str, str]]:
        """Verify every artefact on a machine that has none; return who made it, and its version."""
        script = str(Path(__file__).with_name("verified_artefacts.py"))
        root = f"s3://{BUCKET}/artefacts"
        made: dict[str, tuple[str, str]] = {}
        for assets, categories in ((BY_CATEGORY, self.cluster.categories), (OVER_ALL, ("",))):
            printed = self.cluster.head.run(
                here("python"), script, root, ",".join(assets), ",".join(categories)
            )
            made |= {
                place: (host, version) for place, (host, version) in json.loads(printed).items()
            }
        return made

    def jobs(self) -> str:
        """Return all that Ray shows of its jobs."""
        return self.cluster.head.run(
            here("ray"), "job", "list", "--address", "http://127.0.0.1:8265"
        )

    def history(self) -> str:
        """Return what has happened, for whoever must find out why a test fails."""
        runs = [
            f"{run.run_id[:8]} {run.job_name} {run.status.value} "
            f"{ {key: value for key, value in run.tags.items() if 'patchcore/' in key} }"
            for run in self.instance.get_runs(ascending=True)
        ]
        dead = [(one.host, one.dead()) for one in self.cluster.machines.values() if one.dead()]
        logs = "".join(machine.logs() for machine in self.cluster.machines.values())
        return "\n".join([*runs, f"ended by themselves: {dead}", logs])
