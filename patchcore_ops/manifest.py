"""The manifest of one category: one row per image, and the place where input is validated.

Everything downstream reads the manifest instead of the folder, so that a run sees one fixed set of
images however the folder changes meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from patchcore_ops.errors import DatasetError
from patchcore_ops.images import IMAGE_EXTENSIONS

MVTEC_URL = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
GOOD = "good"
COLUMNS = (
    "path",
    "split",
    "label",
    "is_anomaly",
    "defect_type",
    "mask_path",
    "width",
    "height",
    "bytes",
    "fingerprint",
    "mask_fingerprint",
)


@dataclass(frozen=True)
class CategoryScan:
    """What a category's folder holds.

    Attributes
    ----------
    images : DataFrame
        One row per image with the columns `COLUMNS`: train images first, then the test images by
        label and name, which is the order of every artefact. Paths are relative to the dataset's
        root; `defect_type`, `mask_path` and `mask_fingerprint` are None where there is none.
    skipped : tuple of str
        Files that are not images, relative to the root.
    """

    images: pd.DataFrame
    skipped: tuple[str, ...]


def scan_category(root: Path, category: str) -> CategoryScan:
    """Read and validate the folder of one category in MVTec AD's layout.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    category : str
        Name of the folder below it.

    Raises
    ------
    DatasetError
        If the folder is absent or anything in it cannot be used, one line per problem.
    """
    folder = root / category
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: no such folder; unpack MVTec AD ({MVTEC_URL}) so that "
            f"{category}/train/good lies below {root}, or set dataset.root or "
            "PATCHCORE_DATASET_ROOT to where it is"
        )
    rows: list[dict[str, object]] = []
    problems: list[str] = []
    skipped: list[str] = []
    for split in ("train", "test"):
        for label_folder in _visible_folders(folder / split):
            if split == "train" and label_folder.name != GOOD:
                problems.append(
                    f"{label_folder}: train may hold only '{GOOD}'; PatchCore learns from normal "
                    "images alone, so move defective ones to test"
                )
                continue
            for file in sorted(label_folder.iterdir()):
                if file.name.startswith(".") or file.suffix.lower() not in IMAGE_EXTENSIONS:
                    skipped.append(file.relative_to(root).as_posix())
                    continue
                try:
                    rows.append(_describe(file, root, folder, split))
                except DatasetError as problem:
                    problems.append(str(problem))
    images = pd.DataFrame(rows, columns=list(COLUMNS))
    if not problems:
        problems.extend(_missing_splits(images, folder))
    if problems:
        raise DatasetError("\n".join(problems))
    return CategoryScan(images=images, skipped=tuple(skipped))


def image_files(images: pd.DataFrame, split: str, root: Path) -> list[Path]:
    """Return the image files of one split, in manifest order."""
    return [root / path for path in images.loc[images["split"] == split, "path"]]


def count_labels(images: pd.DataFrame) -> pd.DataFrame:
    """Count the images and masks of each split and label."""
    counts = images.groupby(["split", "label"], sort=False).agg(
        images=("path", "size"), masks=("mask_path", "count")
    )
    return counts.reset_index()


def file_hash(file: Path) -> str:
    """Hash a file's content with SHA-256."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_version(root: Path, category: str) -> str:
    """Hash the names and contents of all files of a category: equal folders, equal versions.

    Returns
    -------
    str
        16 hexadecimal digits; a category without a folder has the version `absent`.
    """
    folder = root / category
    if not folder.is_dir():
        return "absent"
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(folder).as_posix()}\0{file_hash(file)}\0".encode())
    return digest.hexdigest()[:16]


def _visible_folders(parent: Path) -> Iterator[Path]:
    if parent.is_dir():
        yield from sorted(
            child for child in parent.iterdir() if child.is_dir() and child.name[0] != "."
        )


def _describe(file: Path, root: Path, folder: Path, split: str) -> dict[str, object]:
    """Validate one image, with its mask, and describe it as a row."""
    label = file.parent.name
    width, height = _image_size(file)
    mask = _find_mask(file, folder) if split == "test" and label != GOOD else None
    if mask is not None and (mask_size := _image_size(mask)) != (width, height):
        raise DatasetError(
            f"{mask}: is {mask_size[0]} x {mask_size[1]} pixels, but its image is {width} x "
            f"{height}; a mask must match its image"
        )
    return {
        "path": file.relative_to(root).as_posix(),
        "split": split,
        "label": label,
        "is_anomaly": label != GOOD,
        "defect_type": None if label == GOOD else label,
        "mask_path": None if mask is None else mask.relative_to(root).as_posix(),
        "width": width,
        "height": height,
        "bytes": file.stat().st_size,
        "fingerprint": file_hash(file),
        "mask_fingerprint": None if mask is None else file_hash(mask),
    }


def _image_size(file: Path) -> tuple[int, int]:
    try:
        with Image.open(file) as image:
            size = image.size
            # PNG files carry checksums; anything else shows its damage only when decoded.
            if image.format == "PNG":
                image.verify()
            else:
                image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{file}: cannot be read as an image ({error}); replace or remove the file"
        ) from None
    return size


def _find_mask(file: Path, folder: Path) -> Path | None:
    """Find an image's mask; a defect type without a ground-truth folder has no masks at all."""
    masks = folder / "ground_truth" / file.parent.name
    if not masks.is_dir():
        return None
    for name in (f"{file.stem}_mask", file.stem):
        for extension in (".png", file.suffix, *sorted(IMAGE_EXTENSIONS)):
            if (candidate := masks / f"{name}{extension}").is_file():
                return candidate
    raise DatasetError(
        f"{file}: its mask {masks / (file.stem + '_mask.png')} is missing; "
        "add it, or remove the whole folder to do without pixel metrics for this defect"
    )


def _missing_splits(images: pd.DataFrame, folder: Path) -> list[str]:
    problems = []
    if not (images["split"] == "train").any():
        problems.append(f"{folder / 'train' / GOOD}: holds no images; PatchCore needs normal ones")
    if not (images["split"] == "test").any():
        problems.append(f"{folder / 'test'}: holds no images, so nothing can be predicted")
    return problems
