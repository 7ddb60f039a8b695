"""The sensor `watch_inputs`: sees what has changed in folders and configuration, without a run.

Every tick computes the version of each input, from remembered hashes where a file has the size
and times that it had, and reports those that differ from the last known ones. What cannot be read
is said and left as it was; the rest goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg

from patchcore_assets.inputs import INPUTS
from patchcore_assets.recording import file_hashes, known_versions, observation
from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.errors import ConfigError, UserError
from patchcore_ops.fingerprints import ABSENT, HashOf, OutOfTime

WATCH_SENSOR = "watch_inputs"
# Dagster gives a tick 60 s. What is not hashed by then is remembered, and the next tick goes on.
SECONDS_OF_HASHING = 20.0

_RELOAD = "reload the code location (in the UI: Deployment, Reload)"


@dataclass
class Sighting:
    """What one look at the inputs has found.

    Attributes
    ----------
    changed : list of AssetObservation
        One for each input and category whose version is not the last known one.
    notes : list of str
        What a person should know: one sentence each.
    """

    changed: list[dg.AssetObservation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Say everything in one line."""
        seen = [
            f"{event.asset_key.to_user_string()} of {event.partition}" for event in self.changed
        ]
        return "; ".join([f"changed: {', '.join(seen)}" if seen else "no changes", *self.notes])


def watch_sensor(loaded: BenchmarkConfig) -> dg.SensorDefinition:
    """Define the sensor that watches the inputs of a benchmark.

    Parameters
    ----------
    loaded : BenchmarkConfig
        The configuration from which this code location was loaded: its categories are the
        partitions that can be reported. The file is read anew at every tick.
    """

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
            context.instance, loaded, until=time.monotonic() + SECONDS_OF_HASHING
        )
        for note in found.notes:
            context.log.warning(note)
        return dg.SensorResult(asset_events=found.changed, skip_reason=found.summary())

    return watch_inputs


def look_at_inputs(
    instance: dg.DagsterInstance, loaded: BenchmarkConfig, until: float | None = None
) -> Sighting:
    """Compare the inputs as they are with what the instance knows.

    Parameters
    ----------
    instance : DagsterInstance
        Asked for the last known versions; nothing is reported to it here.
    loaded : BenchmarkConfig
        Says which file to read, and which categories are partitions.
    until : float, optional
        `time.monotonic()` after which no further file is hashed in this look.
    """
    found = Sighting()
    try:
        config = load_config(loaded.path)
    except ConfigError as mistake:
        found.notes.append(f"nothing was looked at, for {_first_line(mistake)}")
        return found
    found.notes.extend(_category_notes(loaded.categories, config.categories))
    watched = [category for category in loaded.categories if category in config.categories]
    known = {one.key: known_versions(instance, one.key, watched) for one in INPUTS}
    missing: list[str] = []
    unfinished: list[str] = []
    for category in watched:
        with file_hashes(instance, config, category, until) as hash_of:
            try:
                for key, version in _versions(config, category, hash_of, found.notes):
                    if version == ABSENT:
                        # A share that is gone for a minute must not make everything stale.
                        missing.append(category)
                    elif version != known[key].get(category):
                        found.changed.append(observation(key, category, version, WATCH_SENSOR))
            except OutOfTime:
                unfinished.append(category)
    if missing:
        found.notes.append(
            f"no folder for {', '.join(missing)} below {config.dataset_root}: put it back, or take "
            "the category out of dataset.categories"
        )
    if unfinished:
        found.notes.append(
            f"still reading {', '.join(unfinished)}; the next tick goes on from there"
        )
    return found


def _versions(
    config: BenchmarkConfig, category: str, hash_of: HashOf, notes: list[str]
) -> Iterator[tuple[dg.AssetKey, str]]:
    """Yield the versions of one category's inputs; the images, which take longest, come last."""
    for observed in reversed(INPUTS):
        try:
            version = observed.version_of(config, category, hash_of)
        except (UserError, OSError) as problem:
            name = observed.key.to_user_string()
            notes.append(f"{name} of {category} was left as it was: {_first_line(problem)}")
        else:
            yield observed.key, version


def _category_notes(loaded: Sequence[str], current: Sequence[str]) -> Iterator[str]:
    """Say which categories came or went since the code location was loaded."""
    if new := [category for category in current if category not in loaded]:
        yield f"new categories: {', '.join(new)}; to see them, {_RELOAD}"
    if gone := [category for category in loaded if category not in current]:
        yield f"categories that are no longer there: {', '.join(gone)}; to drop them, {_RELOAD}"


def _first_line(problem: Exception) -> str:
    lines = str(problem).splitlines() or [type(problem).__name__]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return lines[0] + more
