"""The estimator gives the benchmark's numbers, and behaves as scikit-learn's estimators do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from engine_kit import saved, trained
from model_kit import SIDE, benchmarked, ensemble_config
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

from patchcore_ops import Model, PatchCore
from patchcore_ops.config.sections import EmbeddingSection
from patchcore_ops.model import ModelError
from patchcore_ops.runtime.errors import ConfigError, DatasetError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    return saved(trained("resnet18", SIDE), folder / "weights.safetensors")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture
def detector(weights: Path, networks: Path) -> PatchCore:
    return PatchCore(
        backbone="resnet18",
        layers=["layer1", "layer2"],
        weights=weights,
        resize=SIDE,
        imagesize=SIDE,
        percentage=0.1,
        network_folder=networks,
    )


def test_a_folder_is_learned_as_in_the_benchmark(
    detector: PatchCore, tiny_dataset: Path, tmp_path: Path
) -> None:
    config = ensemble_config(tmp_path, 1)
    config = config.model_copy(
        update={"embedding": EmbeddingSection(members=config.embedding.members)}
    )
    made = benchmarked(tiny_dataset, tmp_path, config)
    detector.set_params(resize=config.dataset.resize, percentage=config.coreset.percentage)
    fitted = detector.fit(tiny_dataset / "fabric_a" / "train" / "good")
    assert fitted.n_images_ == len(list((tiny_dataset / "fabric_a/train/good").iterdir()))
    scores = made.scores["score"].to_numpy()
    np.testing.assert_allclose(-fitted.score_samples(made.images), scores, rtol=1e-5)
    normal = made.folder / "calibration"
    from patchcore_ops.stages.score_calibration import read_calibration

    threshold = read_calibration(normal).image_threshold
    assert -fitted.offset_ == pytest.approx(threshold, rel=1e-5)
    np.testing.assert_array_equal(
        fitted.predict(made.images), np.where(scores > -fitted.offset_, -1, 1)
    )
    found = fitted.inspect(made.images[0])[0]
    np.testing.assert_allclose(found.anomaly_map, made.maps[0], rtol=1e-4)
    fitted.save(tmp_path / "saved")
    again = Model.load(tmp_path / "saved").predict(made.images[:2])
    np.testing.assert_allclose([one.score for one in again], scores[:2], rtol=1e-5)
    with pytest.raises(ModelError, match="holds something already"):
        fitted.save(tmp_path / "saved")


def test_arrays_and_pictures_are_learned_like_their_files(
    detector: PatchCore, tiny_dataset: Path
) -> None:
    files = sorted((tiny_dataset / "fabric_a" / "train" / "good").iterdir())
    tests = sorted((tiny_dataset / "fabric_a" / "test" / "good").iterdir())

    def decoded(file: Path) -> Image.Image:
        with Image.open(file) as image:
            return image.convert("RGB")

    by_files = detector.fit(files).score_samples(tests)
    by_arrays = clone(detector).fit(np.stack([np.asarray(decoded(file)) for file in files]))
    np.testing.assert_array_equal(by_arrays.score_samples(map(decoded, tests)), by_files)
    found = clone(detector).fit_predict(iter(files))
    np.testing.assert_array_equal(found, clone(detector).fit(files).predict(files))


def test_numbers_of_numpy_and_hidden_files(
    detector: PatchCore, tiny_dataset: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_dataset / "fabric_a" / "train" / "good", tmp_path / "good")
    (folder / "._000.png").write_bytes(b"what macOS leaves")
    plain = clone(detector).set_params(n_neighbors=2, random_state=1, resize=72)
    of_numpy = clone(detector).set_params(
        n_neighbors=np.int64(2), random_state=np.int64(1), resize=np.int64(72)
    )
    files = sorted((tiny_dataset / "fabric_a" / "test" / "good").iterdir())
    np.testing.assert_array_equal(
        of_numpy.fit(folder).score_samples(files), plain.fit(folder).score_samples(files)
    )


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
        estimator_checks.check_mixin_order,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_parameters_default_constructible,
    ],
    ids=lambda check: check.__name__,
)
def test_it_passes_the_checks_of_scikit_learn_that_need_no_table(check: object) -> None:
    # The others fit a table of numbers, which is no image.
    check("PatchCore", PatchCore())  # type: ignore[operator]


def test_without_fit_it_says_so() -> None:
    for call in (PatchCore().predict, PatchCore().score_samples, PatchCore().inspect):
        with pytest.raises(NotFittedError):
            call(["new.png"])


def test_what_cannot_be_learned_is_refused(detector: PatchCore, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no image to learn from"):
        detector.fit([])
    with pytest.raises(DatasetError, match="holds no image"):
        detector.fit(tmp_path)
    with pytest.raises(DatasetError, match="is no image"):
        detector.fit(np.zeros((4, 5)))
    with pytest.raises(ConfigError, match=r"preset: must be one of .*'acurate'"):
        clone(detector).set_params(preset="acurate").fit([])
    with pytest.raises(ConfigError, match=r"embedding\.members\.0\.layers: .* valid (list|tuple)"):
        clone(detector).set_params(layers="layer1").fit(np.zeros((9, 9), np.uint8))
    with pytest.raises(ConfigError, match=r"coreset\.percentage"):
        detector.set_params(percentage=2.0).fit(tmp_path)


def test_one_image_is_learned_and_judges_without_a_threshold(
    detector: PatchCore, tiny_dataset: Path
) -> None:
    file = next((tiny_dataset / "fabric_a" / "train" / "good").iterdir())
    fitted = detector.fit([file])
    found = fitted.inspect(file)[0]
    assert found.is_anomaly is None
    assert found.p_value is None
    assert fitted.predict([file]).tolist() == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_that_ends_takes_nothing_away(
    detector: PatchCore, tiny_dataset: Path, tmp_path: Path
) -> None:
    detector.fit([tiny_dataset / "fabric_a" / "train" / "good" / "000.png"])
    child = os.fork()
    if not child:
        del detector._folder
        os._exit(0)
    os.waitpid(child, 0)
    detector.save(tmp_path / "model")
    assert Model.load(tmp_path / "model").description == detector.model_.description
    folder = detector._folder.path
    del detector.model_, detector._folder
    assert not folder.exists()


def test_images_that_are_not_square(detector: PatchCore, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (6, 90, 60, 3), dtype=np.uint8))
    detector.set_params(imagesize=(64, 32), fit_mode="pad")
    found = detector.fit(images).inspect(images[0])[0]
    assert found.anomaly_map.shape == (64, 32)
    # 32 x 48 pixels of them show the image.
    assert np.isfinite(found.anomaly_map).sum() == 32 * 48
    assert found.map_in_image().shape == (90, 60)
    assert np.isfinite(found.map_in_image()).all()
    assert found.score > 0
    detector.set_params(imagesize=(64, 8), fit_mode="crop", resize=7)
    with pytest.raises(ConfigError, match=r"dataset\.resize: .* must be a number of pixels from 8"):
        detector.fit(images)


def test_a_preset_fills_what_is_not_given(detector: PatchCore, tiny_dataset: Path) -> None:
    folder = tiny_dataset / "fabric_a" / "train" / "good"
    detector.set_params(preset="accurate", percentage=None, n_neighbors=1)
    described = detector.fit(folder).model_.description
    assert described.embedding.target_embed_dimension == 256
    assert (described.scoring.distance, described.scoring.image_score) == ("root", "smoothed_max")
    assert described.scoring.anomaly_scorer_num_nn == 1
