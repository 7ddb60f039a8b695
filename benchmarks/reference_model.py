r"""Models that the reference saved, imported, and compared with its own evaluation of them.

    git clone https://github.com/amazon-science/patchcore-inspection reference
    python -m benchmarks.reference_model --reference reference --data data/mvtec

The reference's `run_patchcore.py --save_patchcore_model` makes a model of one member and one of
three, and its `load_and_evaluate_patchcore.py` evaluates them. What its members predict, before it
scales that over the test set, is compared with what the imported model's members predict.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks import tables
from benchmarks.measuring import positive, run_main, run_task, say
from benchmarks.reference_commands import read_results
from benchmarks.workloads import add_thread_option, link_category

_DIMENSIONS = {1: 1024, 3: 384}
_COLUMNS = (
    "members",
    "what",
    "difference",
    "reference again",
    "results.csv",
    "reference",
    "imported",
)
_METRICS = ("instance_auroc", "full_pixel_auroc", "anomaly_pixel_auroc")


class Backbone(NamedTuple):
    """A backbone under its name in the reference, with the layers that are used."""

    name: str
    layers: tuple[str, str]


# The first with its own weights; lacking the others', these have random ones.
_BACKBONES = (
    Backbone("efficientnet_lite0", ("blocks.2", "blocks.4")),
    Backbone("mnasnet_a1", ("blocks.2", "blocks.4")),
    Backbone("resnet50", ("layer2", "layer3")),
)


def main() -> None:
    """Measure and write."""
    options = _options()
    rows: list[dict[str, Any]] = []
    with _prepared(options) as (folder, weights):
        for members in _DIMENSIONS:
            say(f"the reference saves a model of {members} member(s)")
            saved = _save(options, folder, weights, members)
            say("the reference evaluates it")
            results = _evaluate(options, folder, weights, saved)
            say("it is imported, and evaluated")
            compared = _import_and_compare(options, folder, weights, saved)
            rows.extend(_rows(members, compared, read_results(results)))
    notes = [
        f"{options.category}, coreset {options.percentage:.0%}; weights of efficientnet_lite0, and "
        "random ones of the others.",
        "Scores: the largest relative difference of any image. Maps: the largest difference of any "
        "pixel, relative to the largest value.",
        "Scaled: over the test set to [0, 1], and averaged over the members, as both are judged.",
        "Reference again: what it gives in batches of 1, as it evaluates, against those of 2, as "
        "it was trained.",
        "Metrics: the imported model evaluated as `patchcore evaluate` does, against the same code "
        "on what the reference predicted; its own results.csv beside them.",
    ]
    table = tables.Table("Models that the reference saved", rows, notes, hidden=())
    tables.write(options, "reference_model", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument(
        "--reference", type=Path, required=True, help="checkout of patchcore-inspection"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="dataset folder in MVTec AD's layout"
    )
    parser.add_argument("--category", default="bottle", help="[%(default)s]")
    parser.add_argument("--percentage", type=float, default=0.01, help="coreset [%(default)s]")
    parser.add_argument("--train-images", type=positive, help="use only so many train images")
    add_thread_option(parser)
    options = parser.parse_args()
    if not (options.reference / "bin" / "run_patchcore.py").is_file():
        parser.error(f"{options.reference} holds no bin/run_patchcore.py")
    return options


@contextmanager
def _prepared(options: argparse.Namespace) -> Iterator[tuple[Path, dict[str, str]]]:
    """Lay out images and weights in a folder that is deleted at the end."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        link_category(
            options.data.resolve(), options.category, folder / "data", options.train_images, None
        )
        weights = {one.name: str(folder / f"{one.name}.safetensors") for one in _BACKBONES}
        run_task("benchmarks.reference_model:save_weights", {"files": weights}, options.threads)
        yield folder, weights


def save_weights(files: dict[str, str]) -> dict[str, Any]:
    """Save the weights of all backbones; a task."""
    import timm
    import torch
    from safetensors.torch import save_file

    from patchcore_ops.backbones import load_backbone
    from patchcore_ops.backbones.names import EFFICIENTNET_LITE0, REFERENCE_NAMES

    for name, file in files.items():
        torch.manual_seed(0)
        has_own = name == EFFICIENTNET_LITE0
        model = load_backbone(name) if has_own else timm.create_model(REFERENCE_NAMES[name])
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, file)
    return {}


