"""Networks of many families, tried: how their layers are laid out, or why one is refused.

    python -m benchmarks.try_backbones
    cp benchmarks/results/try_backbones.csv docs/backbones.csv

Weights are random, so nothing is downloaded. Each network is made for the size of the images where
timm can, its layers' layouts are found by looking where changes of an image show, and it is
prepared for the layers that are maps. What it gives then is compared with what it gave before.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks import tables
from benchmarks.backbone_list import Trial, trials
from benchmarks.measuring import positive, run_main, say
from patchcore_ops.runtime.errors import WeightsError

if TYPE_CHECKING:
    import torch

    from patchcore_ops.backbones.feature_layout import FeatureLayout

_LAYERS_OF_TIMM = 4
_DIMENSION = 256


def main() -> None:
    """Try and write."""
    options = _options()
    listed = trials()
    if unknown := set(options.names) - {trial.name for trial in listed}:
        raise WeightsError(f"not in benchmarks/backbone_list.py: {', '.join(sorted(unknown))}")
    chosen = [trial for trial in listed if not options.names or trial.name in options.names]
    rows: list[tables.Row] = []
    for trial in chosen:
        start = time.perf_counter()
        rows += try_in_time(trial, options.seconds)
        say(f"{trial.name}: {time.perf_counter() - start:.1f} s")
    families = {row["family"] for row in rows}
    refused = sum(row["map"] == "" for row in rows)
    notes = [
        f"{len(chosen)} networks of {len(families)} families, random weights (seed 0). Layouts: N "
        "images, C channels, H and W rows and columns, L tokens.",
        f"{refused} of {len(rows)} rows are layers that are refused, with the sentence.",
        "The last column is how far the embeddings of the exported network are from torch's, as a "
        "share of the largest; or why it cannot be exported, so that torch embeds.",
    ]
    table = tables.Table("Networks that were tried", rows, notes, hidden=())
    tables.write(options, "try_backbones", table, lambda axes: _draw(axes, rows))


def _options() -> argparse.Namespace:
    parser = tables.command_parser(__doc__)
    parser.add_argument("names", nargs="*", help="only these networks of the list")
    parser.add_argument(
        "--seconds",
        type=positive,
        default=180,
        help="after which a network is given up [%(default)s]",
    )
    return parser.parse_args()


def try_in_time(trial: Trial, seconds: int) -> list[tables.Row]:
    """Try a network; a row says what failed, if it does or takes longer."""
    try:
        with _at_most(seconds):
            return _try(trial)
    except Exception as error:  # The table shows whatever goes wrong.
        outcome = f"fails: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return [_row(trial, family_of(trial.name), [], outcome, [], "")]


def _try(trial: Trial) -> list[tables.Row]:
    """Make a network and find out about its layers, those that are alike in one row."""
    import timm
    import torch

    from patchcore_ops.backbones.input_size import size_options

    torch.manual_seed(0)
    options = size_options(trial.name, trial.imagesize)
    network = timm.create_model(trial.name, pretrained=False, **options)
    network.eval().requires_grad_(False)
    found, refused = _layouts(network, _layers(network, trial), trial.imagesize)
    exported = _exported(network, list(found), trial.imagesize) if found else ""
    alike: dict[str, list[str]] = {}
    for layer, layout in found.items():
        alike.setdefault(str(layout), []).append(layer)
    for layer, sentence in refused.items():
        alike.setdefault(f"refused: {sentence}", []).append(layer)
    rows = []
    for outcome, layers in alike.items():
        shapes = [_shape(found[layer].shape) for layer in layers if layer in found]
        shown = exported if shapes else ""
        rows.append(_row(trial, family_of(trial.name), layers, outcome, shapes, shown))
    return rows


def _layers(network: Any, trial: Trial) -> list[str]:
    """Name some of the layers that timm takes for features, and those that are listed."""
    modules = {name for name, _ in network.named_modules() if name}
    infos = getattr(network, "feature_info", None) or []
    own = [info["module"] for info in infos if info.get("module") in modules]
    if len(own) > _LAYERS_OF_TIMM:
        own = [
            own[round(place * (len(own) - 1) / (_LAYERS_OF_TIMM - 1))]
            for place in range(_LAYERS_OF_TIMM)
        ]
    return list(dict.fromkeys([*trial.layers, *own]))


def _layouts(
    network: torch.nn.Module, layers: list[str], side: int
) -> tuple[dict[str, FeatureLayout], dict[str, str]]:
    import torch

    from patchcore_ops.backbones.features import FeatureExtractor
    from patchcore_ops.runtime.errors import WeightsError

    found: dict[str, FeatureLayout] = {}
    refused = {}
    for layer in layers:
        try:
            extractor = FeatureExtractor(network, [layer])
            found.update(extractor.find_layouts(torch.zeros(1, 3, side, side)))
        except (WeightsError, AssertionError, RuntimeError, ValueError) as error:
            refused[layer] = " ".join(str(error).replace(f"'{layer}'", "").split())
    return found, refused


def _exported(network: torch.nn.Module, layers: list[str], side: int) -> str:
    """Export the embedder of some layers: how far it is from torch's, or why it cannot be."""
    from patchcore_ops.backbones import normalisation_of
    from patchcore_ops.embedding import PatchEmbedder
    from patchcore_ops.embedding.network_export import export_embedder
    from patchcore_ops.embedding.torch_engine import ImageEmbedder

    embedder = PatchEmbedder(network, layers, side, _DIMENSION, _DIMENSION)
    with TemporaryDirectory(prefix="network-") as folder:
        refusal, error = export_embedder(
            ImageEmbedder(embedder, *normalisation_of(network)), side, Path(folder)
        )
    return refusal or f"{error:.0e}"


def family_of(name: str) -> str:
    """Return timm's module that defines a network."""
    from timm.models import model_entrypoint

    return str(model_entrypoint(name).__module__.rpartition(".")[2])


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _row(
    trial: Trial, family: str, layers: list[str], outcome: str, shapes: list[str], exported: str
) -> tables.Row:
    return {
        "family": family,
        "network": trial.name,
        "side": str(trial.imagesize),
        "layers": ", ".join(layers),
        "layout": outcome,
        "map": ", ".join(dict.fromkeys(shapes)),
        "exported": exported,
    }


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Give up after some time, between two operations of torch."""

    def give_up(*_: object) -> None:
        raise TimeoutError(f"given up after {seconds} s")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _draw(axes: Any, rows: list[tables.Row]) -> None:
    counts: dict[str, float] = {}
    for row in rows:
        kind = row["layout"].partition(",")[0].partition(": ")[0]
        counts[kind] = counts.get(kind, 0) + 1
    tables.draw_bars(axes, list(counts), {"rows": list(counts.values())}, "rows of the table")


if __name__ == "__main__":
    run_main(main)
