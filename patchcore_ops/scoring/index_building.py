"""A FAISS index over the memory bank, from the configured factory string."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import IndexSection
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.scoring.faiss_library import only_faiss, reason_of
from patchcore_ops.scoring.index_file import BYTES_AT_ONCE, write_flat_index, write_index

Floats = npt.NDArray[np.float32]
# In place of a number of lists: as many as suit the bank.
_AUTOMATIC_LISTS = "IVFauto"


def build_index(features: Floats, factory: str) -> Any:
    """Build a FAISS index of squared Euclidean distances over the features [picks, dim] of a bank.

    The factory string is FAISS's, such as `Flat`, `IVF512,Flat` or `HNSW32`; `IVFauto` stands for
    an inverted file with twice as many lists as the root of the bank's rows, or a quarter of its
    rows if that is less. The index is trained where it needs to be.

    Raises
    ------
    ConfigError
        If FAISS does not understand the factory string or the bank is too small for it.

    Examples
    --------
    >>> bank = np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    >>> index = build_index(bank, "Flat")
    >>> distances, rows = index.search(np.array([[3.0, 3.0]], dtype=np.float32), 2)
    >>> distances.tolist(), rows.tolist()
    ([[1.0, 18.0]], [[1, 0]])
    """
    return _build(features.shape, factory, lambda: features, [features])


def write_index_over(features: ArrayFile, factory: str, path: Path) -> None:
    """Write the index over features that are in a file, in bounded memory where it can be.

    A flat index is written as it is read. Any other is held as a whole; over many features it is
    trained on an evenly spaced part of them. Errors are those of `build_index`.
    """
    rows, dimension = features.shape
    most = BYTES_AT_ONCE // (dimension * 4)
    if factory == "Flat":
        write_flat_index(features.shape, features.blocks(), path)
    elif rows <= most:
        write_index(build_index(features.read(0, rows), factory), path)
    else:
        spaced = np.linspace(0, rows - 1, most).astype(np.int64)
        write_index(
            _build(features.shape, factory, lambda: features.take(spaced), features.blocks()), path
        )


def _build(
    shape: tuple[int, ...],
    factory: str,
    training: Callable[[], Floats],
    blocks: Iterable[Floats],
) -> Any:
    faiss = only_faiss()
    rows, dimension = shape
    try:
        index = _empty_index(faiss, factory, rows, dimension)
        if not index.is_trained:
            index.train(training())
        for block in blocks:
            index.add(block)
    except (RuntimeError, MemoryError) as error:
        raise ConfigError(
            f"index.factory: FAISS cannot build '{factory}' over {rows} x {dimension} features "
            f"({reason_of(error)}); use Flat, or fewer lists, links or codes"
        ) from None
    return index


def foresee_index(section: IndexSection, rows: int, dimension: int) -> None:
    """Refuse, by an empty index, a section that cannot serve a bank of so many rows.

    Raises ConfigError if `build_index` or `Searcher` would fail for one of these reasons.
    """
    faiss = only_faiss()
    try:
        index = _empty_index(faiss, section.factory, rows, dimension)
    except (RuntimeError, MemoryError) as error:
        raise ConfigError(
            f"index.factory: FAISS cannot build '{section.factory}' over {rows} x {dimension} "
            f"features ({reason_of(error)}); use Flat, or see FAISS's guide to the index factory"
        ) from None
    if (needed := _rows_to_train(faiss, index)) > rows:
        raise ConfigError(
            f"index.factory: '{section.factory}' needs at least {needed} rows to train on, but the "
            f"memory bank will hold {rows}; use fewer lists or codes, or raise coreset.percentage"
        )
    set_parameters(faiss, index, section)


def _empty_index(faiss: Any, factory: str, rows: int, dimension: int) -> Any:
    """Make an index for so many rows from a factory string, its lists counted if automatic."""
    lists = max(min(round(2 * math.sqrt(rows)), rows // 4), 1)
    index = faiss.index_factory(
        dimension, factory.replace(_AUTOMATIC_LISTS, f"IVF{lists}"), faiss.METRIC_L2
    )
    if _AUTOMATIC_LISTS in factory:
        # FAISS warns of fewer than 39 rows a list; these are meant.
        faiss.extract_index_ivf(index).cp.min_points_per_centroid = 1
    return index


def set_parameters(faiss: Any, index: Any, section: IndexSection) -> None:
    """Set the search parameters of an index; refuse what does not suit it."""
    if not section.search_parameters:
        return
    try:
        faiss.ParameterSpace().set_index_parameters(index, section.search_parameters)
    except RuntimeError as error:
        raise ConfigError(
            f"index.search_parameters: '{section.search_parameters}' does not suit "
            f"'{section.factory}' ({reason_of(error)}); IVF indices take nprobe=16, HNSW "
            "indices efSearch=64"
        ) from None


def _rows_to_train(faiss: Any, index: Any) -> int:
    """Return the most centroids that any part of an index has: each is trained on a row."""
    if index.is_trained:
        return 0
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform | faiss.IndexRefine):
        inner = index.index if isinstance(index, faiss.IndexPreTransform) else index.base_index
        return _rows_to_train(faiss, inner)
    lists = index.nlist if isinstance(index, faiss.IndexIVF) else 0
    codes = index.pq.ksub if hasattr(index, "pq") else 0
    return int(max(lists, codes))