def _save(options: argparse.Namespace, folder: Path, weights: dict[str, str], members: int) -> Path:
    """Train and save by the reference's script; return the folder of the saved model."""
    project = f"members_{members}"
    chosen = _BACKBONES[:members]
    names = [word for one in chosen for word in ("-b", one.name)]
    layers = [
        word
        for number, one in enumerate(chosen)
        for layer in one.layers
        for word in ("-le", f"{number}.{layer}" if members > 1 else layer)
    ]
    arguments = ["--save_patchcore_model", "--log_group", "group", "--log_project", project]
    arguments += [str(folder), "patch_core", *names, *layers, "--pretrain_embed_dimension", "1024"]
    arguments += ["--target_embed_dimension", str(_DIMENSIONS[members])]
    arguments += ["--anomaly_scorer_num_nn", "1", "--faiss_num_workers", str(options.threads)]
    arguments += ["sampler", "-p", str(options.percentage), "approx_greedy_coreset"]
    _run(options, "run_patchcore.py", arguments, weights, folder)
    return folder / project / "group" / "models" / f"mvtec_{options.category}"


def _evaluate(
    options: argparse.Namespace, folder: Path, weights: dict[str, str], saved: Path
) -> Path:
    """Evaluate by the reference's script; return its table."""
    again = saved.parents[1] / "again"
    arguments = [str(again), "patch_core_loader", "-p", str(saved)]
    arguments += ["--faiss_num_workers", str(options.threads)]
    _run(options, "load_and_evaluate_patchcore.py", arguments, weights, folder)
    return again / "results.csv"


def _run(
    options: argparse.Namespace,
    script: str,
    arguments: list[str],
    weights: dict[str, str],
    folder: Path,
) -> None:
    dataset = ["dataset", "--num_workers", "0", "-d", options.category, "mvtec"]
    run_task(
        "benchmarks.reference_commands:run_script",
        {
            "checkout": str(options.reference.resolve()),
            "script": script,
            "arguments": [*arguments, *dataset, str(folder / "data")],
            "weights": weights,
            "predictions": str(folder / f"{script}.npz"),
        },
        options.threads,
    )


def _import_and_compare(
    options: argparse.Namespace, folder: Path, weights: dict[str, str], saved: Path
) -> dict[str, Any]:
    arguments = {
        "saved": str(saved),
        "model": str(saved.parents[1] / "imported"),
        "weights": list(weights.values()),
        "data": str(folder / "data"),
        "category": options.category,
        "trained": str(folder / "run_patchcore.py.npz"),
        "evaluated": str(folder / "load_and_evaluate_patchcore.py.npz"),
        "threads": options.threads,
    }
    run = run_task("benchmarks.reference_model:import_and_compare", arguments, options.threads)
    return run.result


def import_and_compare(
    saved: str,
    model: str,
    weights: list[str],
    data: str,
    category: str,
    trained: str,
    evaluated: str,
    threads: int,
) -> dict[str, Any]:
    """Import a saved model, predict, and compare with what the reference predicted; a task."""
    import numpy as np

    from patchcore_ops import Model
    from patchcore_ops.config.sections import MetricsSection, RuntimeSection
    from patchcore_ops.model.reference_files import saved_members
    from patchcore_ops.model.reference_import import import_reference
    from patchcore_ops.scoring import anomaly_maps, image_scores
    from patchcore_ops.stages.evaluation import evaluate_model

    members = len(saved_members(Path(saved)))
    files = [Path(file) for file in weights[:members]]
    description = import_reference(Path(saved), category, Path(model), files)
    runtime = RuntimeSection(device="cpu", num_workers=1, faiss_num_workers=threads)
    with np.load(evaluated, allow_pickle=False) as content:
        theirs = {key: content[key] for key in ("scores", "maps", "paths")}
    with np.load(trained, allow_pickle=False) as content:
        before = {key: content[key] for key in ("scores", "maps")}
    loaded = Model.load(model, runtime)
    scored = [of_members for _, of_members in loaded.patch_scores(theirs["paths"].tolist())]
    patches = [np.concatenate(of_images) for of_images in zip(*scored, strict=True)]
    side = description.preprocessing.imagesize
    ours = {
        "scores": [image_scores(of_member) for of_member in patches],
        "maps": [anomaly_maps(of_member, side) for of_member in patches],
    }
    evaluated_folder = Path(model).parent / "evaluated"
    found = evaluate_model(
        loaded, category, Path(data), MetricsSection(), runtime, evaluated_folder
    )
    return {
        "backbones": [member.backbone for member in description.members],
        "ours": [_differences(ours, theirs, at) for at in range(members)],
        "again": [_differences(before, theirs, at) for at in range(members)],
        "scaled": [
            float(np.abs(one - other).max())
            for one, other in zip(_scaled(ours), _scaled(theirs), strict=True)
        ],
        "metrics": {
            "reference": _metrics(theirs, theirs["paths"].tolist(), data, category),
            "ours": {name: float(found.metrics[name]) for name in (*_METRICS, "aupro")},
        },
    }


