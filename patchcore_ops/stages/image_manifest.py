"""The stage `image_manifest`: what a category's folder holds, validated."""

from __future__ import annotations

from pathlib import Path

from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.dataset.manifest import CategoryScan, scan_category
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.stages.layout import MANIFEST


def write_manifest(
    category: str,
    dataset_root: Path,
    config: CategoryConfig,
    folder: Path,
    hash_of: HashOf = file_hash,
) -> CategoryScan:
    """Look through a category's folder and write its manifest, one row per image.

    Parameters
    ----------
    category : str
    dataset_root : Path
        Holds the category's folder.
    config : CategoryConfig
        Image sizes and limits.
    folder : Path
        Receives `manifest.parquet`.
    hash_of : callable
        Gives a file's SHA-256.

    Returns
    -------
    CategoryScan
        The rows, and which files are not used.

    Raises
    ------
    DatasetError
        If there is no such category, or one of its images or masks cannot be used.
    """
    scan = scan_category(dataset_root, category, hash_of, config)
    folder.mkdir(parents=True, exist_ok=True)
    scan.images.to_parquet(folder / MANIFEST, index=False)
    return scan
