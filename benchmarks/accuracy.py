r"""Settings compared by their metrics and their cost, over categories and seeds.

    python -m benchmarks.accuracy --root data/demo --categories printed_fabric machined_washer \
        --settings reference accurate fast --seeds 3

Embeddings are computed once for each way to embed. `--setting NAME FILE` adds the sections of a
YAML file as one more, `--study FILE NAME ...` named ones of a file like
`benchmarks/accuracy_study.yaml`. Inputs of other sizes or crops compare with `--in-images`, which
judges maps in the images' own pixels: a defect outside of the input is missed.

Differences to the first setting are paired, over equal category and seed, and their interval is a
bootstrap over these pairs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from benchmarks import tables
from benchmarks.image_pixels import judge_in_images
from benchmarks.measuring import positive, run_main, say
from patchcore_ops.config.presets import PRESETS
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset import scan_category
from patchcore_ops.embedding.network_folder import NetworkFolder, user_networks
from patchcore_ops.runtime.errors import ConfigError
from patchcore_ops.runtime.fingerprints import file_hash
from patchcore_ops.stages.category_metrics import evaluate
from patchcore_ops.stages.faiss_index import index_memory_bank
from patchcore_ops.stages.member_units import member_units
from patchcore_ops.stages.memory_bank import select_memory_bank
from patchcore_ops.stages.predictions import predict
from patchcore_ops.stages.raw_embeddings import embed_images

METRICS = ("instance_auroc", "full_pixel_auroc", "aupro", "pixel_ap")
_LITE0 = {"backbone": "efficientnet_lite0", "layers": ["blocks.2", "blocks.4"]}
_RESAMPLES = 10_000


class Result(NamedTuple):
    """The metrics of a setting on a category with a seed, and seconds of its stages."""

    setting: str
    category: str
    seed: int
    metrics: dict[str, float]
    seconds: dict[str, float]


def main() -> None:
    """Run every combination and write the tables."""
    options = _options()
    settings = {name: PRESETS[name] for name in options.settings}
    settings |= {name: _read(file) for name, file in options.setting}
    if options.study:
        studied = _read(options.study[0])
        if unknown := [name for name in options.study[1:] if name not in studied]:
            raise ConfigError(f"{options.study[0]}: has no {', '.join(unknown)}")
        settings |= {name: studied[name] for name in options.study[1:]}
    results = list(_results(settings, options))
    first = next(iter(settings))
    rows: list[tables.Row] = [_row(name, first, results) for name in settings]
    notes = [
        f"Means over {', '.join(options.categories)} and {options.seeds} seeds. ± is the standard "
        "deviation over seeds, averaged over categories. In brackets: the difference to the first "
        "setting, with the 95 % interval of a paired bootstrap.",
        "Cost: seconds of embedding, selection and prediction together, as a share of the first.",
    ]
    table = tables.Table("Settings by accuracy and cost", rows, notes)
    tables.write(options, "accuracy", table, lambda axes: _draw(axes, rows))
    detail: list[tables.Row] = [
        _detail(name, category, results) for name in settings for category in options.categories
    ]
    by_category = tables.Table("By category", detail, notes[:1])
    named = argparse.Namespace(out=options.out, name=f"{options.name or 'accuracy'}_by_category")
    tables.write(named, "", by_category, lambda axes: _draw(axes, detail))


def _read(file: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must be a mapping of keys to values")
    return content


def _results(settings: Mapping[str, Any], options: argparse.Namespace) -> Iterator[Result]:
    networks = NetworkFolder(user_networks())
    runtime = RuntimeSection()
    for category in options.categories:
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            embedded: dict[str, tuple[Path, float]] = {}
            for seed in range(options.seeds):
                for name, sections in settings.items():
                    say(f"{category}, seed {seed}: {name}")
                    config = _config(sections, seed)
                    key = json.dumps([config.dataset.model_dump(), config.embedding.model_dump()])
                    if key not in embedded:
                        folder = Path(work, f"embeddings-{len(embedded)}")
                        images = scan_category(options.root, category).images
                        # The network is exported once for all: not a cost of a category.
                        few = images.groupby("split").head(1)
                        with tempfile.TemporaryDirectory(dir=work) as spare:
                            embed_images(
                                few, options.root, config, runtime, Path(spare), networks=networks
                            )
                        start = time.perf_counter()
                        embed_images(
                            images, options.root, config, runtime, folder, networks=networks
                        )
                        embedded[key] = folder, time.perf_counter() - start
                    yield _measured(
                        name,
                        category,
                        seed,
                        config,
                        runtime,
                        *embedded[key],
                        options.root,
                        work,
                        options.in_images,
                    )


def _measured(
    name: str,
    category: str,
    seed: int,
    config: CategoryConfig,
    runtime: RuntimeSection,
    embeddings: Path,
    embedding_seconds: float,
    root: Path,
    work: str,
    in_images: bool,
) -> Result:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        bank, index, predictions, judged = (
            Path(folder, part) for part in ("bank", "index", "predictions", "judged")
        )
        start = time.perf_counter()
        select_memory_bank(embeddings, config, runtime, bank)
        selected = time.perf_counter()
        index_memory_bank(bank, config, index)
        units = member_units(embeddings, bank, index, config, runtime)
        predict(embeddings, index, config, runtime, predictions, units=units)
        predicted = time.perf_counter()
        if in_images:
            found = judge_in_images(root, predictions, config)
        else:
            judged.mkdir()
            found = evaluate(category, root, predictions, config, runtime, judged, file_hash)
    metrics = {metric: float(found[metric]) for metric in METRICS}
    say("  " + "  ".join(f"{key} {value:.4f}" for key, value in metrics.items()))
    seconds = {
        "embedding": embedding_seconds,
        "selection": selected - start,
        "prediction": predicted - selected,
    }
    return Result(name, category, seed, metrics, seconds)


def _config(sections: Mapping[str, Any], seed: int) -> CategoryConfig:
    coreset = {**sections.get("coreset", {}), "seed": seed}
    embedding = {"members": [_LITE0], **sections.get("embedding", {})}
    return CategoryConfig.model_validate({**sections, "coreset": coreset, "embedding": embedding})


def _row(name: str, first: str, results: Sequence[Result]) -> dict[str, Any]:
    own, other = (_by_pair(one, results) for one in (name, first))
    row: dict[str, Any] = {"setting": name}
    for metric in METRICS:
        pairs = [pair for pair in own if not np.isnan(own[pair].metrics[metric])]
        values = np.array([own[pair].metrics[metric] for pair in pairs])
        gained = values - np.array([other[pair].metrics[metric] for pair in pairs])
        row[metric] = f"{values.mean():.4f} ± {_spread(name, metric, results):.4f}"
        if name != first:
            low, high = _interval(gained)
            row[metric] += f" ({gained.mean():+.4f}: {low:+.4f} to {high:+.4f})"
    row["cost"] = _seconds(own) / _seconds(other)
    return row


def _detail(name: str, category: str, results: Sequence[Result]) -> dict[str, Any]:
    own = [one for one in results if (one.setting, one.category) == (name, category)]
    row: dict[str, Any] = {"setting": name, "category": category}
    for metric in METRICS:
        values = [one.metrics[metric] for one in own]
        row[metric] = f"{np.mean(values):.4f} ± {np.std(values):.4f}"
    for stage in own[0].seconds:
        row[f"{stage}, s"] = float(np.median([one.seconds[stage] for one in own]))
    row["cost"] = sum(row[f"{stage}, s"] for stage in own[0].seconds)
    return row


def _by_pair(name: str, results: Sequence[Result]) -> dict[tuple[str, int], Result]:
    return {(one.category, one.seed): one for one in results if one.setting == name}


def _seconds(results: Mapping[tuple[str, int], Result]) -> float:
    return sum(sum(one.seconds.values()) for one in results.values())


def _spread(name: str, metric: str, results: Sequence[Result]) -> float:
    own = [one for one in results if one.setting == name]
    by_category = {one.category for one in own}
    spreads = [
        float(np.std([one.metrics[metric] for one in own if one.category == category]))
        for category in by_category
    ]
    return float(np.nanmean(spreads))


def _interval(gained: np.ndarray) -> tuple[float, float]:
    drawn = np.random.default_rng(0).choice(gained, (_RESAMPLES, len(gained)))
    low, high = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _draw(axes: Any, rows: Sequence[tables.Row]) -> None:
    labels = [
        " ".join(str(row[key]) for key in ("setting", "category") if key in row) for row in rows
    ]
    tables.draw_bars(axes, labels, {"cost": [row["cost"] for row in rows]}, "cost")


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of categories")
    parser.add_argument("--categories", nargs="+", required=True)
    parser.add_argument("--settings", nargs="*", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--setting", nargs=2, action="append", default=[], metavar=("NAME", "FILE"))
    parser.add_argument("--study", nargs="+", metavar=("FILE", "NAME"))
    parser.add_argument("--in-images", action="store_true", help="judge in the images' own pixels")
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--work", help="for embeddings; default: the system's temporary folder")
    return parser.parse_args()


if __name__ == "__main__":
    run_main(main)