def _differences(found: Any, expected: Any, member: int) -> tuple[float, float]:
    import numpy as np

    scores = np.abs(found["scores"][member] / expected["scores"][member] - 1).max()
    maps = expected["maps"][member]
    return float(scores), float(np.abs(found["maps"][member] - maps).max() / maps.max())


def _scaled(predicted: Any) -> Iterator[Any]:
    """Scale scores and maps over the test set and average the members, as the reference does."""
    import numpy as np

    from patchcore_ops.scoring.maps import extent

    for key in ("scores", "maps"):
        members = []
        for values in predicted[key]:
            low, high = extent(values)
            members.append((values - low) / (high - low))
        yield np.mean(members, axis=0)


def _metrics(predicted: Any, paths: Sequence[str], data: str, category: str) -> dict[str, float]:
    """Judge the scaled predictions by our metrics."""
    import numpy as np

    from patchcore_ops.config.sections import ImageSize, MetricsSection
    from patchcore_ops.dataset import scan_category
    from patchcore_ops.dataset.masks import load_masks
    from patchcore_ops.metrics.category import category_metrics
    from patchcore_ops.stages.layout import mask_files, test_rows

    root = Path(data)
    images = test_rows(scan_category(root, category).images)
    assert [str(root / path) for path in images["path"]] == list(paths)
    scores, maps = _scaled(predicted)
    files = mask_files(images, root)
    masks = load_masks(files, ImageSize(), 1)
    has_mask = np.array([file is not None for file in files], dtype=bool)
    judged = has_mask | ~images["is_anomaly"].to_numpy(dtype=bool)
    metrics = category_metrics(images.assign(score=scores), maps, masks, judged, MetricsSection())
    return {name: float(metrics[name]) for name in (*_METRICS, "aupro")}


def _rows(members: int, compared: dict[str, Any], results: Any) -> Iterator[dict[str, Any]]:
    of_members = zip(compared["backbones"], compared["ours"], compared["again"], strict=True)
    for backbone, ours, again in of_members:
        for what, difference, itself in zip(("scores", "maps"), ours, again, strict=True):
            named = _named(members, f"{what}, {backbone}", difference)
            yield {**dict.fromkeys(_COLUMNS), **named, "reference again": itself}
    for what, difference in zip(("scores", "maps"), compared["scaled"], strict=True):
        yield {**dict.fromkeys(_COLUMNS), **_named(members, f"{what}, scaled", difference)}
    theirs, mine = compared["metrics"]["reference"], compared["metrics"]["ours"]
    for name, value in mine.items():
        yield {
            **dict.fromkeys(_COLUMNS),
            **_named(members, name, abs(value - theirs[name])),
            "results.csv": _digits(results.get(name)),
            "reference": _digits(theirs[name]),
            "imported": _digits(value),
        }


def _named(members: int, what: str, difference: float) -> dict[str, Any]:
    return {"members": members, "what": what, "difference": difference}


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.6f}"


def _draw(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    axes.barh(
        [f"{row['members']}: {row['what']}" for row in rows],
        [max(float(row["difference"]), 1e-9) for row in rows],
    )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("difference")


if __name__ == "__main__":
    run_main(main)
