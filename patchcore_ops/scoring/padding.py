"""Maps of images that fill only a part of the network's input: `fit: pad`.

What lies outside of an image has no score of its own: cells of the grid there take the score of the
nearest cell in the image, so that smoothing sees neither an edge nor the padding, and the pixels of
the maps are NaN. Whoever reads maps leaves out what is NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
# For each image, where it lies in the input: left, top, right, bottom, in pixels.
Insides = npt.NDArray[np.int64]


def cells_inside(
    grid: tuple[int, int], size: tuple[int, int], insides: Insides
) -> list[tuple[slice, slice]]:
    """Return for each image the rows and columns of cells whose centres lie in it; never none."""

    def between(start: int, stop: int, cells: int, pixels: int) -> slice:
        centres = (np.arange(cells) + 0.5) * pixels / cells
        first = min(int(np.searchsorted(centres, start)), cells - 1)
        return slice(first, max(int(np.searchsorted(centres, stop)), first + 1))

    return [
        (between(top, bottom, grid[0], size[0]), between(left, right, grid[1], size[1]))
        for left, top, right, bottom in insides.tolist()
    ]


def continued(scores: Floats, size: tuple[int, int], insides: Insides) -> Floats:
    """Return patch scores, shape [n, h, w], in which those of the padding are their neighbours'."""
    found = np.empty_like(scores)
    rows, columns = (np.arange(cells) for cells in scores.shape[1:])
    cells = cells_inside((len(rows), len(columns)), size, insides)
    for image, (down, across) in enumerate(cells):
        inner_rows = np.clip(rows, down.start, down.stop - 1)
        inner_columns = np.clip(columns, across.start, across.stop - 1)
        found[image] = scores[image][np.ix_(inner_rows, inner_columns)]
    return found


def blank_padding(maps: Floats, insides: Insides) -> Floats:
    """Set the pixels outside of each image to NaN, in place; return the maps."""
    for image, (left, top, right, bottom) in zip(maps, insides.tolist(), strict=True):
        image[:top] = image[bottom:] = np.nan
        image[:, :left] = image[:, right:] = np.nan
    return maps
