"""A run over images: those that are kept already are taken from there, the others are scored."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from patchcore_ops.inspection.output_folder import OutputFolder
from patchcore_ops.inspection.rows import Row, prediction_row
from patchcore_ops.model.prediction import Prediction, Unreadable
from patchcore_ops.model.predictor import Model
from patchcore_ops.runtime.fingerprints import FileState, state_of


class Inspected(NamedTuple):
    """An image's row, and whether it was kept from an earlier run."""

    row: Row
    is_kept: bool


def inspect_images(
    load: Callable[[], Model],
    images: Sequence[Path | Unreadable],
    output: OutputFolder | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Generator[Inspected]:
    """Score images, in their order, and keep what comes of each in `output` before the next.

    `load` is called if anything is to be scored: an image whose file has not changed since it was
    kept is not scored again. Once `is_stopped` returns true, no further image is begun, and those
    are left out.
    """
    known = [_known(image, output) for image in images]
    new = [
        image
        for image, row in zip(images, known, strict=True)
        if row is None and not isinstance(image, Unreadable)
    ]
    states: deque[FileState | None] = deque()

    def begun() -> Iterator[Path]:
        for image in new:
            if is_stopped():
                return
            # Before it is read: a file that changes meanwhile is scored again the next time.
            states.append(_state(image))
            yield image

    with closing(load().attempt(begun()) if new else (_ for _ in ())) as found:
        for row in known:
            if row is not None:
                yield row
            elif (one := next(found, None)) is not None:
                yield Inspected(_keep(one, states.popleft(), output), is_kept=False)


def _keep(
    found: Prediction | Unreadable, state: FileState | None, output: OutputFolder | None
) -> Row:
    if output is None or state is None or isinstance(found, Unreadable):
        return prediction_row(found)
    return output.keep(state, found)


def _known(image: Path | Unreadable, output: OutputFolder | None) -> Inspected | None:
    """Return what is to be said of an image without the model."""
    if isinstance(image, Unreadable):
        return Inspected(prediction_row(image), is_kept=False)
    state = None if output is None else _state(image)
    kept = None if output is None or state is None else output.kept(str(image), state)
    return None if kept is None else Inspected(kept, is_kept=True)


def _state(image: Path) -> FileState | None:
    try:
        return state_of(image.stat())
    except OSError:
        return None
