"""Embeddings that the version before holds already, found by the content of the images.

They may be taken over only where each image's embeddings do not depend on the images beside it, as
with OpenVINO, and nothing else that determines them has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt
import pandas as pd

from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.stages import layout

FILES = {"train": layout.TRAIN_EMBEDDINGS, "test": layout.TEST_EMBEDDINGS}
# A block stays in the cache of a core.
_ROWS_PER_COPY = 256


class Place(NamedTuple):
    """Where the rows of an image are: in which file, and before how many other images."""

    file: str
    position: int


class Segment(NamedTuple):
    """Images that follow each other: new ones, or such as follow each other in a file too."""

    images: int
    first: Place | None


@dataclass(frozen=True)
class Earlier:
    """A version in one part whose networks, settings, packages and processor are those of now.

    `engines` and `networks` have made it; `share` puts a file of it into the folder being made.
    """

    folder: Path
    engines: Sequence[str]
    networks: Sequence[str]
    share: Callable[[Path, str], None]

    @cached_property
    def _images(self) -> pd.DataFrame:
        return layout.read_images(self.folder)

    @cached_property
    def places(self) -> dict[str, Place]:
        """The place of each image's rows, by the SHA-256 of its file."""
        places: dict[str, Place] = {}
        for split, file in FILES.items():
            of_split = self._images.loc[self._images["split"] == split, "fingerprint"]
            for position, fingerprint in enumerate(of_split):
                places.setdefault(str(fingerprint), Place(file, position))
        return places

    @cached_property
    def pixels(self) -> dict[str, str]:
        """The hash of each image's crop, by the SHA-256 of its file."""
        return dict(zip(self._images["fingerprint"], self._images["pixels"], strict=True))

    def has_just(self, split: str, segments: Sequence[Segment]) -> bool:
        """Tell whether a split is here, with the same images in the same order."""
        count = int((self._images["split"] == split).sum())
        return list(segments) == [Segment(count, Place(FILES[split], 0))]

    def share_all(self, split: str) -> None:
        """Put the files of a split into the folder being made, one for each member."""
        for member in range(len(self.engines)):
            name = f"{member}/{FILES[split]}"
            self.share(self.folder / name, name)

    def blocks(self, member: int, segment: Segment, patches: int) -> Iterator[npt.NDArray[Any]]:
        """Yield the rows of a segment, some at a time, in the format in which they are kept."""
        if segment.first is None:
            raise ValueError("new images have no rows yet")
        rows = ArrayFile(layout.member_folder(self.folder, member) / segment.first.file)
        first = segment.first.position * patches
        last = first + segment.images * patches
        for row in range(first, last, _ROWS_PER_COPY):
            yield rows.read(row, min(row + _ROWS_PER_COPY, last))


def segments_of(fingerprints: Iterable[str], earlier: Earlier | None) -> list[Segment]:
    """Divide the images of a split into segments."""
    places = {} if earlier is None else earlier.places

    def run(numbered: tuple[int, Place | None]) -> tuple[str, int] | None:
        number, place = numbered
        return None if place is None else (place.file, place.position - number)

    found = []
    for _, group in groupby(enumerate(map(places.get, fingerprints)), run):
        members = list(group)
        found.append(Segment(len(members), members[0][1]))
    return found
