"""`patchcore import-reference`: a model that the reference saved becomes one of ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patchcore_ops.model import ModelDescription

NAME = "import-reference"
HELP = (
    "Make a model of what the reference (patchcore-inspection) saved for one category with "
    "--save_patchcore_model. Its parameters are read without unpickling them."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument(
        "--source", type=Path, required=True, help="its folder, such as models/mvtec_bottle"
    )
    parser.add_argument("--category", required=True, help="name of the model, such as bottle")
    parser.add_argument("--output", type=Path, required=True, help="a new or an empty folder")
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="weights of each member's backbone, .safetensors or .pth; default: the published ones",
    )
    parser.add_argument(
        "--resize",
        type=int,
        help="as the reference was run; default: 256 for images of 224 pixels, 366 for 320",
    )
    parser.add_argument(
        "--normal-images",
        type=Path,
        metavar="FOLDER",
        help="for an ensemble: over these images the members' ranges are taken; best such that it "
        "was not trained on",
    )


def run(options: argparse.Namespace) -> int:
    """Import, and say what came of it."""
    from patchcore_ops.model.reference_import import import_reference

    made = import_reference(
        options.source,
        options.category,
        options.output,
        options.weights,
        options.resize,
        _images(options.normal_images),
        lambda done, members: print(f"[{done}/{members}] imported", file=sys.stderr, flush=True),
    )
    print("\n".join(_said(made, options.output)))
    return 0


def _images(folder: Path | None) -> list[Path]:
    from patchcore_ops.dataset.image_formats import IMAGE_EXTENSIONS
    from patchcore_ops.runtime.errors import DatasetError

    if folder is None:
        return []
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_EXTENSIONS)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({error.strerror or error})") from None
    if not files:
        raise DatasetError(f"{folder}: holds no images; name a folder of normal images")
    return files


def _said(made: ModelDescription, output: Path) -> list[str]:
    size, provenance = made.preprocessing, made.provenance
    rows = sum(member.bank_rows for member in made.members)
    said = [
        f"{output}: {', '.join(member.backbone for member in made.members)}, {rows} rows",
        f"resize {size.resize} ({provenance['reference.resize']}), imagesize {size.imagesize}",
    ]
    asked = provenance["reference.anomaly_scorer_num_nn"]
    if set(asked.split(", ")) != {"1"}:
        said.append(
            f"anomaly_scorer_num_nn {asked} is not used: the reference scores by 1 neighbour"
        )
    if len(made.members) > 1 and not made.scoring.ranges_of:
        said.append(
            "without --normal-images the members have no ranges, so the model can be evaluated on "
            "a test set, and not predict single images"
        )
    return said
