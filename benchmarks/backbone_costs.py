"""What an image costs in well-known backbones, up to each of their stages, for the planner.

    python -m benchmarks.backbone_costs

Writes `patchcore_ops/backbones/costs.csv`: the stride of a layer's map, and the multiplications of
one image of 224 x 224 pixels from the input up to that layer, in 10^9. No weights are needed.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from benchmarks.measuring import REPOSITORY, run_main, say

_SIDE = 224
_FILE = Path("patchcore_ops/backbones/costs.csv")
_RESNET = tuple(f"layer{number}" for number in range(1, 5))
_EFFICIENTNET = tuple(f"blocks.{number}" for number in range(7))
_STAGES = tuple(f"stages.{number}" for number in range(4))
_DENSENET = tuple(f"features.denseblock{number}" for number in range(1, 5))
_TOKENS = tuple(f"blocks.{number}" for number in range(12))
_NETWORKS = {
    **dict.fromkeys(
        (
            *("resnet18", "resnet34", "resnet50", "resnet101", "resnext101_32x8d"),
            *("wide_resnet50_2", "wide_resnet101_2"),
        ),
        _RESNET,
    ),
    **dict.fromkeys(
        (
            *("tf_efficientnet_lite0", "efficientnet_b0", "tf_efficientnet_b1"),
            *("tf_efficientnet_b3", "tf_efficientnet_b5", "mobilenetv3_large_100"),
        ),
        _EFFICIENTNET,
    ),
    **dict.fromkeys(("convnext_tiny", "convnext_base"), _STAGES),
    **dict.fromkeys(("densenet121", "densenet201"), _DENSENET),
    **dict.fromkeys(("vit_small_patch16_224", "vit_base_patch16_224"), _TOKENS),
}


def main() -> None:
    """Count and write."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    rows = []
    for network, layers in _NETWORKS.items():
        say(network)
        rows += _costs(network, layers)
    with (REPOSITORY / _FILE).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["network", "layer", "stride", "gmac"])
        writer.writerows(rows)


def _costs(network: str, layers: tuple[str, ...]) -> list[tuple[str, str, int, str]]:
    import timm
    import torch

    from patchcore_ops.backbones.features import FeatureExtractor

    torch.manual_seed(0)
    backbone = timm.create_model(network, pretrained=False).eval()
    images = torch.zeros(1, 3, _SIDE, _SIDE)
    rows = []
    for layer in layers:
        layouts = FeatureExtractor(backbone, [layer]).find_layouts(images)
        extractor = FeatureExtractor(backbone, [layer], layouts)
        with torch.inference_mode():
            side = extractor(images)[0].shape[-1]
            rows.append((network, layer, _SIDE // side, f"{_gmac(extractor, images):.3f}"))
    return rows


def _gmac(extractor: Any, images: Any) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        extractor(images)
    return float(counter.get_total_flops()) / 2e9


if __name__ == "__main__":
    run_main(main)
