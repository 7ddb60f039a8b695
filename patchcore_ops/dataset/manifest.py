"""The manifest of one category: one row per image, with the input validated.

Later steps read the manifest, not the folder, so a run sees one fixed set of images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from statistics import median
from typing import NamedTuple

import pandas as pd

from patchcore_ops.config.categories import MVTEC_CATEGORIES
from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.dataset.category_folder import (
    GOOD,
    GROUND_TRUTH,
    SPLITS,
    Listing,
    Skipped,
    list_category,
    relative_name,
)
from patchcore_ops.dataset.image_formats import decoding, printable, problem_report, read_all
from patchcore_ops.dataset.image_inspection import (
    ImageTraits,
    MaskTraits,
    inspect_image,
    inspect_mask,
)
from patchcore_ops.dataset.mask_pairing import pair_masks
from patchcore_ops.dataset.same_images import leaks
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.runtime.fingerprints import HashOf, file_hash

MVTEC_URL = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
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

    def __str__(self) -> str:
        """Say it in one sentence with the remedy."""
        return (
            f"{printable(self.mask)}: has {self.mask_size} pixels instead of {self.image_size}, so "
            "which pixels it marks is unknown; replace it, or remove it to do without"
        )


class Remark(NamedTuple):
    """A file that is used, but perhaps not as expected: its path and the remark."""

    path: str
    remark: str


@dataclass(frozen=True)
class CategoryScan:
    """The content of a category's folder; paths are relative to the dataset's root.

    `images` has one row per image with `COLUMNS`: train first, then test by label and name.
    `misfits` are masks of another size than their image, which are not used. `beside` are other
    files, such as a licence. `median_mask_share` is the median share of pixels that masks mark.
    """

    images: pd.DataFrame
    skipped: tuple[Skipped, ...]
    misfits: tuple[Misfit, ...]
    unused_masks: tuple[str, ...]
    has_ground_truth: bool
    beside: tuple[str, ...] = ()
    image_remarks: tuple[Remark, ...] = ()
    mask_doubts: tuple[Remark, ...] = ()
    median_mask_share: float | None = None


def scan_category(
    root: Path,
    category: str,
    hash_of: HashOf = file_hash,
    settings: CategoryConfig | None = None,
    splits: Collection[str] = SPLITS,
) -> CategoryScan:
    """Read and validate the folder of one category in MVTec AD's layout.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    category : str
        Name of the folder below it.
    hash_of : callable
        Gives a file's SHA-256.
    settings : CategoryConfig, optional
        Limit of pixels, and the crop and threshold for remarks on masks.
    splits : collection of str, optional
        The splits that are looked at, and must hold images; by default train and test.

    Returns
    -------
    CategoryScan

    Raises
    ------
    DatasetError
        If the folder is absent or holds unusable files, one line per problem.
    """
    folder = root / category
    with decoding(folder):
        is_folder = folder.is_dir()
    if not is_folder:
        what = "is no folder" if folder.exists() else "no such folder"
        if "train" not in splits:
            remedy = f"to evaluate {category!r} on other images, put them below it as test/<label>"
        else:
            source = (
                f"unpack MVTec AD ({MVTEC_URL})"
                if category in MVTEC_CATEGORIES
                else "correct dataset.categories, put images there"
            )
            remedy = (
                f"{source} so that {category}/train/good lies below {root}, or set dataset.root "
                "or PATCHCORE_DATASET_ROOT to where it is"
            )
        raise DatasetError(f"{folder}: {what}; {remedy}")
    settings = settings or CategoryConfig()
    listing = list_category(root, category)
    listing.images = [one for one in listing.images if one.split in splits]
    masks, shared = pair_masks(listing)
    problems = [str(problem) for problem in (*listing.problems, *shared)]
    traits = read_all(
        [candidate.path for candidate in listing.images],
        lambda file: inspect_image(file, settings.dataset.max_pixels),
        problems,
    )
    mask_traits = read_all(
        dict.fromkeys(masks.values()),
        lambda file: inspect_mask(file, settings.dataset, settings.metrics.mask_threshold),
        problems,
    )
    rows = []
    misfits = []
    for candidate in listing.images:
        if candidate.path not in traits:
            continue
        try:
            row = _describe(candidate.path, root, candidate.split, traits[candidate.path], hash_of)
            mask = masks.get(candidate.path)
            if mask is not None and mask in mask_traits:
                if misfit := _misfit(mask, mask_traits[mask], traits[candidate.path], root):
                    misfits.append(misfit)
                else:
                    row["mask_path"] = mask.relative_to(root).as_posix()
                    row["mask_fingerprint"] = hash_of(mask)
            rows.append(row)
        except OSError as error:
            what = printable(error.filename or candidate.path)
            problems.append(f"{what}: cannot be read ({error.strerror}); wait until it is there")
    images = pd.DataFrame(rows, columns=list(COLUMNS))
    problems.extend(_missing_splits(listing, folder, splits))
    if problems:
        raise problem_report([*problems, *map(str, misfits), *leaks(images)])
    used = {root / path for path in images["mask_path"].dropna()}
    shares = [trait.marked_share for file, trait in mask_traits.items() if file in used]
    unused = {file for files in listing.masks.values() for file in files} - set(masks.values())
    return CategoryScan(
        images=images,
        skipped=tuple(sorted(listing.skipped)),
        misfits=tuple(misfits),
        unused_masks=tuple(
            relative_name(file, root) for file in sorted([*listing.other_truth, *unused])
        ),
        has_ground_truth=(folder / GROUND_TRUTH).is_dir(),
        beside=tuple(relative_name(file, root) for file in listing.beside),
        image_remarks=tuple(
            Remark(relative_name(file, root), remark)
            for file, trait in traits.items()
            for remark in trait.remarks
        ),
        mask_doubts=tuple(
            Remark(relative_name(file, root), trait.doubt)
            for file, trait in mask_traits.items()
            if trait.doubt is not None and file in used
        ),
        median_mask_share=median(shares) if shares else None,
    )


def image_files(images: pd.DataFrame, split: str, root: Path) -> list[Path]:
    """Return the image files of one split, in manifest order."""
    return [root / path for path in images.loc[images["split"] == split, "path"]]


def refuse_paths_outside(images: pd.DataFrame) -> None:
    """Raise DatasetError for manifest paths that leave the dataset's root by name; links may."""
    foreign = [
        f"{printable(str(path))}: a path of the manifest that leads out of the dataset's root; "
        "materialise image_manifest again"
        for path in (*images["path"], *images["mask_path"].dropna())
        if not isinstance(path, str) or not _stays_inside(path)
    ]
    if foreign:
        raise problem_report(foreign)


