"""The memory bank in the reference's `nnscorer_search_index.faiss`, read without FAISS.

FAISS's reader is not made for hostile files. The reference writes only flat indices, whose format
is a header and the features.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchcore_ops.model.description import ModelError
from patchcore_ops.model.reference_files import SAVE_AGAIN, refuse_pointer
from patchcore_ops.scoring.index_file import FLAT_HEADER, FLAT_L2, METRIC_L2

_FLAT = (FLAT_L2, b"IxFl")


def read_bank(file: Path, dimension: int) -> npt.NDArray[np.float32]:
    """Read the features [rows, dimension] that `faiss.write_index` wrote of an `IndexFlatL2`.

    Raises ModelError if the file cannot be read, is damaged or holds any other index, or no or not
    finite features.
    """
    try:
        with file.open("rb") as stream:
            _check_header(file, stream.read(FLAT_HEADER.size), file.stat().st_size, dimension)
            features = np.fromfile(stream, dtype="<f4").reshape(-1, dimension)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error})") from None
    if not np.isfinite(features).all():
        raise ModelError(f"{file}: holds NaN or infinity; {SAVE_AGAIN}")
    return features.astype(np.float32, copy=False)


def _check_header(file: Path, header: bytes, size: int, dimension: int) -> None:
    refuse_pointer(file, header)
    if len(header) < FLAT_HEADER.size:
        raise ModelError(f"{file}: ends within its header; {SAVE_AGAIN}")
    kind, found, rows, _, _, _, metric, numbers = FLAT_HEADER.unpack(header)
    if kind not in _FLAT or metric != METRIC_L2:
        raise ModelError(
            f"{file}: is no flat FAISS index of squared Euclidean distances (its kind is {kind!r}, "
            f"its metric {metric}), and the reference writes no other; {SAVE_AGAIN}"
        )
    if found != dimension:
        raise ModelError(
            f"{file}: its features have {found} numbers and not target_embed_dimension "
            f"({dimension}); take index and parameters of one model"
        )
    if rows < 1:
        raise ModelError(f"{file}: holds no features; {SAVE_AGAIN}")
    if numbers != rows * dimension or size != FLAT_HEADER.size + 4 * numbers:
        raise ModelError(
            f"{file}: does not hold the {rows} x {dimension} features that it names; {SAVE_AGAIN}"
        )
