"""How memory and time of the stages grow, for the planner.

Work is counted in operations of a float32 matrix product, whose speed is measured on every machine:
what takes a second where a product runs at 125 GFLOP/s counts as 125e9, whatever it is. The
constants were fitted to `python -m benchmarks.plan_constants`: bottle, on an AMD EPYC with AVX-512.
"""

from __future__ import annotations

from typing import NamedTuple

from patchcore_ops.config.sections import CoresetSection
from patchcore_ops.scoring.certified_search import SMALLEST_BANK, SMALLEST_DIMENSION
from patchcore_ops.scoring.index_file import BYTES_AT_ONCE

_FLOAT = 4
# A process with Dagster and the libraries of any stage.
PROCESS_BYTES = 400_000_000
# However large a memory bank is: its features are gathered, and a flat index is made and searched,
# by parts of so many.
FEATURES_AT_ONCE = 65_536

# The start of a stage, its checks and pictures; then hashing and writing, by byte.
START = 35e9
WRITING_A_BYTE = 130
EMBEDDING_BYTES = 200_000_000
DECODING_A_PIXEL = 2_400
# Less than a product's two operations: convolutions have quicker ways.
NETWORK_A_MULTIPLICATION = 1.0
POOLING_A_VALUE = 1_100
# Passes over the rows, and the share of all distances that greedy selection computes.
SELECTING_A_ROW = 250_000
SHARE_OF_DISTANCES = 0.22
SELECTING_BYTES_A_ROW = 32
INDEXING_A_BYTE = 125
SEARCHING_BYTES = 50_000_000
CERTIFIED_A_QUERY = 2_500_000
CERTIFIED_A_PAIR = 300
CERTIFIED_AXES = 2.5
CERTIFIED_BYTES_A_ROW = 3_400
MAP_A_PIXEL = 4_000
METRICS_A_PIXEL = 12_000
METRICS_BYTES_A_PIXEL = 34


class Cost(NamedTuple):
    """Bytes of memory at the peak, and operations."""

    memory: float
    operations: float


def embedding(images: int, pixels: int, multiplications: float, values: int) -> float:
    """Count the operations of embedding images of so many pixels into so many values."""
    return (
        DECODING_A_PIXEL * pixels
        + NETWORK_A_MULTIPLICATION * images * multiplications
        + POOLING_A_VALUE * values
    )


def selection(rows: int, dimension: int, coreset: CoresetSection, picks: int, shards: int) -> Cost:
    """Select a memory bank, one shard of the rows after the other, then gather its features."""
    features = 2.0 * min(picks, FEATURES_AT_ONCE) * dimension * _FLOAT
    if coreset.sampler in ("identity", "random"):
        return Cost(features, 0)
    width = coreset.projection_dimension
    rows_at_once, picks_at_once = rows / shards, picks / shards
    projected = rows_at_once * (_FLOAT * width + SELECTING_BYTES_A_ROW)
    projected += picks_at_once * _FLOAT * width
    return Cost(
        max(projected, features),
        (0 if width == dimension else 2.0 * rows * dimension * width)
        + SELECTING_A_ROW * rows
        + SHARE_OF_DISTANCES * 2.0 * rows * picks_at_once * width,
    )


def indexing(size: int, flat: bool) -> Cost:
    """Build an index of a memory bank of so many bytes; only a flat one is made by parts."""
    return Cost(2.0 * (min(size, BYTES_AT_ONCE) if flat else size), INDEXING_A_BYTE * size)


def search(queries: int, bank: int, dimension: int, flat: bool, certified: bool) -> Cost:
    """Search an index; the operations are those for a flat one."""
    width = dimension * _FLOAT
    held = min(bank, BYTES_AT_ONCE // width) if flat else bank
    memory = SEARCHING_BYTES + queries * _FLOAT + held * width
    if not (flat and certified) or bank < SMALLEST_BANK or dimension < SMALLEST_DIMENSION:
        return Cost(memory, 2.0 * queries * bank * dimension)
    return Cost(
        memory + held * CERTIFIED_BYTES_A_ROW,
        queries * (CERTIFIED_A_QUERY + CERTIFIED_A_PAIR * bank)
        + CERTIFIED_AXES * bank * dimension**2,
    )
