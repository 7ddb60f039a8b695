"""`patchcore reject`: confirmed defects become test images."""

from __future__ import annotations

import argparse
from pathlib import Path

from patchcore_assets.commands.additions import add, add_common_arguments
from patchcore_ops.runtime.errors import DatasetError

NAME = "reject"
HELP = "Copy images that were confirmed as defective into test/<defect> of their category."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_common_arguments(parser)
    parser.add_argument(
        "--defect", metavar="NAME", default="rejected", help="what is wrong [%(default)s]"
    )
    parser.add_argument(
        "--mask", metavar="FILE", type=Path, help="the ground truth of the image, if it is one"
    )


def run(options: argparse.Namespace) -> int:
    """Add the images to `test/<defect>`."""
    if options.mask is not None and len(options.images) > 1:
        raise DatasetError(
            f"--mask: is of one image, and {len(options.images)} are given; reject one at a time"
        )
    defect = options.defect
    if defect.casefold() == "good":
        raise DatasetError("--defect: 'good' is no defect; use patchcore accept for normal images")
    is_trimmed = defect == defect.strip() != ""
    if not is_trimmed or not defect.isprintable() or "/" in defect or defect.startswith("."):
        raise DatasetError(
            f"--defect: {defect!r} becomes a folder's name; begin with a letter or a digit, use no "
            "slash, and end with no blank"
        )
    if add(options, f"test/{defect}", "rejected", mask=options.mask) and options.mask is None:
        print(
            "without a mask, an image counts in the metrics of images and not in those of pixels; "
            "give one by --mask"
        )
    return 0
