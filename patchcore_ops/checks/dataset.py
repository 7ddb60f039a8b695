"""Checks of a category's images, before anything is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from patchcore_ops.checks.finding import NAMED_FILES, Finding, counted, such_as
from patchcore_ops.config.sections import ChecksSection, ImageSize
from patchcore_ops.dataset.manifest import CategoryScan, Remark


def masks_match_images(scan: CategoryScan) -> Finding:
    """Check that every mask is as large as its image; others are not used as ground truth."""
    used = int(scan.images["mask_path"].notna().sum())
    wrong = pd.DataFrame(scan.misfits, columns=["mask", "mask_size", "image_size"])
    facts = {"masks": used, "misfits": len(wrong)}
    if wrong.empty:
        passed = f"The {counted(used, 'mask has', 'masks have')} the size of their images."
        return Finding(True, passed if used else "There are no masks.", facts=facts)
    first = scan.misfits[0]
    return Finding(
        False,
        f"{counted(len(wrong), 'mask has', 'masks have')} another size than the image, "
        f"{such_as([first.mask])} ({first.mask_size} pixels instead of {first.image_size}): which "
        "pixels it marks is unknown; replace it, or remove it to do without.",
        facts={**facts, "files": wrong.head(NAMED_FILES)},
    )


def defects_have_masks(scan: CategoryScan) -> Finding:
    """Check that every defective image has a mask, if the category has ground truth."""
    defective = scan.images[(scan.images["split"] == "test") & scan.images["is_anomaly"]]
    without = defective.loc[defective["mask_path"].isna(), "path"].tolist()
    facts = {"defective_images": len(defective), "without_mask": len(without)}
    if not scan.has_ground_truth:
        return Finding(
            True, "The category has no ground truth, hence no pixel metrics.", False, facts
        )
    return Finding.of(
        not without,
        f"Each of the {counted(len(defective), 'defective image')} has a mask.",
        f"{counted(len(without), 'defective image has', 'defective images have')} no mask "
        f"({such_as(without)}) and will not count in pixel metrics; add what is missing to "
        "ground_truth, as <defect>/<image>_mask.png.",
        facts,
        without,
        is_error=False,
    )


def enough_images(images: pd.DataFrame, checks: ChecksSection) -> Finding:
    """Check that there are as many images as the configuration asks for, and both classes."""
    train = int((images["split"] == "train").sum())
    defective = int(images["is_anomaly"].sum())
    good = len(images) - train - defective
    problems = [
        f"{counted(count, f'{split} image')} (checks.minimum_{split}_images is {minimum})"
        for split, count, minimum in (
            ("train", train, checks.minimum_train_images),
            ("test", good + defective, checks.minimum_test_images),
        )
        if count < minimum
    ]
    problems.extend(
        f"no {kind} test image, so image metrics are undefined"
        for kind, count in (("normal", good), ("defective", defective))
        if count == 0
    )
    return Finding.of(
        not problems,
        f"There are {counted(train, 'train image')}, and {good:,} normal and {defective:,} "
        "defective test images.",
        f"There are {'; '.join(problems)}.",
        {"train_images": train, "normal_test_images": good, "defective_test_images": defective},
        is_error=False,
    )


def image_sizes_agree(images: pd.DataFrame) -> Finding:
    """Check that all images of the category have one size."""
    sizes = (
        images.groupby(["width", "height"])
        .agg(images=("path", "size"), example=("path", "first"))
        .sort_values("images", ascending=False)
        .reset_index()
    )
    usual = f"{sizes['width'][0]} x {sizes['height'][0]}"
    others = int(sizes["images"][1:].sum())
    return Finding.of(
        others == 0,
        f"All images have {usual} pixels.",
        f"{counted(others, 'image has', 'images have')} another size than the usual {usual} "
        f"pixels ({such_as(sizes['example'][1:].tolist())}): what is cropped, and how large a "
        "defect appears, differs; check that they show the same scene.",
        {"sizes": sizes.head(NAMED_FILES)},
        is_error=False,
    )


def images_are_large_enough(images: pd.DataFrame, size: ImageSize) -> Finding:
    """Check that no image has to be enlarged to fill the crop."""
    height, width = size.crop_size
    is_lower, is_narrower = images["height"] < height, images["width"] < width
    is_small = is_lower & is_narrower if size.fit == "pad" else is_lower | is_narrower
    small = images.loc[is_small, "path"].tolist()
    return Finding.of(
        not small,
        f"Every image has at least {height} pixels on its shorter side, the side of the crop."
        if height == width and size.fit != "pad"
        else f"No image has to be enlarged for the network's input, {height} x {width} pixels.",
        f"{counted(len(small), 'image is', 'images are')} smaller than the crop of "
        f"{height} x {width} pixels ({such_as(small)}) and enlarged, which adds "
        "no detail; take larger images, or lower dataset.resize and dataset.imagesize.",
        {"small_images": len(small)},
        small,
        is_error=False,
    )


def images_are_read_as_shown(scan: CategoryScan) -> Finding:
    """Check that no image has what a viewer applies and the benchmark ignores, such as rotation."""
    return _no_remarks(
        scan.image_remarks,
        "No image has an EXIF rotation, several pictures, transparent parts or unused bits.",
        "image",
        "if that is not what was meant, save them as a viewer shows them, and masks to match.",
    )


def masks_mark_defects(scan: CategoryScan) -> Finding:
    """Check that the masks in use mark something, in black and white, inside the crop."""
    share = scan.median_mask_share
    if share is None:
        return Finding(True, "There are no masks.", is_error=False, facts={"remarks": 0})
    finding = _no_remarks(
        scan.mask_doubts,
        "Every mask in use marks a defect in black and white, inside the crop.",
        "mask",
        "draw defects in white (255) on black (0), or remove the mask to leave its image out of "
        "pixel metrics.",
    )
    inverted = (
        f"Half of the masks mark {share:.0%} of their image or more: if they are inverted, every "
        "pixel metric takes what is sound for the defect; exchange black and white. "
    )
    return replace(
        finding,
        sentence=(inverted if share > 0.5 else "") + finding.sentence,
        facts={**finding.facts, "median_marked_share": share},
    )


def _no_remarks(remarks: Sequence[Remark], passed: str, what: str, remedy: str) -> Finding:
    files = len({remark.path for remark in remarks})
    table = pd.DataFrame(remarks, columns=["path", "remark"])
    by_remark = table.groupby("remark", sort=False)["path"].agg(["size", "first"])
    listed = "; ".join(
        f"{row['first']} {remark}" + (f", like {row['size'] - 1:,} more" if row["size"] > 1 else "")
        for remark, row in by_remark.iterrows()
    )
    return Finding.of(
        not remarks,
        passed,
        f"{counted(files, f'{what} is', f'{what}s are')} perhaps not used as meant: {listed}; "
        f"{remedy}",
        {"remarks": len(remarks)},
        table,
        is_error=False,
    )


def every_file_is_used(scan: CategoryScan) -> Finding:
    """Check that no file among the images and masks was ignored.

    Files beside train, test and ground_truth, such as a licence, are only counted.
    """
    unused = [(file.path, file.reason) for file in scan.skipped]
    unused.extend(
        (path, "the mask of no defective image, or a second one") for path in scan.unused_masks
    )
    table = pd.DataFrame(unused, columns=["path", "reason"])
    reasons = "; ".join(
        f"{counted(int(number), 'file')}: {reason}"
        for reason, number in table["reason"].value_counts(sort=False).items()
    )
    return Finding.of(
        not unused,
        "Every file is an image or a mask that is used.",
        f"{counted(len(unused), 'file is', 'files are')} not used "
        f"({such_as(table['path'].tolist())}). {reasons}. Rename, move or remove them.",
        {
            "skipped": len(scan.skipped),
            "masks_of_no_image": len(scan.unused_masks),
            "beside_the_dataset": len(scan.beside),
        },
        table,
        is_error=False,
    )
