"""The reference's two scripts as tasks for a fresh process: the one that saves, the one that loads.

Its scripts in a checkout that the user names run as they are, with their own options. Set from
outside: the weights, which they would download, and the device, which they always take to be a GPU.
"""

from __future__ import annotations

import csv
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def run_script(
    checkout: str, script: str, arguments: list[str], weights: dict[str, str], predictions: str
) -> dict[str, Any]:
    """Run a script of the reference, and keep what its models predict before it scales that.

    `checkout` holds `bin` and `src/patchcore`; `weights` are files by the name of the backbone. The
    file `predictions` (.npz) receives `scores` [members, images], `maps` [members, images, H, W]
    and `paths`.
    """
    sys.path.insert(0, str(Path(checkout) / "src"))
    import PIL.Image  # noqa: F401 - the reference imports PIL alone and uses PIL.Image

    _set_from_outside(weights)
    recorded = _record_predictions()
    main = runpy.run_path(str(Path(checkout) / "bin" / script), run_name="script")["main"]
    main.main(args=arguments, standalone_mode=False)
    _write(recorded, predictions)
    return {}


def read_results(file: Path) -> Mapping[str, float]:
    """Read the metrics of the only category in the reference's results.csv."""
    with file.open(newline="", encoding="utf-8") as stream:
        row = next(iter(csv.DictReader(stream)))
    return {name: float(value) for name, value in row.items() if name != "Row Names"}


def _set_from_outside(weights: Mapping[str, str]) -> None:
    import patchcore.backbones
    import patchcore.utils
    import torch

    from patchcore_ops.backbones import load_backbone

    patchcore.backbones.load = lambda name: load_backbone(name, weights[name])
    patchcore.utils.set_torch_device = lambda _gpus: torch.device("cpu")


def _record_predictions() -> list[tuple[Any, Any, list[str]]]:
    from patchcore.patchcore import PatchCore

    original = PatchCore.predict
    recorded: list[tuple[Any, Any, list[str]]] = []

    def recording(model: Any, loader: Any) -> Any:
        predicted = original(model, loader)
        paths = [entry[2] for entry in loader.dataset.data_to_iterate]
        recorded.append((predicted[0], predicted[1], paths))
        return predicted

    PatchCore.predict = recording
    return recorded


def _write(recorded: list[tuple[Any, Any, list[str]]], file: str) -> None:
    import numpy as np

    scores, maps, paths = zip(*recorded, strict=True)
    np.savez(file, scores=np.array(scores), maps=np.array(maps), paths=np.array(paths[0]))