def count_labels(images: pd.DataFrame) -> pd.DataFrame:
    """Count the images and masks of each split and label."""
    counts = images.groupby(["split", "label"], sort=False).agg(
        images=("path", "size"), masks=("mask_path", "count")
    )
    return counts.reset_index()


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and "\0" not in path


def _describe(
    file: Path, root: Path, split: str, traits: ImageTraits, hash_of: HashOf
) -> dict[str, object]:
    """Describe one image as a row, so far without a mask."""
    label = file.parent.name
    return {
        "path": file.relative_to(root).as_posix(),
        "split": split,
        "label": label,
        "is_anomaly": label != GOOD,
        "defect_type": None if label == GOOD else label,
        "mask_path": None,
        "width": traits.width,
        "height": traits.height,
        "bytes": file.stat().st_size,
        "fingerprint": hash_of(file),
        "mask_fingerprint": None,
    }


def _misfit(mask: Path, of_mask: MaskTraits, of_image: ImageTraits, root: Path) -> Misfit | None:
    """Compare a mask's size with its image's."""
    sizes = [f"{traits.width} x {traits.height}" for traits in (of_mask, of_image)]
    return None if sizes[0] == sizes[1] else Misfit(relative_name(mask, root), *sizes)


def _missing_splits(listing: Listing, folder: Path, splits: Collection[str]) -> Iterator[str]:
    """Say which split has no images, sound or not."""
    there = {candidate.split for candidate in listing.images}
    told = [problem.path for problem in listing.problems]
    for split, place, why in zip(
        SPLITS,
        (folder / "train" / GOOD, folder / "test"),
        ("; PatchCore needs normal ones", " in folders such as good; so nothing can be predicted"),
        strict=True,
    ):
        # A folder that cannot be read, or a name that cannot be used, is a problem already.
        if (
            split in splits
            and split not in there
            and not any(path.is_relative_to(place) or place.is_relative_to(path) for path in told)
        ):
            yield f"{place}: holds no images{why}"
