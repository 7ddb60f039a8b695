"""The folder of a run over images: its journal, heat maps, anomaly maps and tables.

predictions.csv, predictions.parquet    when the run ends, or is stopped
predictions.jsonl                       the journal, from which it goes on
heat_maps/<name>.png
anomaly_maps/<name>.tiff                float32, if asked for
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from patchcore_ops.inspection.heat_map import heat_map
from patchcore_ops.inspection.journal import JOURNAL, Entry, Journal, opened_journal
from patchcore_ops.inspection.picture_names import picture_names
from patchcore_ops.inspection.rows import Row, prediction_row
from patchcore_ops.inspection.tables import CSV, PARQUET, write_tables
from patchcore_ops.model.description import ModelDescription
from patchcore_ops.model.prediction import Prediction, Unreadable
from patchcore_ops.runtime.errors import EnvironmentProblem
from patchcore_ops.runtime.fingerprints import FileState

HEAT_MAPS = "heat_maps"
ANOMALY_MAPS = "anomaly_maps"
# A quarter of the time of Pillow's own, for a ninth more bytes.
_PNG_LEVEL = 1


class Pictures(NamedTuple):
    """Which pictures are kept of each image."""

    heat_maps: bool = True
    anomaly_maps: bool = False


class OutputFolder:
    """Where predictions are kept; `opened_output` gives one."""

    def __init__(
        self, folder: Path, journal: Journal, pictures: Pictures, names: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._pictures = pictures
        self._names = names

    def kept(self, path: str, state: FileState) -> Row | None:
        """Return the row of an image, unless the image has changed or a picture is missing."""
        entry = self._journal.entries.get(path)
        if entry is None or entry.state != state:
            return None
        wanted = self._places(entry.name)
        if not wanted.keys() <= entry.pictures.keys():
            return None
        if any(_size(self._folder / place) != entry.pictures[place] for place in wanted):
            return None
        return {**entry.row, "heat_map": self._heat_map(entry.name)}

    def keep(self, state: FileState, prediction: Prediction) -> Row:
        """Write what there is of an image, its row last, and return the row."""
        name = self._names[prediction.name]
        row = {**prediction_row(prediction), "heat_map": self._heat_map(name)}
        with _writing(self._folder):
            for place, options in self._places(name).items():
                is_heat_map = place.startswith(HEAT_MAPS)
                picture = heat_map(prediction) if is_heat_map else prediction.anomaly_map
                _save(Image.fromarray(picture), self._folder / place, options)
            sizes = {place: _size(self._folder / place) for place in self._places(name)}
            self._journal.append(Entry(prediction.name, state, name, sizes, row))
        return row

    def write_tables(self, rows: Sequence[Row]) -> None:
        """Replace the tables by these rows."""
        with _writing(self._folder):
            write_tables(rows, self._folder)

    def _heat_map(self, name: str) -> str | None:
        return f"{HEAT_MAPS}/{name}.png" if self._pictures.heat_maps else None

    def _places(self, name: str) -> dict[str, dict[str, int]]:
        """Return the places of an image's pictures, and how each is saved."""
        places = {}
        if self._pictures.heat_maps:
            places[f"{HEAT_MAPS}/{name}.png"] = {"compress_level": _PNG_LEVEL}
        if self._pictures.anomaly_maps:
            places[f"{ANOMALY_MAPS}/{name}.tiff"] = {}
        return places


@contextmanager
def opened_output(
    folder: Path,
    model: ModelDescription,
    images: Sequence[Path | Unreadable],
    pictures: Pictures,
    begin_again: bool = False,
) -> Iterator[OutputFolder]:
    """Open a new folder, or go on in one that holds predictions of the same model.

    With `begin_again`, predictions that are there, of any model, are replaced. Raises
    EnvironmentProblem if the folder holds something else, or cannot be written.
    """
    with ExitStack() as stack:
        with _writing(folder):
            if folder.exists() and not folder.is_dir():
                raise EnvironmentProblem(f"{folder}: is no folder; name an empty or a new one")
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / JOURNAL).exists() and any(folder.iterdir()):
                raise EnvironmentProblem(
                    f"{folder}: holds something already, and no predictions to go on with; name "
                    "an empty or a new folder"
                )
            journal = stack.enter_context(
                opened_journal(folder, model.sha256, model.category, begin_again)
            )
            _remove(folder, journal.emptied)
            for is_wanted, place in zip(pictures, (HEAT_MAPS, ANOMALY_MAPS), strict=True):
                if is_wanted:
                    (folder / place).mkdir(exist_ok=True)
        given = {path: entry.name for path, entry in journal.entries.items()}
        paths = [image for image in images if not isinstance(image, Unreadable)]
        yield OutputFolder(folder, journal, pictures, picture_names(paths, given))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentProblem(
            f"{error.filename or folder}: cannot be written ({error.strerror or error}); give it "
            "room and rights, and run the same command again: it goes on where it stopped"
        ) from None


def _remove(folder: Path, entries: Sequence[Entry]) -> None:
    """Remove what a journal that was emptied stood for."""
    if entries:
        for table in (CSV, PARQUET):
            (folder / table).unlink(missing_ok=True)
    for entry in entries:
        (folder / HEAT_MAPS / f"{entry.name}.png").unlink(missing_ok=True)
        (folder / ANOMALY_MAPS / f"{entry.name}.tiff").unlink(missing_ok=True)


def _save(picture: Image.Image, file: Path, options: Mapping[str, int]) -> None:
    aside = file.with_name(f".{file.name}.part")
    picture.save(aside, file.suffix[1:].upper(), **options)
    aside.replace(file)


def _size(file: Path) -> int:
    """Return a file's size, -1 if there is none."""
    try:
        return file.stat().st_size
    except OSError:
        return -1
