"""The sensor `inspect_inbox`: asks for the days of which new images have arrived.

A file is new if the table of its day does not have it, by path, size and time. It counts when it
has had the same size and time at two looks, and has not changed for `inbox.settled_seconds`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from patchcore_assets.automation.staleness import AT_WORK, RANGE
from patchcore_assets.automation.waves import PARTITION
from patchcore_assets.partitions import Partition
from patchcore_assets.storage import DamagedArtefact, MissingArtefact, store_of
from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.config.load import Inbox
from patchcore_ops.config.mistakes import listed
from patchcore_ops.inspection.arrivals import Arrival, by_day, digest_of
from patchcore_ops.inspection.inbox import open_inbox
from patchcore_ops.runtime.errors import UserError

INBOX_SENSOR = "inspect_inbox"
# The queue takes them; the newest days come first, and the others at the next ticks.
MOST_REQUESTED = 10
# Of so many files a tick tells the next; more than that wait for theirs.
MOST_REMEMBERED = 2000
# Dagster gives a tick 60 s, of which listing the inbox takes some.
SECONDS_OF_READING = 15.0

# The days, by the folder of their instance, of which all files were known: the version of the day
# and the files. A table that has not changed is not read again; the daemon asks one process.
_complete: dict[tuple[str, str], tuple[int, str]] = {}


@dataclass
class _Memory:
    """What one tick tells the next, by partition.

    `seen` has the digests of new files; `asked` what was asked for last, so that a run that fails
    is not repeated before something changes.
    """

    seen: dict[str, list[str]] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def read(cursor: str | None) -> _Memory:
        content = json.loads(cursor) if cursor else {}
        return _Memory(content.get("seen", {}), content.get("asked", {}))

    def written(self) -> str:
        return json.dumps({"seen": self.seen, "asked": self.asked}, separators=(",", ":"))


@dataclass
class Look:
    """What one look at the inbox has found."""

    requests: list[dg.RunRequest] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    waiting: int = 0
    memory: _Memory = field(default_factory=_Memory)

    def summary(self) -> str:
        """Say everything in one line."""
        new = f"{self.waiting} new images wait" if self.waiting else "no new images"
        return "; ".join([new, *self.notes])


def inbox_sensor(
    loaded: BenchmarkConfig,
    job: str,
    asset: dg.AssetKey,
    model: dg.AssetKey,
    tags: Mapping[str, str],
) -> dg.SensorDefinition:
    """Define the sensor that asks a job for the partitions of an asset with new images."""

    @dg.sensor(
        name=INBOX_SENSOR,
        job_name=job,
        minimum_interval_seconds=loaded.schedule.seconds_between_looks,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Looks for new images below inbox.root and inspects the days on which they arrived, "
            "when they no longer grow."
        ),
    )
    def inspect_inbox(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            config = load_config(loaded.path)
            if config.inbox is None:
                return dg.SkipReason(f"{config.path}: names no inbox.root; put it back, or reload")
            if config.schedule.timezone != loaded.schedule.timezone:
                # A run reads the file as it is now, so it would look for the images on other days.
                return dg.SkipReason(
                    f"{config.path}: schedule.timezone has been edited, so days begin at another "
                    "time; reload the code location (in the UI: Deployment, Reload)"
                )
            look = InboxLook(context.instance, loaded, config, config.inbox, asset, model, tags)
            found = look.at_all(context.cursor, time.time())
        except (UserError, ConnectionError) as problem:
            return dg.SkipReason(f"nothing was looked at: {problem}")
        for note in found.notes:
            context.log.warning(note)
        cursor = found.memory.written()
        if found.requests:
            return dg.SensorResult(run_requests=found.requests, cursor=cursor)
        return dg.SensorResult(skip_reason=found.summary(), cursor=cursor)

    return inspect_inbox


class InboxLook:
    """One look at the inbox."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        loaded: BenchmarkConfig,
        config: BenchmarkConfig,
        inbox: Inbox,
        asset: dg.AssetKey,
        model: dg.AssetKey,
        tags: Mapping[str, str],
    ) -> None:
        self._instance = instance
        self._asset = asset
        self._tags = tags
        self._inbox = inbox
        self._store = store_of(config)
        self._categories = loaded.categories
        self._modelled = set(self._store.categories(model.to_user_string()))
        self._first_day = loaded.inbox.first_day if loaded.inbox else inbox.first_day
        self._zone = ZoneInfo(loaded.schedule.timezone)

    def at_all(self, cursor: str | None, now: float) -> Look:
        """Compare all files with what is known; `now` is in seconds since 1970."""
        before, found = _Memory.read(cursor), Look()
        made, at_work = self._made(), self._at_work()
        days = sorted(self._days(found, now), key=lambda one: str(one[0].day), reverse=True)
        until = time.monotonic() + SECONDS_OF_READING
        for partition, arrivals in days:
            key = partition.key
            new = self._new(partition, made.get(key), arrivals)
            if time.monotonic() > until:
                found.notes.append(f"still reading; the next tick goes on before {partition.day}")
                break
            seen = set(before.seen.get(key, ()))
            room = MOST_REMEMBERED - sum(map(len, found.memory.seen.values()))
            if new:
                # One is enough to ask for the day.
                found.memory.seen[key] = [one.digest for one in new[: max(room, 1)]]
            ready = [
                one
                for one in new
                if one.digest in seen and one.is_settled(self._inbox.settled_seconds, now)
            ]
            found.waiting += len(new) - len(ready)
            if not ready:
                continue
            wanted = hashlib.sha256(
                f"{key} {made.get(key)} {digest_of(ready)}".encode()
            ).hexdigest()[:16]
            is_asked = before.asked.get(key) == wanted
            is_left = key in at_work or len(found.requests) == MOST_REQUESTED
            if is_asked or not is_left:
                found.memory.asked[key] = wanted
            elif key in before.asked:
                found.memory.asked[key] = before.asked[key]
            if is_asked or is_left:
                found.waiting += len(ready)
                continue
            found.requests.append(
                dg.RunRequest(run_key=wanted, partition_key=partition.key, tags=self._tags)
            )
        return found

    def _days(self, found: Look, now: float) -> Iterator[tuple[Partition, list[Arrival]]]:
        """Yield the files of each day; note what can be inspected on none."""
        inbox = open_inbox(self._inbox.root)
        folders = inbox.categories()
        if unknown := [one for one in folders if one not in self._categories]:
            found.notes.append(f"no category is called {listed(unknown)}: rename or remove those")
        today = datetime.fromtimestamp(now, self._zone).date().isoformat()
        without, outside = [], 0
        for category in self._categories:
            if category not in folders:
                continue
            days = by_day(inbox.arrivals(category), self._zone)
            if days and category not in self._modelled:
                without.append(category)
                continue
            for day, arrivals in days.items():
                if self._first_day <= day <= today:
                    yield Partition(category, day), arrivals
                else:
                    outside += len(arrivals)
        if without:
            found.notes.append(f"there is no model of {listed(without)} yet: materialise it")
        if outside:
            found.notes.append(
                f"{outside} images are of days before {self._first_day} or after today: see "
                "inbox.first_day, and the clock of who writes them"
            )

    def _made(self) -> Mapping[str, int]:
        """Return the storage id of the latest materialisation of each partition."""
        made = dg.DagsterEventType.ASSET_MATERIALIZATION
        return self._instance.get_latest_storage_id_by_partition(self._asset, made)

    def _at_work(self) -> set[str]:
        """Return the partitions that runs are making, or will make."""
        runs = self._instance.get_runs(dg.RunsFilter(statuses=AT_WORK))
        tags = (PARTITION, *RANGE)
        return {run.tags[tag] for run in runs for tag in tags if tag in run.tags}

    def _new(
        self, partition: Partition, made: int | None, arrivals: Sequence[Arrival]
    ) -> Sequence[Arrival]:
        """Return the files that the table of a day does not have."""
        if made is None:
            return arrivals
        place = (self._instance.storage_directory(), partition.key)
        state = (made, digest_of(arrivals))
        if _complete.get(place) == state:
            return ()
        known = self._known(partition)
        new = [one for one in arrivals if (one.path, one.bytes, one.modified_ns) not in known]
        if not new:
            _complete[place] = state
        return new

    def _known(self, partition: Partition) -> Collection[tuple[str, int, int]]:
        import pandas as pd

        from patchcore_ops.inspection.day_table import IDENTITY, TABLE

        try:
            asset = self._asset.to_user_string()
            with self._store.open(asset, partition.place, only=[TABLE]) as artefact:
                rows = pd.read_parquet(artefact.folder / TABLE, columns=IDENTITY)
                return {tuple(row) for row in rows.itertuples(index=False)}
        except (MissingArtefact, DamagedArtefact):
            return ()
