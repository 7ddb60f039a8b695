"""`patchcore benchmark --launch`: a wave in the queue, and what becomes of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from time import sleep

import dagster as dg

from patchcore_assets.assets.benchmark_report import BENCHMARK_REPORT
from patchcore_assets.assets.metrics import METRICS
from patchcore_assets.automation.backfills import BENCHMARK_JOB, has_ended
from patchcore_assets.automation.waves import PARTITION, SUMMARY_JOB, SUMMARY_SENSOR, WAVE
from patchcore_assets.commands.submission import submit_wave
from patchcore_assets.commands.wave import NO_CATEGORY, open_instance, say, show_table
from patchcore_assets.location import CONFIG_VARIABLE
from patchcore_assets.pools import create_pools
from patchcore_assets.step.reasons import reason_in_log
from patchcore_ops.config import BenchmarkConfig
from patchcore_ops.runtime.errors import ConfigError, EnvironmentProblem

_SECONDS_BETWEEN_LOOKS = 2.0
# A daemon reports every 30 s; what it has not taken by then waits for one.
_SECONDS_WITHOUT_DAEMON = 90.0
# In what Dagster says of a run whose category the daemon's code location does not have.
_UNKNOWN = "Nonexistent partition keys"
_DAEMONS = ("QUEUED_RUN_COORDINATOR", "SENSOR")


def launch_wave(config: BenchmarkConfig, categories: Sequence[str]) -> int:
    """Queue a wave and follow it to its table; return 1 if anything failed."""
    with open_instance() as instance:
        if not instance.is_persistent:
            raise EnvironmentProblem(
                "--launch needs a run history that a daemon serves; run in a folder with a copy of "
                "the repository's dagster.yaml, or set DAGSTER_HOME to one"
            )
        create_pools(instance)
        wave = submit_wave(instance, categories)
        say(f"{len(categories)} runs are queued, as wave {wave}")
        try:
            failed = _Follower(instance, config, wave, categories).follow()
        except KeyboardInterrupt:
            say(
                f"\nthe wave goes on without this command; see its runs in the UI by the tag "
                f"{WAVE}={wave}, where they can be terminated"
            )
            return 130
        if METRICS not in failed:
            failed |= show_table(config, has_report=BENCHMARK_REPORT not in failed)
    for name, reason in failed.items():
        say(f"FAILED {name}: {reason}", sys.stderr)
    return 1 if failed else 0


class _Follower:
    """Tells what becomes of the runs of a wave, a line each time one begins or ends."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        config: BenchmarkConfig,
        wave: str,
        categories: Sequence[str],
    ) -> None:
        self._instance = instance
        self._config = config
        self._wave = wave
        self._categories = categories
        self._told: dict[str, str] = {}
        self._started = time.monotonic()
        self._warned = False

    def follow(self) -> dict[str, str]:
        """Wait for the end of all runs, and of the summary; return what failed, and why.

        Raises ConfigError if the daemon serves other categories.
        """
        failed: dict[str, str] = {}
        while True:
            latest = self._latest_runs()
            for category, run in latest.items():
                if self._tell(category, run) and not run.is_success:
                    failed[category] = reason_in_log(self._instance, run)[1]
                    if _UNKNOWN in failed[category]:
                        raise ConfigError(
                            f"'{category}' is not one of the categories that the daemon serves; "
                            f"start the daemon again with {CONFIG_VARIABLE}="
                            f"{self._config.path}, and launch again"
                        )
            for category in self._categories:
                if category not in latest:
                    failed[category] = "its run has been deleted"
            if all(has_ended(self._instance, run) for run in latest.values()):
                break
            self._look_for_daemons()
            sleep(_SECONDS_BETWEEN_LOOKS)
        if len(failed) == len(self._categories):
            return {**failed, METRICS: NO_CATEGORY}
        return {**failed, **self._follow_summary()}

    def _latest_runs(self) -> Mapping[str, dg.DagsterRun]:
        """Return the latest run of each category: one that failed may have been started again."""
        runs = self._instance.get_runs(
            dg.RunsFilter(job_name=BENCHMARK_JOB, tags={WAVE: self._wave}), ascending=True
        )
        return {run.tags[PARTITION]: run for run in runs}

    def _tell(self, category: str, run: dg.DagsterRun) -> bool:
        """Say where a run is, if that is new; tell whether it has ended."""
        ended = has_ended(self._instance, run)
        if ended:
            state = "done" if run.is_success else run.status.value.lower()
        elif run.is_finished:
            state = "failed, and is started again"
        else:
            state = "started" if run.status is dg.DagsterRunStatus.STARTED else "queued"
        if self._told.get(category, "queued") == state:
            return False
        self._told[category] = state
        over = sum(told in ("done", "failure", "canceled") for told in self._told.values())
        seconds = time.monotonic() - self._started
        say(f"[{over}/{len(self._categories)}] {category}: {state} ({seconds:.0f} s)")
        return ended

    def _follow_summary(self) -> dict[str, str]:
        """Wait for the run that makes table and report; return which of them failed, and why."""
        wanted = dg.RunsFilter(job_name=SUMMARY_JOB, tags={WAVE: self._wave})
        self._warn_if_sensor_is_off()
        while True:
            runs = self._instance.get_runs(wanted, limit=1)
            if runs and has_ended(self._instance, runs[0]):
                break
            self._look_for_daemons()
            sleep(_SECONDS_BETWEEN_LOOKS)
        if runs[0].is_success:
            return {}
        step, reason = reason_in_log(self._instance, runs[0])
        return {step: reason}

    def _warn_if_sensor_is_off(self) -> None:
        off = [
            state
            for state in self._instance.all_instigator_state()
            if state.instigator_name == SUMMARY_SENSOR and not state.is_running
        ]
        if off:
            say(
                f"the sensor {SUMMARY_SENSOR} is off, so nothing makes the table; switch it on in "
                "the UI, under Automation",
                sys.stderr,
            )

    def _look_for_daemons(self) -> None:
        """Say once if no daemon has been seen for long."""
        if self._warned or time.monotonic() - self._started < _SECONDS_WITHOUT_DAEMON:
            return
        seen = self._instance.get_daemon_heartbeats()
        absent = [
            name
            for name in _DAEMONS
            if name not in seen or time.time() - seen[name].timestamp > _SECONDS_WITHOUT_DAEMON
        ]
        if absent:
            self._warned = True
            say(
                "no daemon takes the runs from the queue; start one with this run history: "
                "`dagster dev`, or `dagster-daemon run`",
                sys.stderr,
            )
