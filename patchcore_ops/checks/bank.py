"""Checks of a memory bank: its size, that nothing is in it twice, and what it covers."""

from __future__ import annotations

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
from patchcore_ops.runtime.arrays import ArrayFile
from patchcore_ops.stages.layout import FEATURES, INDICES, TRAIN_EMBEDDINGS, member_folders


@dataclass(frozen=True, eq=False)
class MemberBank:
    """What is checked of one member's memory bank.

    Attributes
    ----------
    rows : int
        Of the embeddings from which it was selected.
    indices : ndarray of int64, shape [M]
        The picks.
    shape : tuple of int
        Of the features.
    repeated_features : int
        How many of them equal an earlier one.
    coverage : Coverage or None
        None where the bank keeps every row, and where it is not what it should be.
    """

    rows: int
    indices: npt.NDArray[np.int64]
    shape: tuple[int, ...]
    repeated_features: int
    coverage: Coverage | None


def read_banks(embeddings: Path, bank: Path, config: CategoryConfig) -> list[MemberBank]:
    """Read and measure the memory bank of every member.

    Parameters
    ----------
    embeddings, bank : Path
        Folders of the stages `embed` and `select`.
    config : CategoryConfig
        The coreset section, and the number of members.
    """
    members = len(config.embedding.members)
    return [
        _measure(
            ArrayFile(of_embeddings / TRAIN_EMBEDDINGS),
            np.load(of_bank / FEATURES, allow_pickle=False),
            np.load(of_bank / INDICES, allow_pickle=False),
            config.coreset,
        )
        for of_embeddings, of_bank in zip(
            member_folders(embeddings, members), member_folders(bank, members), strict=True
        )
    ]


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
    share = (
        "every row" if coreset.sampler == "identity" else f"{coreset.percentage:.6g} of the rows"
    )
    return Finding(
        wrong.empty,
        f"The bank holds {share}: {counted(int(table['picks'].sum()), 'pick')}."
        if wrong.empty
        else f"The bank does not hold {share}: {wrong['picks'].iloc[0]:,} picks with "
        f"{wrong['features'].iloc[0]:,} features instead of {wrong['expected'].iloc[0]:,}; "
        "materialise memory_bank again.",
        facts={"banks": table},
    )


def picks_differ(banks: Sequence[MemberBank]) -> Finding:
    """Check that every pick is a row of the embeddings, and none is picked twice."""
    repeated = sum(len(bank.indices) - len(np.unique(bank.indices)) for bank in banks)
    beyond = sum(int(((bank.indices < 0) | (bank.indices >= bank.rows)).sum()) for bank in banks)
    return Finding(
        repeated + beyond == 0,
        "No row is picked twice."
        if repeated + beyond == 0
        else f"{counted(repeated, 'pick repeats', 'picks repeat')} an earlier one and "
        f"{counted(beyond, 'is no row', 'are no rows')} of the embeddings; materialise "
        "memory_bank again.",
        facts={"repeated_picks": repeated, "picks_beyond_the_rows": beyond},
    )


def features_differ(banks: Sequence[MemberBank]) -> Finding:
    """Check that no two features are equal: a second one finds nothing that the first does not."""
    repeated = sum(bank.repeated_features for bank in banks)
    return Finding(
        repeated == 0,
        "No feature is in the bank twice."
        if repeated == 0
        else f"{counted(repeated, 'feature equals', 'features equal')} another one and only cost "
        "time: train images hold the same content, or fewer distinct patches than the bank "
        "keeps; remove copies, or lower coreset.percentage.",
        is_error=False,
        facts={"repeated_features": repeated},
    )


def bank_covers_the_patches(banks: Sequence[MemberBank]) -> Finding:
    """Check that the bank comes closer to the patches than its first pick alone does."""
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
    return Finding(
        not bad,
        f"No {'patch' if exact else f'patch of {rows:,} sampled ones'} is farther than {worst:.4g} "
        "from the bank, in the projection in which picks are chosen."
        if not bad
        else f"The bank of member {bad[0]} is no closer to the patches than its first pick alone; "
        "materialise memory_bank again, with another coreset.sampler if that repeats.",
        is_error=False,
        facts={
            "coverage_radius": worst,
            "measured_patches": rows,
            "measured_all_patches": exact,
            "radius_by_picks": pd.DataFrame(
                {"member": at, "picks": picks, "radius": radius}
                for at, one in measured.items()
                for picks, radius in zip(one.picks, one.radius, strict=True)
            ),
        },
    )


def repeated_rows(rows: npt.NDArray[np.float32]) -> int:
    """Count the rows that equal an earlier one bit by bit.

    Rows are sorted by the sum of their bits taken as whole numbers, which is exact, so equal rows
    come together; only rows with equal sums are compared.
    """
    words = np.ascontiguousarray(rows).view(np.uint32)
    sums = words.sum(axis=1, dtype=np.uint64)
    _, group, sizes = np.unique(sums, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(sizes[group] > 1)
    return len(suspects) - len({words[row].tobytes() for row in suspects})


def _measure(
    embeddings: ArrayFile,
    features: npt.NDArray[np.float32],
    indices: npt.NDArray[np.int64],
    coreset: CoresetSection,
) -> MemberBank:
    is_sound = len(indices) == len(features) > 0 and bool(
        ((indices >= 0) & (indices < len(embeddings))).all()
    )
    keeps_all = len(indices) >= len(embeddings)
    return MemberBank(
        rows=len(embeddings),
        indices=indices,
        shape=features.shape,
        repeated_features=repeated_rows(features),
        coverage=bank_coverage(embeddings, features, indices, coreset)
        if is_sound and not keeps_all
        else None,
    )
