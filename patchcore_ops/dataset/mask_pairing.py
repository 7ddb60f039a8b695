"""Pairs images with masks by name."""

from __future__ import annotations

from pathlib import Path

from patchcore_ops.dataset.category_folder import GOOD, Listing, Problem
from patchcore_ops.dataset.image_formats import IMAGE_EXTENSIONS, printable

_MASK_SUFFIX = "_mask"


def pair_masks(listing: Listing) -> tuple[dict[Path, Path], list[Problem]]:
    """Find the mask of each defective image (`<image>_mask` or `<image>`), and shared masks."""
    masks: dict[Path, Path] = {}
    owners: dict[Path, Path] = {}
    problems = []
    by_label = {label: _by_stem(files) for label, files in listing.masks.items()}
    for image, split in listing.images:
        label = image.parent.name
        if split == "train" or label == GOOD:
            continue
        mask = _mask_of(image, by_label.get(label, {}))
        if mask is None:
            continue
        if mask in owners:
            problems.append(
                Problem(
                    image,
                    f"has the same mask as {printable(owners[mask].name)}, "
                    f"{printable(mask.name)}; rename one of the images and give each its own",
                )
            )
        owners.setdefault(mask, image)
        masks[image] = mask
    return masks, problems


def _by_stem(files: list[Path]) -> dict[str, list[Path]]:
    by_stem: dict[str, list[Path]] = {}
    for file in files:
        by_stem.setdefault(file.stem, []).append(file)
    return by_stem


def _mask_of(image: Path, by_stem: dict[str, list[Path]]) -> Path | None:
    """Prefer PNG, then the image's own format, then the others by name."""
    preferred = [".png", image.suffix.lower(), *sorted(IMAGE_EXTENSIONS)]
    for stem in (image.stem + _MASK_SUFFIX, image.stem):
        if files := by_stem.get(stem):
            return min(
                files,
                key=lambda file: (preferred.index(file.suffix.lower()), file.suffix.swapcase()),
            )
    return None
