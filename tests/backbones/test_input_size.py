"""Networks made for images of another size than their own, and weights that go with that."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from patchcore_ops.backbones.features import FeatureExtractor
from patchcore_ops.backbones.load import load_backbone, weights_hash
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.config.setting_types import height_and_width
from patchcore_ops.embedding.ensemble import open_networks
from patchcore_ops.runtime.errors import WeightsError


def features(model: torch.nn.Module, height: int, width: int) -> list[torch.Tensor]:
    with torch.inference_mode():
        return FeatureExtractor(model, ["blocks.1"])(torch.randn(1, 3, height, width))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_tiny_patch16_224", (96, 64)),
        ("vit_small_patch14_reg4_dinov2", 224),
    ],
)
def test_position_embeddings_follow_the_image_size(
    tmp_path: Path, name: str, size: int | tuple[int, int]
) -> None:
    torch.manual_seed(0)
    own = timm.create_model(name, pretrained=False)
    save_file(own.state_dict(), tmp_path / "w.safetensors")
    loaded = load_backbone(name, tmp_path / "w.safetensors", size)
    height, width = height_and_width(size)
    grid = [side // own.patch_embed.patch_size[0] for side in (height, width)]
    prefix = own.pos_embed.shape[1] - own.patch_embed.num_patches
    expected = resample_abs_pos_embed(own.pos_embed, grid, num_prefix_tokens=prefix)
    for key, value in loaded.state_dict().items():
        wanted = expected if key == "pos_embed" else own.state_dict()[key]
        assert torch.equal(value, wanted), key
    (maps,) = features(loaded, height, width)
    assert list(maps.shape[2:]) == grid


def test_weights_saved_for_another_image_size_fit(tmp_path: Path) -> None:
    larger = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=96)
    save_file(larger.state_dict(), tmp_path / "w.safetensors")
    loaded = load_backbone("vit_tiny_patch16_224", tmp_path / "w.safetensors")
    assert loaded.get_parameter("pos_embed").shape == (1, 197, 192)


def test_weights_of_other_patches_are_not_resized(tmp_path: Path) -> None:
    other = timm.create_model("vit_small_patch32_224", pretrained=False)
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"2 of another shape \(pos_embed .*, patch_embed"):
        load_backbone("vit_small_patch16_224", tmp_path / "w.safetensors")


def test_an_image_size_changes_nothing_in_networks_that_take_any(tmp_path: Path) -> None:
    own = timm.create_model("test_resnet", pretrained=False)
    save_file(own.state_dict(), tmp_path / "w.safetensors")
    loaded = load_backbone("test_resnet", tmp_path / "w.safetensors", 97)
    assert weights_hash(loaded) == weights_hash(own)


@pytest.mark.parametrize(
    ("backbone", "layer", "sentence"),
    [
        # Patches of 16 pixels fill no image of 40, and timm cannot resize ResMLP's mixing layers.
        ("vit_tiny_patch16_224", "blocks.1", r"\(its patches have 16\); .* to 32 or 48, or choose"),
        ("resmlp_12_224", "blocks.1", r"\(Input height .*\); change dataset.imagesize, or choose"),
    ],
)
def test_an_image_size_that_the_network_does_not_take(
    tmp_path: Path, backbone: str, layer: str, sentence: str
) -> None:
    model = timm.create_model(backbone, pretrained=False)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    weights = str(tmp_path / "w.safetensors")
    one = {"backbone": backbone, "layers": [layer], "weights": weights}
    config = CategoryConfig.model_validate(
        {"dataset": {"resize": 40, "imagesize": 40}, "embedding": {"members": [one]}}
    )
    with pytest.raises(WeightsError, match=sentence) as caught:
        open_networks(config, RuntimeSection(device="cpu"))
    message = str(caught.value)
    assert f"'{backbone}' cannot take images of 40 x 40 pixels (" in message
    assert "\n" not in message
