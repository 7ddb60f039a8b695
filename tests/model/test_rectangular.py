"""A category of tall images through every stage, and its model, for each geometry."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from model_kit import RUNTIME, Benchmarked, benchmarked, ensemble_config, follow_note
from PIL import Image

from patchcore_ops import Model
from patchcore_ops.checks.predictions import predictions_are_finite
from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset.crop import insides_of
from patchcore_ops.inspection.heat_map import heat_map
from patchcore_ops.model.export import export_model
from patchcore_ops.service.heat_map import layer_of
from patchcore_ops.stages.category_metrics import evaluate
from patchcore_ops.stages.illustrations import PredictionPictures
from patchcore_ops.stages.layout import read_images

WIDTH, HEIGHT = 60, 96
SIZES = {
    "crop": ImageSize(resize=64, imagesize=(96, 64)),
    "crop to a pair": ImageSize(resize=(104, 48), imagesize=(80, 48)),
    "stretch": ImageSize(fit="stretch", imagesize=(64, 96)),
    "pad": ImageSize(fit="pad", imagesize=64),
}


@pytest.fixture(scope="session")
def tall_dataset(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tall")
    for file in sorted((tiny_dataset / "fabric_a").rglob("*.png")):
        target = root / file.relative_to(tiny_dataset)
        target.parent.mkdir(parents=True, exist_ok=True)
        image = Image.open(file)
        way = Image.Resampling.NEAREST if "ground_truth" in file.parts else None
        image.resize((WIDTH, HEIGHT), way).save(target)
    return root


@pytest.fixture(scope="module", params=SIZES.values(), ids=SIZES)
def category(
    request: pytest.FixtureRequest, tall_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Benchmarked:
    folder = tmp_path_factory.mktemp("rectangular")
    config = ensemble_config(folder, 1, image_score="smoothed_max")
    done = benchmarked(tall_dataset, folder, config.model_copy(update={"dataset": request.param}))
    done.assemble(folder / "model")
    return done


def test_maps_masks_and_pictures_have_the_size_of_the_input(category: Benchmarked) -> None:
    height, width = category.config.dataset.crop_size
    assert category.maps.shape == (len(category.scores), height, width)
    grid = json.loads((category.folder / "embeddings/0/grid.json").read_text())
    assert (grid["height"], grid["width"]) == (height // 4, width // 4)
    predictions = category.folder / "predictions"
    images = read_images(predictions)
    found = evaluate(
        "fabric_a", category.root, predictions, category.config, RUNTIME, category.folder
    )
    assert predictions_are_finite(
        category.scores, predictions, insides_of(images, category.config.dataset)
    ).passed
    assert 0 < found["full_pixel_auroc"] <= 1
    assert 0 <= found["aupro"] <= 1
    assert found["masked_images"] > 0
    pictures = PredictionPictures(
        category.scores, category.root, predictions, category.config.dataset
    )
    assert pictures.strip(0).shape == (height, 3 * width + 8, 3)


def test_the_model_gives_the_scores_and_maps_of_the_benchmark(category: Benchmarked) -> None:
    found = Model.load(category.folder / "model", RUNTIME).predict(category.images)
    np.testing.assert_allclose([one.score for one in found], category.scores["score"], rtol=1e-5)
    for one, expected in zip(found, category.maps, strict=True):
        np.testing.assert_allclose(one.anomaly_map, expected, rtol=1e-5, atol=1e-6)
        for region in one.regions:
            left, top, right, bottom = region.box
            assert 0 <= left < right <= WIDTH
            assert 0 <= top < bottom <= HEIGHT


def test_the_layer_over_an_image_covers_what_was_seen_of_it(category: Benchmarked) -> None:
    [found] = Model.load(category.folder / "model", RUNTIME).predict(category.images[0])
    assert heat_map(found).shape == (*category.config.dataset.crop_size, 3)
    layer = np.asarray(Image.open(io.BytesIO(layer_of(found))))
    assert layer.shape == (HEIGHT, WIDTH, 4)
    is_seen = np.isfinite(found.map_in_image())
    is_opaque = layer[..., 3] > 0
    # A row or a column of which only a part was seen is covered.
    assert is_opaque[is_seen].all()
    assert is_opaque.sum() <= is_seen.sum() + 2 * (WIDTH + HEIGHT)


def test_who_follows_the_note_of_the_export_gets_the_same(
    category: Benchmarked, tmp_path: Path
) -> None:
    model, folder = category.folder / "model", tmp_path / "onnx"
    weights = [Path(str(one.weights)) for one in category.config.embedding.members]
    export_model(model, folder, "onnx", weights)
    follow_note(folder, model, category.images[-1], tmp_path)
