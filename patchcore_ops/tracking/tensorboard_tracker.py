"""TensorBoard: event files in `<folder>/<project>/<group>/<record>/<category>/`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from patchcore_ops.config.sections import TrackerSection
from patchcore_ops.tracking.record import CategoryResult, Record
from patchcore_ops.tracking.tracker import moment

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

_NOT_IN_NAMES = re.compile(r"[^\w. -]")
_COLOUR_SPACE = 3  # RGB


class TensorBoardTracker:
    """Writes event files; see `Tracker`. They hold no models."""

    def __init__(self, section: TrackerSection) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._section = section
        self._folder = Path(section.folder or "")
        self._writer = EventFileWriter

    def deliver(self, record: Record, models: Mapping[str, Path]) -> str:
        """Send a record; see `Tracker.deliver`."""
        group = self._folder.joinpath(
            *map(_name, (self._section.project, self._section.group or record.group, record.id))
        )
        # What an interrupted attempt has left, or the same.
        shutil.rmtree(group, ignore_errors=True)
        for result in record.results:
            self._write(group / _name(result.category), record, result)
        return str(self._folder)

    def _write(self, folder: Path, record: Record, result: CategoryResult) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        folder.mkdir(parents=True)
        writer = self._writer(str(folder))
        try:
            summary = Summary(value=list(_values(record, result)))
            writer.add_event(Event(wall_time=moment(record).timestamp(), step=0, summary=summary))
        finally:
            writer.close()


def _values(record: Record, result: CategoryResult) -> Iterator[Summary.Value]:
    from tensorboard.compat.proto.summary_pb2 import Summary

    for name, number in result.metrics.items():
        yield Summary.Value(tag=name, simple_value=number)
    for picture in record.pictures(result.category):
        width, height = Image.open(picture).size
        image = Summary.Image(
            width=width,
            height=height,
            colorspace=_COLOUR_SPACE,
            encoded_image_string=picture.read_bytes(),
        )
        yield Summary.Value(tag=f"pictures/{picture.stem}", image=image)
    about = {"wave": record.wave, "made": record.made, "category": result.category}
    for name, rows in (("settings", result.settings), ("versions", {**about, **result.versions})):
        yield _table(name, rows)


def _table(name: str, rows: Mapping[str, str]) -> Summary.Value:
    """Write a table as text in markdown, as the text plugin shows it."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.util.tensor_util import make_tensor_proto

    lines = ["| | |", "|---|---|", *(f"| {key} | {text} |" for key, text in rows.items())]
    return Summary.Value(
        tag=name,
        tensor=make_tensor_proto("\n".join(lines).encode()),
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
    )


def _name(text: str) -> str:
    """Make a folder's name that leads nowhere else."""
    return _NOT_IN_NAMES.sub("_", text).strip(" .") or "_"
