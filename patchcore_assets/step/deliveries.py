"""Deliveries to trackers: a record is kept in the storage until every tracker has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from patchcore_assets.storage import Artefact, ArtefactStore, DamagedArtefact, MissingArtefact
from patchcore_ops.config.addresses import without_credentials
from patchcore_ops.config.sections import TrackerSection
from patchcore_ops.tracking import Outcome, Parcel, Record, read_record, send, write_record
from patchcore_ops.tracking.record import PICTURES

# The place of the records that wait, beside the assets.
UNDELIVERED = "undelivered"
# Of a few hundred kB for each category; older ones are given up.
KEPT_RECORDS = 20
# What a tracker has is remembered for so many records.
_REMEMBERED = 200
DELIVERIES = "deliveries.json"


class Report(NamedTuple):
    """What one tracker has got now, what it has in all, and what still waits for it."""

    tracker: str
    place: str
    sent: int
    delivered: Sequence[str]
    waiting: Sequence[str]
    problem: str


class Sent(NamedTuple):
    """What is sent of the latest wave: its record, and the files of its categories."""

    record: Record
    pictures: Mapping[str, Sequence[Path]]
    models: Mapping[str, Path]


def deliver(
    store: ArtefactStore,
    trackers: Sequence[TrackerSection],
    had: Mapping[str, Sequence[str]],
    latest: Sent,
    warn: Callable[[str], None],
) -> list[Report]:
    """Send the latest record, after those that still wait, to each tracker that lacks them.

    `had` is what each has, see `read_deliveries`. Models are sent only now: they are too large to
    be kept. Nothing is raised because of a tracker.
    """
    if any(latest.record.id not in had.get(name_of(one), ()) for one in trackers):
        _keep(store, latest)
    with ExitStack() as stack:
        records = _waiting(store, stack, latest.record.id, warn)
        reports = [
            _to_one(tracker, had.get(name_of(tracker), ()), records, latest) for tracker in trackers
        ]
    for report in reports:
        if report.waiting:
            warn(
                f"{report.tracker}: {report.problem}. {len(report.waiting)} of the latest waves "
                f"must wait in {store.root}/{UNDELIVERED} and will be sent with the next one"
            )
    for record in records:
        if all(record.id in report.delivered for report in reports):
            store.remove(UNDELIVERED, record.id)
    return reports


def _to_one(
    tracker: TrackerSection, had: Sequence[str], records: Sequence[Record], latest: Sent
) -> Report:
    parcels = [
        Parcel(
            one.id,
            one.folder or Path(),
            len(one.results),
            latest.models if tracker.models and one.id == latest.record.id else {},
        )
        for one in records
        if one.id not in had
    ]
    outcome = send(tracker, parcels) if parcels else Outcome()
    delivered = [*had, *outcome.delivered]
    waiting = [one.id for one in records if one.id not in delivered]
    sent = len(outcome.delivered)
    return Report(name_of(tracker), outcome.place, sent, delivered, waiting, outcome.problem)


def _keep(store: ArtefactStore, latest: Sent) -> None:
    """Keep a record before anything is sent, so that nothing is lost if the run ends."""
    record = latest.record
    with store.stage(UNDELIVERED, record.id) as staging:
        write_record(record, staging.folder)
        for category, files in latest.pictures.items():
            folder = staging.folder / PICTURES / category
            folder.mkdir(parents=True)
            for file in files:
                (folder / file.name).write_bytes(file.read_bytes())
        staging.commit({"wave": record.wave, "made": record.made})


def _waiting(
    store: ArtefactStore, stack: ExitStack, latest: str, warn: Callable[[str], None]
) -> list[Record]:
    """Open the records that wait, the oldest first; give up what is too old or damaged."""
    records = [read_record(one.folder) for one in _opened(store, stack, warn)]
    # A clock that went back must not make the latest the first to be given up.
    records.sort(key=lambda record: (record.id == latest, record.made))
    for record in records[:-KEPT_RECORDS]:
        store.remove(UNDELIVERED, record.id)
        warn(f"wave {record.wave} is given up: {KEPT_RECORDS} later ones wait for a tracker too")
    return records[-KEPT_RECORDS:]


def name_of(tracker: TrackerSection) -> str:
    """Name a tracker by what tells it from others, such as `mlflow MVTecAD_Results`."""
    place = tracker.uri or tracker.folder or ""
    return " ".join(
        filter(None, (tracker.kind, tracker.project, tracker.group, without_credentials(place)))
    )


def write_deliveries(folder: Path, reports: Sequence[Report]) -> None:
    """Write which records each tracker has."""
    content = {report.tracker: list(report.delivered)[-_REMEMBERED:] for report in reports}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / DELIVERIES).write_text(text, encoding="utf-8")


def read_deliveries(folder: Path | None) -> dict[str, list[str]]:
    """Read which records each tracker has; nothing where none was sent before."""
    file = None if folder is None else folder / DELIVERIES
    if file is None or not file.is_file():
        return {}
    content: dict[str, list[str]] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _opened(
    store: ArtefactStore, stack: ExitStack, warn: Callable[[str], None]
) -> Iterator[Artefact]:
    for name in store.categories(UNDELIVERED):
        try:
            yield stack.enter_context(store.open(UNDELIVERED, name))
        except MissingArtefact:
            continue  # Another run has just sent it.
        except DamagedArtefact:
            store.remove(UNDELIVERED, name)
            warn(f"the record {name} is not what was written; it is given up")
