"""What `patchcore accept` and `patchcore reject` share: images that become part of a category."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from patchcore_assets.commands.config_option import add_config_option
from patchcore_assets.location import CONFIG_VARIABLE, config_path
from patchcore_ops.runtime.errors import DatasetError

if TYPE_CHECKING:
    from patchcore_ops.config import BenchmarkConfig


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of both subcommands."""
    parser.add_argument("category", metavar="CATEGORY", help="a category of the configuration")
    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", type=Path, help="an image file; it stays where it is"
    )
    add_config_option(parser)


def add(
    options: argparse.Namespace,
    place: str,
    origin: str,
    fine: Sequence[str] = (),
    mask: Path | None = None,
) -> bool:
    """Add the images, and say what has become of each and what to do next; true if any is new."""
    from patchcore_ops.config import load_config
    from patchcore_ops.dataset.additions import add_images
    from patchcore_ops.dataset.image_formats import decoding, printable

    config = load_config(options.config or config_path())
    settings = config.for_category(options.category)
    folder = config.dataset_root / options.category
    with decoding(folder):
        is_there = (folder / "train" / "good").is_dir()
    if not is_there:
        raise DatasetError(
            f"{folder}/train/good: no such folder; set dataset.root or PATCHCORE_DATASET_ROOT to "
            "the folder of the categories"
        )
    additions = add_images(
        options.images, config.dataset_root, options.category, place, origin, settings, fine, mask
    )
    for one in additions:
        name = printable(one.target.relative_to(folder).as_posix())
        if one.is_new:
            print(f"{name}: from {printable(one.source)}")
        else:
            print(f"{printable(one.source)}: not copied, for it is there as {name}")
        for remark in one.remarks:
            print(f"  note: it {remark}")
    if is_changed := any(one.is_new for one in additions):
        print(f"\nnext, unless rebuild_what_changed does it: {_next(options, config)}")
    return is_changed


def _next(options: argparse.Namespace, config: BenchmarkConfig) -> str:
    """Return the command that makes everything of the category that follows from its images."""
    from patchcore_assets.storage import command

    variable = f"{CONFIG_VARIABLE}={shlex.quote(options.config)} " if options.config else ""
    # Inspections are partitioned by days too, and Dagster takes one kind of partitions at a time.
    following = "image_manifest*"
    if config.inbox is not None:
        following = "key:image_manifest+ and not key:inspections"
    return variable + command(shlex.quote(following), options.category)
