"""The manifest of one category: one row per image, and the place where input is validated.

Everything downstream reads the manifest instead of the folder, so that a run sees one fixed set of
images however the folder changes meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from patchcore_ops.errors import DatasetError
from patchcore_ops.fingerprints import HashOf, file_hash
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


class Misfit(NamedTuple):
    """A mask of another size than its image: paths relative to the root, sizes as "W x H"."""

    mask: str
    mask_size: str
    image_size: str


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
    misfits : tuple of Misfit
        Masks that are not used, since their size is not that of their image.
    unused_masks : tuple of str
        Files of the ground truth that are no defective image's mask, relative to the root.
    has_ground_truth : bool
        Whether the category has a ground-truth folder.
    """

    images: pd.DataFrame
    skipped: tuple[str, ...]
    misfits: tuple[Misfit, ...]
    unused_masks: tuple[str, ...]
    has_ground_truth: bool


def scan_category(root: Path, category: str, hash_of: HashOf = file_hash) -> CategoryScan:
    """Read and validate the folder of one category in MVTec AD's layout.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    category : str
        Name of the folder below it.
    hash_of : callable
        Gives a file's SHA-256; with the one that `folder_version` was given, the manifest's
        fingerprints are those of that version.

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
    misfits: list[Misfit] = []
    masks: set[Path] = set()
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
                    row = _describe(file, root, split, hash_of)
                    mask = _find_mask(file, folder) if row["is_anomaly"] else None
                    if mask is not None:
                        masks.add(mask)
                        if misfit := _misfit(mask, row, root):
                            misfits.append(misfit)
                        else:
                            row["mask_path"] = mask.relative_to(root).as_posix()
                            row["mask_fingerprint"] = hash_of(mask)
                    rows.append(row)
                except DatasetError as problem:
                    problems.append(str(problem))
    images = pd.DataFrame(rows, columns=list(COLUMNS))
    if not problems:
        problems.extend(_missing_splits(images, folder))
    if problems:
        raise DatasetError("\n".join(problems))
    truth = folder / "ground_truth"
    return CategoryScan(
        images=images,
        skipped=tuple(skipped),
        misfits=tuple(misfits),
        unused_masks=tuple(
            file.relative_to(root).as_posix()
            for file in sorted(truth.rglob("*"))
            if file.is_file() and file not in masks
        ),
        has_ground_truth=truth.is_dir(),
    )


def image_files(images: pd.DataFrame, split: str, root: Path) -> list[Path]:
    """Return the image files of one split, in manifest order."""
    return [root / path for path in images.loc[images["split"] == split, "path"]]


def count_labels(images: pd.DataFrame) -> pd.DataFrame:
    """Count the images and masks of each split and label."""
    counts = images.groupby(["split", "label"], sort=False).agg(
        images=("path", "size"), masks=("mask_path", "count")
    )
    return counts.reset_index()


def _visible_folders(parent: Path) -> Iterator[Path]:
    if parent.is_dir():
        yield from sorted(
            child for child in parent.iterdir() if child.is_dir() and child.name[0] != "."
        )


def _describe(file: Path, root: Path, split: str, hash_of: HashOf) -> dict[str, object]:
    """Validate one image and describe it as a row, so far without a mask."""
    label = file.parent.name
    width, height = _image_size(file)
    return {
        "path": file.relative_to(root).as_posix(),
        "split": split,
        "label": label,
        "is_anomaly": label != GOOD,
        "defect_type": None if label == GOOD else label,
        "mask_path": None,
        "width": width,
        "height": height,
        "bytes": file.stat().st_size,
        "fingerprint": hash_of(file),
        "mask_fingerprint": None,
    }


def _misfit(mask: Path, image: Mapping[str, object], root: Path) -> Misfit | None:
    """Validate one mask; tell in what its size differs from that of its image, if it does."""
    width, height = _image_size(mask)
    if (width, height) == (image["width"], image["height"]):
        return None
    size = f"{image['width']} x {image['height']}"
    return Misfit(mask.relative_to(root).as_posix(), f"{width} x {height}", size)


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
    """Find an image's mask, None where there is none."""
    masks = folder / "ground_truth" / file.parent.name
    if not masks.is_dir():
        return None
    for name in (f"{file.stem}_mask", file.stem):
        for extension in (".png", file.suffix, *sorted(IMAGE_EXTENSIONS)):
            if (candidate := masks / f"{name}{extension}").is_file():
                return candidate
    return None


def _missing_splits(images: pd.DataFrame, folder: Path) -> list[str]:
    problems = []
    if not (images["split"] == "train").any():
        problems.append(f"{folder / 'train' / GOOD}: holds no images; PatchCore needs normal ones")
    if not (images["split"] == "test").any():
        problems.append(f"{folder / 'test'}: holds no images, so nothing can be predicted")
    return problems
