"""`patchcore export`: a model's networks for programs without Python."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

NAME = "export"
HELP = (
    "Write a model's networks as ONNX or OpenVINO graphs, with the memory banks and a note of what "
    "is to be done before and after the network."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument(
        "--model", type=Path, required=True, help="a model's folder, such as storage/model/bottle"
    )
    parser.add_argument(
        "--format",
        choices=("onnx", "openvino"),
        required=True,
        help="onnx needs torch, onnx and onnxscript",
    )
    parser.add_argument("--output", type=Path, required=True, help="a new or an empty folder")
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="for onnx: the weights of members whose configuration named files, in any order",
    )


def run(options: argparse.Namespace) -> int:
    """Export, and say what came of it."""
    from patchcore_ops.model.export import NUMBERS, TEXT, export_model
    from patchcore_ops.runtime.errors import ConfigError

    if options.weights and options.format != "onnx":
        raise ConfigError("--weights: only onnx is made from weights; leave it out")
    note = export_model(
        options.model,
        options.output,
        options.format,
        options.weights,
        lambda done, members: print(f"[{done}/{members}] exported", file=sys.stderr, flush=True),
    )
    for number, member in enumerate(note.members):
        network = member.network
        said = f"{options.output / str(number) / network.file}: {member.backbone}"
        if network.relative_error is not None:
            said += f", differs from the model's network by {network.relative_error:.1e}"
        print(said)
    print(f"note: {options.output / TEXT}, as numbers {options.output / NUMBERS}")
    return 0
