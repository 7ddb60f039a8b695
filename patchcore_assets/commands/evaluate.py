"""`patchcore evaluate`: models on the test images of another dataset."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from patchcore_ops.config.sections import MetricsSection, RuntimeSection
from patchcore_ops.runtime.errors import DatasetError, EnvironmentProblem

NAME = "evaluate"
HELP = "Evaluate a model, or every model of a folder, on other test images."
_SHOWN = ("category", "instance_auroc", "full_pixel_auroc", "anomaly_pixel_auroc", "aupro")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    parser.add_argument(
        "--model", type=Path, required=True, help="a model's folder, or a folder of models"
    )
    parser.add_argument(
        "--dataset",
        type=Path,
        required=True,
        help="the folder of one category, or a folder of categories; only test is needed",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("evaluation"), help="a new folder [%(default)s]"
    )
    parser.add_argument(
        "--config",
        help="take `metrics` and `runtime` from this file or URL; default: defaults",
    )


def run(options: argparse.Namespace) -> int:
    """Evaluate, write the folder, and print the table."""
    from patchcore_ops.model.folder import new_folder

    try:
        pairs = _pairs(options.model, options.dataset)
    except PermissionError as error:
        raise DatasetError(
            f"{error.filename}: cannot be read ({error.strerror}); let the user who runs this read "
            "it"
        ) from None
    with new_folder(options.output) as folder:
        _evaluate(pairs, options, folder)
    print(f"table:   {options.output}/metrics.csv")
    print(f"report:  {options.output}/index.html")
    return 0


def _pairs(model: Path, dataset: Path) -> Mapping[Path, Path]:
    """Return the folder of test images for each model's folder."""
    from patchcore_ops.model.folder import MODEL

    if not dataset.is_dir():
        raise DatasetError(
            f"{dataset}: no such folder; name that of a category, such as mvtec/bottle"
        )
    if (model / MODEL).is_file():
        return {model: dataset.resolve()}
    models = {file.parent.name: file.parent for file in sorted(model.glob(f"*/{MODEL}"))}
    if not models:
        raise EnvironmentProblem(
            f"{model}: holds no model; name a folder such as storage/model/bottle, or storage/model"
        )
    both = {
        folder: dataset.resolve() / name
        for name, folder in models.items()
        if (dataset / name).is_dir()
    }
    if not both:
        raise DatasetError(
            f"{dataset}: has no folder for any of the models ({', '.join(models)}); to evaluate "
            "one model on it, name that model's folder"
        )
    for name, folder in models.items():
        if folder not in both:
            print(f"{name}: left out, for {dataset} has no such folder")
    return both


def _evaluate(pairs: Mapping[Path, Path], options: argparse.Namespace, folder: Path) -> None:
    from patchcore_ops.config import load_config
    from patchcore_ops.model.predictor import Model
    from patchcore_ops.stages.evaluation import (
        Evaluation,
        evaluate_model,
        evaluation_notes,
        write_evaluations,
    )

    config = None if options.config is None else load_config(options.config)
    found: dict[str, Evaluation] = {}
    for place, dataset in pairs.items():
        runtime = RuntimeSection() if config is None else config.runtime
        model = Model.load(place, runtime)
        category = dataset.name
        metrics = MetricsSection()
        if config is not None:
            metrics = config.for_category(model.description.category).metrics
        print(f"[{len(found) + 1}/{len(pairs)}] {category}", flush=True)
        found[category] = evaluate_model(
            model, category, dataset.parent, metrics, runtime, folder / category
        )
    table = write_evaluations(found, f"{options.model} on {options.dataset}", folder)
    shown = table[list(_SHOWN)].to_string(index=False, float_format=lambda value: f"{value:.4f}")
    print(f"\n{shown}\n")
    for note in evaluation_notes(found):
        print(f"{note}.\n")
