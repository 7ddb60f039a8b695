"""The stage `image_manifest`: the validated contents of a category's folder."""

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
    """Validate a category's folder and write `manifest.parquet`, one row per image.

    Raises DatasetError if there is no such category, or an image or mask of it cannot be used.
    """
    scan = scan_category(dataset_root, category, hash_of, config)
    folder.mkdir(parents=True, exist_ok=True)
    scan.images.to_parquet(folder / MANIFEST, index=False)
    return scan
