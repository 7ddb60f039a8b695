"""The images of a day, judged by a model: a table, heat maps, and the figures of the day.

An image that the same model has judged before is not judged again: what is known of it is taken
over. So a day can be made again whenever more images have arrived.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from PIL import Image

from patchcore_ops.dataset.image_formats import printable
from patchcore_ops.inspection.arrivals import Arrival
from patchcore_ops.inspection.day_table import (
    HEAT_MAPS,
    IDENTITY,
    TYPES,
    Figures,
    day_table,
    figures_of,
    read_day,
    write_day,
)
from patchcore_ops.inspection.heat_map import heat_map
from patchcore_ops.inspection.inbox import Inbox
from patchcore_ops.inspection.rows import prediction_row
from patchcore_ops.model.description import ModelDescription
from patchcore_ops.model.prediction import Prediction, Unreadable
from patchcore_ops.model.predictor import Model
from patchcore_ops.runtime.progress import Progress

_QUALITY = 85
_LONGEST_STEM = 40
Share = Callable[[Path, str], None]


@dataclass(frozen=True, eq=False)
class Inspected:
    """A day that was inspected."""

    table: pd.DataFrame  # one row for each image, in the order of arrival
    figures: Figures
    scored: int  # images that were judged now
    known: int  # images of which an earlier version of the day knew already
    left: int  # images that have changed while they were read


def inspect_day(
    description: ModelDescription,
    load: Callable[[], Model],
    inbox: Inbox,
    arrivals: Sequence[Arrival],
    folder: Path,
    earlier: Path | None = None,
    share: Share | None = None,
    on_progress: Progress | None = None,
) -> Inspected:
    """Judge the images of a day; write the table, its CSV, the figures and a heat map of each.

    `load` loads the model of `description`, where there is anything to judge. `arrivals` are the
    files of the day that no longer change. `earlier` is the folder of the day's version before,
    whose heat maps `share` puts into the folder; its rows of images that are gone from the inbox
    stay as they are, also by another model.
    """
    kept = _kept(earlier, arrivals, version_of(description))
    known = {tuple(row) for row in kept[IDENTITY].itertuples(index=False)}
    for name in kept["heat_map"].dropna():
        if share is not None and earlier is not None:
            share(earlier / name, str(name))
    new = [one for one in arrivals if (one.path, one.bytes, one.modified_ns) not in known]
    (folder / HEAT_MAPS).mkdir(exist_ok=True)
    rows = _judged(load(), inbox, new, folder, on_progress) if new else []
    table = day_table([kept, pd.DataFrame(rows, columns=list(TYPES))])
    figures = figures_of(table, is_calibrated=description.calibration is not None)
    write_day(table, figures, folder)
    return Inspected(
        table,
        figures,
        scored=sum(row["reason"] is None for row in rows),
        known=len(known),
        left=len(new) - len(rows),
    )


def _judged(
    model: Model,
    inbox: Inbox,
    arrivals: Sequence[Arrival],
    folder: Path,
    on_progress: Progress | None,
) -> list[dict[str, Any]]:
    """Return a row for each file that has not changed meanwhile."""
    rows: list[dict[str, Any]] = []
    version, done = version_of(model.description), 0
    for batch in inbox.batches(arrivals):
        with inbox.brought(batch) as files, closing(model.attempt(files)) as attempts:
            for arrival, file, found in zip(batch, files, attempts, strict=True):
                if inbox.is_as_listed(arrival, file):
                    rows.append(_row(arrival, file, found, version, folder))
                done += 1
                if on_progress is not None:
                    on_progress(done, len(arrivals))
    return rows


def version_of(description: ModelDescription) -> str:
    """Return what names a model in the table."""
    return description.sha256[:16]


def judged_by(table: pd.DataFrame, description: ModelDescription) -> pd.DataFrame:
    """Return the rows of the images that a model could read, without those of other models."""
    return table[table["reason"].isna() & (table["model_version"] == version_of(description))]


def _kept(earlier: Path | None, arrivals: Sequence[Arrival], version: str) -> pd.DataFrame:
    """Return the rows that stay: judged by this model and unchanged, or gone from the inbox."""
    if earlier is None:
        return day_table([])
    before = read_day(earlier)
    here = pd.DataFrame([one[:1] + one[2:4] for one in arrivals], columns=IDENTITY)
    is_here = before.set_index(IDENTITY).index.isin(here.set_index(IDENTITY).index)
    is_gone = ~before["path"].isin(here["path"])
    # One that could not be read may be readable now, although nothing of the file has changed.
    is_known = is_here & (before["model_version"] == version) & before["reason"].isna()
    return before[is_known | is_gone]


def _row(
    arrival: Arrival, file: Path, found: Prediction | Unreadable, version: str, folder: Path
) -> dict[str, Any]:
    row = prediction_row(found)
    drawn = None
    if isinstance(found, Prediction):
        drawn = f"{HEAT_MAPS}/{_name_of_heat_map(arrival.path)}"
        Image.fromarray(heat_map(found)).save(folder / drawn, quality=_QUALITY)
    reason = row["reason"]
    return {
        **row,
        "path": arrival.path,
        "regions": None if row["regions"] is None else json.dumps(row["regions"]),
        # Where a file is read may be a temporary folder.
        "reason": reason and reason.replace(printable(file), arrival.path),
        "arrived": arrival.arrived,
        "bytes": arrival.bytes,
        "modified_ns": arrival.modified_ns,
        "heat_map": drawn,
        "model_version": version,
    }


def _name_of_heat_map(path: str) -> str:
    """Name a file by its image, without folders; a hash keeps equal names apart."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", PurePosixPath(path).stem)[:_LONGEST_STEM]
    return f"{stem}-{hashlib.sha256(path.encode()).hexdigest()[:8]}.jpg"
