"""`patchcore predict`: a model on new images."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from patchcore_assets.commands.progress_line import ProgressLine
from patchcore_assets.commands.stop_signals import StopSignals
from patchcore_ops.runtime.errors import DatasetError, EnvironmentProblem
from patchcore_ops.runtime.process import tune_process

if TYPE_CHECKING:
    from patchcore_ops.inspection.output_folder import OutputFolder
    from patchcore_ops.inspection.rows import Row
    from patchcore_ops.inspection.run import Inspected
    from patchcore_ops.model import Model, ModelDescription, Unreadable

NAME = "predict"
HELP = "Score images with a model: verdicts, tables and heat maps."
_OUTPUT = Path("predictions")
_LIST = "-"
_REASONS_SAID = 10
_UNREADABLE, _STOPPED = 1, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument(
        "--model", type=Path, required=True, help="a model's folder, such as storage/model/bottle"
    )
    parser.add_argument(
        "images",
        nargs="*",
        help="files, folders (with all below) and patterns such as '*.jpg'; - or none: a list of "
        "files and folders on standard input, one a line",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="a new folder, or one in which to go on; default: predictions, or nothing is written "
        "with --json",
    )
    parser.add_argument(
        "--no-heat-maps", action="store_true", help="write tables only, no pictures"
    )
    parser.add_argument(
        "--tiff", action="store_true", help="write the anomaly maps, too, as float32 TIFF"
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON object a line for each image, no more"
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="replace what is in the output folder; needed after another model",
    )
    parser.add_argument("--config", help="take `runtime` from this file or URL; default: defaults")


def run(options: argparse.Namespace) -> int:
    """Score the images, write what there is to write, and say what came of it."""
    tune_process()
    from patchcore_ops.inspection.image_list import list_images
    from patchcore_ops.inspection.run import inspect_images
    from patchcore_ops.model import read_model

    folder = options.output or (None if options.json else _OUTPUT)
    with StopSignals() as signals:
        place = options.model.resolve()
        description = read_model(place, verify=False)
        images = list_images(_names(options.images), folder)
        signals.is_safe_to_interrupt = False
        with _output(folder, description, images, options) as output:
            found = inspect_images(
                lambda: _load(place, description, options.config),
                images,
                output,
                lambda: signals.is_asked,
            )
            rows, is_read = _said(found, len(images), options.json)
            if output is not None:
                output.write_tables(rows)
    is_sound = _say_reasons(rows)
    if not options.json:
        _say_results(rows, description, options)
    if not is_read:
        # The tables of what was scored are written.
        raise BrokenPipeError
    if len(rows) < len(images):
        goes_on = "" if folder is None else "; the same command goes on from there"
        print(f"stopped after {len(rows)} of {len(images)} images{goes_on}", file=sys.stderr)
        return _STOPPED
    return 0 if is_sound else _UNREADABLE


def _names(named: Sequence[str]) -> list[str]:
    """Return the names that are given, a list on standard input in its place."""
    from patchcore_ops.inspection.image_list import names_of_list

    if not named and sys.stdin.isatty():
        raise DatasetError("no image is named; name files or folders, or - for a list of them")
    names = []
    for name in named or [_LIST]:
        names += names_of_list(sys.stdin.buffer.read()) if name == _LIST else [name]
    return names


def _output(
    folder: Path | None,
    description: ModelDescription,
    images: Sequence[Path | Unreadable],
    options: argparse.Namespace,
) -> AbstractContextManager[OutputFolder | None]:
    from patchcore_ops.inspection.output_folder import Pictures, opened_output

    if folder is None:
        return nullcontext()
    pictures = Pictures(not options.no_heat_maps, options.tiff)
    return opened_output(folder, description, images, pictures, options.again)


def _load(place: Path, description: ModelDescription, config: str | None) -> Model:
    from patchcore_ops.config import load_config
    from patchcore_ops.model import Model

    model = Model.load(place, None if config is None else load_config(config).runtime)
    if model.description.sha256 != description.sha256:
        raise EnvironmentProblem(f"{place}: has just been replaced; run the same command again")
    return model


def _said(found: Iterable[Inspected], total: int, as_json: bool) -> tuple[list[Row], bool]:
    """Say each row as it comes; return all, and whether somebody has read them."""
    rows: list[Row] = []
    progress = ProgressLine(total)
    try:
        for one in found:
            rows.append(one.row)
            progress.update(len(rows), one.is_kept)
            if as_json and not _is_printed(one.row):
                return rows, False
    finally:
        progress.close()
    return rows, True


def _is_printed(row: Row) -> bool:
    """Print a row as JSON; return whether there is a reader."""
    try:
        print(json.dumps(row), flush=True)
    except BrokenPipeError:
        return False
    return True


def _say_reasons(rows: Sequence[Row]) -> bool:
    """Say which images could not be used; return whether there is none."""
    reasons = [row["reason"] for row in rows if row["reason"] is not None]
    for reason in reasons[:_REASONS_SAID]:
        print(reason, file=sys.stderr)
    if len(reasons) > _REASONS_SAID:
        print(f"... and {len(reasons) - _REASONS_SAID:,} more", file=sys.stderr)
    return not reasons


def _say_results(
    rows: Sequence[Row], description: ModelDescription, options: argparse.Namespace
) -> None:
    folder = options.output or _OUTPUT
    scored = [row for row in rows if row["reason"] is None]
    said = f"images:    {len(rows)}"
    if len(scored) < len(rows):
        said += f", of which {len(rows) - len(scored)} could not be used"
    print(said)
    calibration = description.calibration
    if calibration is None or calibration.image_threshold is None:
        print("verdicts:  none, for this model has no thresholds; one of the benchmark has")
    else:
        anomalies = sum(row["is_anomaly"] for row in scored)
        print(f"anomalies: {anomalies}, with scores above {calibration.image_threshold:.6g}")
    print(f"table:     {folder}/predictions.csv")
    if not options.no_heat_maps:
        print(f"heat maps: {folder}/heat_maps")
