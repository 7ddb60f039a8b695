"""ONNX graphs against torch, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from engine_kit import config_of, images_of, saved, trained

from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.embedding.embedder import PatchEmbedder
from patchcore_ops.embedding.onnx_export import INPUT, OPSET, OUTPUT, run_onnx, write_onnx
from patchcore_ops.embedding.torch_engine import ImageEmbedder, load_embedder

SIDE = 64


def loaded(name: str, layers: list[str], folder: Path) -> ImageEmbedder:
    if name == "efficientnet_lite0":
        config = CategoryConfig.model_validate(
            {
                "dataset": {"resize": SIDE, "imagesize": SIDE},
                "embedding": {"members": [{"backbone": name, "layers": layers}]},
            }
        )
    else:
        config = config_of(name, layers, SIDE, saved(trained(name, SIDE), folder / "w.safetensors"))
    return load_embedder(config, 0, torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ["layer2", "layer3"]),
        ("efficientnet_lite0", ["blocks.2", "blocks.4"]),
        ("vit_tiny_patch16_224", ["blocks.1", "blocks.2"]),
    ],
)
def test_a_graph_embeds_any_number_of_images_as_torch_does(
    name: str, layers: list[str], tmp_path: Path
) -> None:
    network, file = loaded(name, layers, tmp_path), tmp_path / "network.onnx"
    graph = write_onnx(network, SIDE, file)
    assert graph.any_batch
    onnx.checker.check_model(file, full_check=True)
    opsets = [(one.domain, one.version) for one in onnx.load(file).opset_import]
    assert opsets == [("", OPSET)]
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", SIDE, SIDE, 3]
    for count in (1, 2, 5):
        images = images_of(SIDE, count)
        with torch.inference_mode():
            expected = network(torch.from_numpy(images)).numpy()
        (found,) = session.run([OUTPUT], {INPUT: images})
        bound = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
        np.testing.assert_allclose(run_onnx(file, images), expected, rtol=0, atol=bound)


class FixedBatch(torch.nn.Module):
    """A network whose graph is for as many images as it is traced with."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 16, 4, stride=4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.layer(images.reshape(len(images), 3, SIDE, SIDE))
        return maps


def test_a_network_of_fixed_batch_is_exported_for_one_image(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = FixedBatch().eval().requires_grad_(False)
    embedder = PatchEmbedder(backbone, ["layer"], SIDE, 32, 32)
    network = ImageEmbedder(embedder, torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1))
    graph = write_onnx(network.requires_grad_(False), SIDE, tmp_path / "network.onnx")
    assert not graph.any_batch
    images = images_of(SIDE, 1)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(
        run_onnx(tmp_path / "network.onnx", images),
        expected,
        rtol=0,
        atol=1e-5 * np.abs(expected).max(),
    )
