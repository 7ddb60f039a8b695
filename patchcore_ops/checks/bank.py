"""Checks of a memory bank: its size, that nothing is in it twice, and what it covers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from patchcore_ops.checks.finding import Finding, counted
from patchcore_ops.config.sections import CategoryConfig, CoresetSection
from patchcore_ops.coreset.coverage import Coverage, bank_coverage
from patchcore_ops.coreset.samplers import sample_count
from patchcore_ops.runtime.arrays import ROWS_PER_BLOCK, ArrayFile
from patchcore_ops.runtime.rows import Rows
from patchcore_ops.stages.layout import FEATURES, INDICES, member_folders, train_embeddings


@dataclass(frozen=True, eq=False)
class MemberBank:
    """Facts about one member's memory bank."""

    rows: int  # of the embeddings that it was selected from
    indices: npt.NDArray[np.int64]
    shape: tuple[int, ...]  # of the features
    repeated_features: int
    coverage: Coverage | None  # None if the bank keeps every row or is not as it should be


def read_banks(embeddings: Path, bank: Path, config: CategoryConfig) -> list[MemberBank]:
    """Read and measure the memory bank of every member."""
    members = len(config.embedding.members)
    return [
        _measure(
            train_embeddings(of_embeddings),
            ArrayFile(of_bank / FEATURES),
            np.load(of_bank / INDICES, allow_pickle=False),
            config.coreset,
        )
        for of_embeddings, of_bank in zip(
            member_folders(embeddings, members), member_folders(bank, members), strict=True
        )
    ]


def _measure(
    embeddings: Rows,
    features: Rows,
    indices: npt.NDArray[np.int64],
    coreset: CoresetSection,
) -> MemberBank:
    rows = len(embeddings)
    is_sound = len(indices) == len(features) and bool(((indices >= 0) & (indices < rows)).all())
    coverage = None
    if is_sound and 0 < len(indices) < rows:
        coverage = bank_coverage(embeddings, features, indices, coreset)
    return MemberBank(rows, indices, features.shape, repeated_rows(features), coverage)


def bank_has_its_size(banks: Sequence[MemberBank], coreset: CoresetSection) -> Finding:
    """Check that a bank has as many picks as the percentage gives, and a feature for each."""
    table = pd.DataFrame(
        {
            "member": member,
            "rows": bank.rows,
            "expected": sample_count(bank.rows, coreset),
            "picks": len(bank.indices),
            "features": bank.shape[0],
        }
        for member, bank in enumerate(banks)
    )
    wrong = table[(table["picks"] != table["expected"]) | (table["features"] != table["expected"])]
    share = f"{coreset.percentage:.6g} of the rows"
    if coreset.sampler == "identity":
        share = "every row"
    first = (table if wrong.empty else wrong).iloc[0]
    return Finding.of(
        wrong.empty,
        f"The bank holds {share}: {counted(int(table['picks'].sum()), 'pick')}.",
        f"The bank does not hold {share}: {first['picks']:,} picks with {first['features']:,} "
        f"features instead of {first['expected']:,}; materialise memory_bank again.",
        {"banks": table},
    )


def picks_differ(banks: Sequence[MemberBank]) -> Finding:
    """Check that every pick is a row of the embeddings, and none is picked twice."""
    repeated = sum(len(bank.indices) - len(np.unique(bank.indices)) for bank in banks)
    beyond = sum(int(((bank.indices < 0) | (bank.indices >= bank.rows)).sum()) for bank in banks)
    return Finding.of(
        repeated + beyond == 0,
        "No row is picked twice.",
        f"{counted(repeated, 'pick repeats', 'picks repeat')} an earlier one and "
        f"{counted(beyond, 'is no row', 'are no rows')} of the embeddings; materialise "
        "memory_bank again.",
        {"repeated_picks": repeated, "picks_beyond_the_rows": beyond},
    )


def features_differ(banks: Sequence[MemberBank]) -> Finding:
    """Check that no two features are equal: the second cannot change a distance."""
    repeated = sum(bank.repeated_features for bank in banks)
    return Finding.of(
        repeated == 0,
        "No feature is in the bank twice.",
        f"{counted(repeated, 'feature equals', 'features equal')} another one and only cost "
        "time: train images hold the same content, or fewer distinct patches than the bank "
        "keeps; remove copies, or lower coreset.percentage.",
        {"repeated_features": repeated},
        is_error=False,
    )


def bank_covers_the_patches(banks: Sequence[MemberBank]) -> Finding:
    """Check that the bank is closer to the patches than its first pick alone."""
    measured = {at: bank.coverage for at, bank in enumerate(banks) if bank.coverage is not None}
    if not measured:
        return Finding(True, "The bank holds every patch, so its coverage radius is 0.")
    bad = [
        at
        for at, one in measured.items()
        if not math.isfinite(one.final) or (one.final > 0 and one.final >= one.radius[0])
        if len(one.picks) > 1
    ]
    worst = max(one.final for one in measured.values())
    rows = sum(one.rows for one in measured.values())
    exact = all(one.is_exact for one in measured.values())
    return Finding.of(
        not bad,
        f"No {'patch' if exact else f'patch of {rows:,} sampled ones'} is farther than {worst:.4g} "
        "from the bank, in the projection in which picks are chosen.",
        f"The bank of member {next(iter(bad), '')} is no closer to the patches than its first pick "
        "alone; materialise memory_bank again, with another coreset.sampler if that repeats.",
        {
            "coverage_radius": worst,
            "measured_patches": rows,
            "measured_all_patches": exact,
            "radius_by_picks": pd.DataFrame(
                {"member": at, "picks": picks, "radius": radius}
                for at, one in measured.items()
                for picks, radius in zip(one.picks, one.radius, strict=True)
            ),
        },
        is_error=False,
    )


def repeated_rows(rows: Rows) -> int:
    """Count the rows that equal an earlier one bit by bit.

    Equal rows have equal sums of their bits as whole numbers, so only rows with equal sums are
    compared, by their SHA-256.
    """
    sums = np.empty(len(rows), dtype=np.uint64)
    start = 0
    for block in rows.blocks():
        words = np.ascontiguousarray(block).view(np.uint32)
        sums[start : start + len(block)] = words.sum(axis=1, dtype=np.uint64)
        start += len(block)
    _, group, sizes = np.unique(sums, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(sizes[group] > 1)
    different = {
        hashlib.sha256(row.tobytes()).digest()
        for first in range(0, len(suspects), ROWS_PER_BLOCK)
        for row in rows.take(suspects[first : first + ROWS_PER_BLOCK])
    }
    return len(suspects) - len(different)
