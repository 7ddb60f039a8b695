"""The sensor `watch_inputs`: reports changed folders and configuration, without a run.

Every tick computes the version of each input, using remembered hashes of files with equal size and
times, and reports those that differ from the last known ones. An unreadable input is logged and
left as it was. A tick looks at all settings, then at folders while time is left; the next tick
goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg

from patchcore_assets.inputs.launched import starts_runs_elsewhere
from patchcore_assets.inputs.recording import (
    file_hashes,
    known_versions,
    observation,
    weights_hashes,
)
from patchcore_assets.inputs.versions import EVALUATED, IMAGES, ObservedInput, inputs_of
from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.config.mistakes import MOST_LISTED, listed
from patchcore_ops.config.results_hash import results_hash
from patchcore_ops.runtime.errors import ConfigError, UserError
from patchcore_ops.runtime.fingerprints import ABSENT, HashOf, OutOfTime

WATCH_SENSOR = "watch_inputs"
# Dagster gives a tick 60 s, and a busy machine takes its time for all else that a tick does.
SECONDS_OF_READING = 15.0
# The daemon writes one after the other, and does nothing else meanwhile.
MOST_REPORTED = 2500

_RELOAD = "reload the code location (in the UI: Deployment, Reload)"
_FOLDERS = (IMAGES, EVALUATED)


@dataclass
class Sighting:
    """Changed inputs, notes for the user, and the category where the next look begins."""

    changed: list[dg.AssetObservation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    next: str | None = None

    def summary(self) -> str:
        """Say everything in one line."""
        seen = [
            f"{event.asset_key.to_user_string()} of {event.partition}" for event in self.changed
        ]
        said = self.notes[:MOST_LISTED]
        if (more := len(self.notes) - len(said)) > 0:
            said = [*said, f"and {more} more"]
        return "; ".join([f"changed: {listed(seen)}" if seen else "no changes", *said])


def watch_sensor(loaded: BenchmarkConfig) -> dg.SensorDefinition:
    """Define the sensor that watches the inputs of a benchmark."""

    @dg.sensor(
        name=WATCH_SENSOR,
        minimum_interval_seconds=loaded.schedule.seconds_between_looks,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Looks at image folders and configuration at every tick and reports changed versions, "
            "so that Dagster shows at once what has become stale. It starts no runs."
        ),
    )
    def watch_inputs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        found = look_at_inputs(
            context.instance, loaded, time.monotonic() + SECONDS_OF_READING, context.cursor
        )
        if (left := len(found.changed) - MOST_REPORTED) > 0:
            # Folders first: the manifests of new categories can be made meanwhile.
            found.changed.sort(key=lambda event: event.asset_key != IMAGES)
            found.changed = found.changed[:MOST_REPORTED]
            found.notes.append(f"{left} more changes are reported by the next ticks")
        for note in found.notes[:MOST_LISTED]:
            context.log.warning(note)
        return dg.SensorResult(
            asset_events=found.changed, skip_reason=found.summary(), cursor=found.next or ""
        )

    return watch_inputs


def look_at_inputs(
    instance: dg.DagsterInstance,
    loaded: BenchmarkConfig,
    until: float | None = None,
    first: str | None = None,
) -> Sighting:
    """Compare the inputs with what the instance knows; report nothing to it.

    The settings come first, then the folders, from category `first` on, until `time.monotonic()`
    reaches `until`.
    """
    found = Sighting()
    try:
        config = load_config(loaded.path)
    except ConfigError as mistake:
        found.notes.append(f"nothing was looked at, for {_first_line(mistake)}")
        return found
    if starts_runs_elsewhere(instance) and _differ(instance, loaded, config):
        # No run would read it, so nothing could become fresh again.
        found.notes.append(
            f"nothing was looked at, for {config.path} has been edited and every run would be "
            f"refused; {_RELOAD}"
        )
        return found
    found.notes.extend(_category_notes(loaded.by_category, config.by_category))
    watched = [category for category in loaded.by_category if category in config.by_category]
    look = _Look(instance, config, found)
    look.at_settings(watched)
    start = watched.index(first) if first in watched else 0
    look.at_folders([*watched[start:], *watched[:start]], until)
    return found


def _differ(instance: dg.DagsterInstance, one: BenchmarkConfig, other: BenchmarkConfig) -> bool:
    with weights_hashes(instance) as hash_of:
        return results_hash(one, hash_of) != results_hash(other, hash_of)


class _Look:
    """One look at the inputs."""

    def __init__(
        self, instance: dg.DagsterInstance, config: BenchmarkConfig, found: Sighting
    ) -> None:
        self._instance = instance
        self._config = config
        self._found = found
        inputs = inputs_of(config)
        self._known = {one.key: known_versions(instance, one.key) for one in inputs}
        self._settings = [one for one in inputs if one.key not in _FOLDERS]
        self._folders = [one for one in inputs if one.key in _FOLDERS]

    def at_settings(self, categories: Sequence[str]) -> None:
        """Look at the sections of all categories and the weights files that they name."""
        with weights_hashes(self._instance) as hash_of:
            for category in categories:
                for observed in self._settings:
                    self._at(observed, category, hash_of)

    def at_folders(self, categories: Sequence[str], until: float | None) -> None:
        """Look at the folders of categories while there is time, at one in any case."""
        missing: list[str] = []
        for position, category in enumerate(categories):
            if position and until is not None and time.monotonic() > until:
                self._found.next = category
                break
            try:
                with file_hashes(self._instance, self._config, category, until) as hash_of:
                    for observed in self._folders:
                        is_there = self._at(observed, category, hash_of)
                        if observed.key == IMAGES and not is_there:
                            missing.append(category)
            except OutOfTime:
                self._found.next = category
                break
        if missing:
            # A share that is gone for a minute must not make everything stale.
            self._found.notes.append(
                f"no folder for {listed(missing)} below {self._config.dataset_root}: put it back, "
                "or take the category out of dataset.categories"
            )
        if self._found.next:
            self._found.notes.append(
                f"still reading {self._found.next}; the next tick goes on from there"
            )

    def _at(self, observed: ObservedInput, category: str, hash_of: HashOf) -> bool:
        """Note a version that is not the known one; tell whether the input exists."""
        try:
            version = observed.version_of(self._config, category, hash_of)
        except (UserError, OSError) as problem:
            name = observed.key.to_user_string()
            self._found.notes.append(
                f"{name} of {category} was left as it was: {_first_line(problem)}"
            )
            return True
        if version != ABSENT and version != self._known[observed.key].get(category):
            self._found.changed.append(observation(observed.key, category, version, WATCH_SENSOR))
        return version != ABSENT


def _category_notes(loaded: Collection[str], current: Collection[str]) -> Iterator[str]:
    """Say which categories came or went since the code location was loaded."""
    if new := [category for category in current if category not in loaded]:
        yield f"new categories: {listed(new)}; to see them, {_RELOAD}"
    if gone := [category for category in loaded if category not in current]:
        yield f"categories that are no longer there: {listed(gone)}; to drop them, {_RELOAD}"


def _first_line(problem: Exception) -> str:
    lines = str(problem).splitlines() or [type(problem).__name__]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return lines[0] + more
