"""A model gives what the benchmark gave, whatever the images come as, wherever it lies."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_kit import (
    RUNTIME,
    SIDE,
    Benchmarked,
    benchmarked,
    ensemble_config,
    literal_patch_scores,
)
from PIL import Image, ImageSequence

from patchcore_ops import Model
from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.model import ModelDescription, ModelError, Prediction, Unreadable
from patchcore_ops.model.export import export_model
from patchcore_ops.runtime.errors import DatasetError


def test_test_images_get_the_scores_and_maps_of_the_benchmark(
    category: Benchmarked, tmp_path: Path
) -> None:
    description = category.assemble(tmp_path / "model")
    predictions = Model.load(tmp_path / "model", RUNTIME).predict(category.images)
    scores = category.scores
    assert [one.name for one in predictions] == list(map(str, category.images))
    np.testing.assert_allclose([one.score for one in predictions], scores["score"], rtol=1e-5)
    maps = np.stack([one.anomaly_map for one in predictions])
    np.testing.assert_allclose(maps, category.maps, rtol=1e-5, atol=1e-5 * category.maps.max())
    for member, of_member in enumerate(
        zip(*[one.member_scores for one in predictions], strict=True)
    ):
        np.testing.assert_allclose(of_member, scores[f"score_{member}"], rtol=1e-5)
    config = category.config
    has_ranges = len(config.embedding.members) > 1 and not config.members_have_units
    assert description.scoring.ranges_of == ("test images" if has_ranges else "")
    assert bool(description.units) == config.members_have_units


@pytest.mark.parametrize("members", [1, 2])
def test_embeddings_kept_in_float16_are_rounded_in_the_model_too(
    tiny_dataset: Path, tmp_path: Path, members: int
) -> None:
    shutil.copytree(tiny_dataset, tmp_path / "data")
    train = next((tmp_path / "data" / "fabric_a" / "train" / "good").iterdir())
    # The nearer an image is to the bank, the more of its score is rounding.
    near = np.asarray(Image.open(train)).copy()
    near[0, 0] = 255 - near[0, 0]
    Image.fromarray(near).save(tmp_path / "data" / "fabric_a" / "test" / "good" / "000.png")
    config = ensemble_config(tmp_path / "made", members)
    half = config.embedding.model_copy(update={"storage": "float16"})
    made = benchmarked(
        tmp_path / "data", tmp_path / "made", config.model_copy(update={"embedding": half})
    )
    assert np.load(tmp_path / "made/embeddings/0/embeddings.npy").dtype == np.float16
    made.assemble(tmp_path / "model")
    model = Model.load(tmp_path / "model", RUNTIME)
    model.check_sample()
    predictions = model.predict(made.images)
    for member in range(members):
        expected = literal_patch_scores(made, member, "test").max(axis=1)
        of_member = [one.member_scores[member] for one in predictions]
        np.testing.assert_allclose(of_member, expected, rtol=1e-4)
    np.testing.assert_allclose([one.score for one in predictions], made.scores["score"], rtol=1e-5)
    export_model(tmp_path / "model", tmp_path / "export", "openvino")
    assert "rounds embeddings to float16" in (tmp_path / "export" / "README.md").read_text()


def test_ranges_over_one_image_make_no_verdicts(tiny_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_dataset / "fabric_a", tmp_path / "data" / "fabric_a")
    of_test = tmp_path / "data" / "fabric_a" / "test"
    first, *others = sorted((of_test / "hole").iterdir())
    for other in (*others, *(of_test / "good").iterdir(), *(of_test / "stain").iterdir()):
        other.unlink()
    made = benchmarked(tmp_path / "data", tmp_path / "made", ensemble_config(tmp_path / "made", 2))
    assert made.images == [first]
    assert made.scores["score"].tolist() == [0.0]
    made.assemble(tmp_path / "model")
    model = Model.load(tmp_path / "model", RUNTIME)
    # By the members' own scores this is far more anomalous, and by their ranges it would be 0.
    stripes = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    stripes[::2] = 255
    [(_, of_members)] = model.patch_scores(stripes)
    for number, patches in enumerate(of_members):
        assert patches.max() > 2 * made.scores.at[0, f"score_{number}"]
    with pytest.raises(ModelError, match="their ranges are unknown or empty, as over a single"):
        model.predict(stripes)


def test_models_written_before_there_were_units_load(model: Path) -> None:
    content = json.loads((model / "model.json").read_text())
    del content["sha256"], content["scoring"]["ensemble"]
    for member in content["members"]:
        del member["unit"]
    assert ModelDescription.model_validate(content).units == ()


def decoded(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


@pytest.mark.parametrize(
    "form",
    [
        lambda files: [str(file) for file in files],
        lambda files: (file for file in files),
        lambda files: [decoded(file) for file in files],
        lambda files: (np.asarray(decoded(file)) for file in files),
        lambda files: np.stack([np.asarray(decoded(file)) for file in files]),
        lambda files: [np.asarray(decoded(file).convert("RGBA")) for file in files],
    ],
    ids=["names", "iterator", "PIL", "arrays", "stack", "RGBA"],
)
def test_any_form_of_the_images_gives_equal_predictions(
    single: Benchmarked, model: Path, form: Callable[[list[Path]], Any]
) -> None:
    files = single.images[:3]
    loaded = Model.load(model, RUNTIME)
    expected = loaded.predict(files)
    found = loaded.predict(form(files))
    assert [one.score for one in found] == [one.score for one in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.anomaly_map, other.anomaly_map)


def test_one_image_is_a_list_of_one(single: Benchmarked, model: Path) -> None:
    loaded = Model.load(model, RUNTIME)
    file = single.images[0]
    [of_path] = loaded.predict(file)
    [of_array] = loaded.predict(np.asarray(decoded(file)))
    [of_grey] = loaded.predict(np.asarray(decoded(file).convert("L")))
    [of_channel] = loaded.predict(np.asarray(decoded(file).convert("L"))[..., None])
    assert of_path.score == of_array.score
    assert of_array.name == "image 0"
    assert of_grey.score == of_channel.score
    assert of_path.anomaly_map.shape == (SIDE, SIDE)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((8, 8, 3)), r"image 1: an array of float64, shape \[8, 8, 3\], is no image"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"shape \[2, 8, 8, 3\], is no image; give uint8"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \[0, 8, 3\], is no image"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \[8, 8, 2\], is no image"),
        ("nowhere.png", r"^nowhere\.png: no such file; correct the name$"),
    ],
)
def test_what_is_no_image_is_refused_by_name(
    single: Benchmarked, model: Path, image: Any, said: str
) -> None:
    loaded = Model.load(model, RUNTIME)
    with pytest.raises(DatasetError, match=said):
        loaded.predict([single.images[0], image])


@pytest.mark.parametrize("images", [None, 5, b"\x89PNG"])
def test_what_are_no_images_are_refused(model: Path, images: Any) -> None:
    kind = type(images).__name__
    with pytest.raises(DatasetError, match=rf"^images: {kind} is none; give a path, a PIL image"):
        Model.load(model, RUNTIME).predict(images)


def test_bad_images_in_memory_come_in_their_place(
    single: Benchmarked, model: Path, tmp_path: Path
) -> None:
    good = decoded(single.images[0])
    content = single.images[0].read_bytes()
    closed = Image.open(single.images[0])
    closed.close()
    bad = [
        Image.open(io.BytesIO(content[: len(content) // 2])),
        closed,
        Image.new("RGB", (0, 10)),
        np.zeros((1, 2000), np.uint8),
        good.convert("F"),
        good.convert("LAB"),
    ]
    found = list(Model.load(model, RUNTIME).attempt([good, *bad, good]))
    assert isinstance(found[0], Prediction)
    assert isinstance(found[-1], Prediction)
    assert found[0].score == found[-1].score
    reasons = [one.reason for one in found[1:-1] if isinstance(one, Unreadable)]
    assert len(reasons) == len(bad)
    for reason, said in zip(
        reasons,
        (
            "image 1: cannot be decoded",
            "image 2: cannot be",
            "image 3: holds no pixels",
            "image 4: has 2000 x 1 pixels, more than 100 times",
            "image 5: has pixels of 32 bits",
            "image 6: has the colour mode LAB",
        ),
        strict=True,
    ):
        assert reason.startswith(said)


def test_one_object_may_be_given_again(single: Benchmarked, model: Path, tmp_path: Path) -> None:
    loaded = Model.load(model, RuntimeSection(num_workers=4, faiss_num_workers=4))
    pages = [decoded(file) for file in single.images]
    expected = [loaded.predict(page)[0].score for page in pages]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with Image.open(tmp_path / "pages.tif") as of_pages:
        found = loaded.predict(ImageSequence.Iterator(of_pages))
        assert [one.score for one in found] == expected

    def camera() -> Any:
        buffer = np.empty_like(np.asarray(pages[0]))
        for page in pages:
            buffer[...] = np.asarray(page)
            yield buffer

    assert [one.score for one in loaded.predict(camera())] == expected
    with Image.open(single.images[0]) as lazy:
        assert {one.score for one in loaded.predict([lazy] * 8)} == {expected[0]}


def test_a_stream_takes_only_few_images_ahead(single: Benchmarked, model: Path) -> None:
    taken = []

    def images() -> Any:
        for _ in range(100):
            taken.append(1)
            yield single.images[0]

    stream = Model.load(model, RUNTIME).stream(images())
    next(stream)
    assert len(taken) < 20
    stream.close()


def test_threads_change_no_prediction(single: Benchmarked, model: Path) -> None:
    alone = RuntimeSection(num_workers=1, batch_size=1, faiss_num_workers=1)
    several = RuntimeSection(num_workers=5, batch_size=4, faiss_num_workers=8)
    one_by_one = [Model.load(model, several).predict(image)[0] for image in single.images]
    for runtime in (alone, several):
        found = Model.load(model, runtime).predict(iter(single.images))
        assert [one.score for one in found] == [one.score for one in one_by_one]
        for one, other in zip(found, one_by_one, strict=True):
            np.testing.assert_array_equal(one.anomaly_map, other.anomaly_map)


def test_a_result_comes_before_the_images_after_the_next(single: Benchmarked, model: Path) -> None:
    loaded, judged = Model.load(model, RUNTIME), threading.Event()
    judge = loaded._prediction

    def judge_and_tell(*arguments: Any) -> Any:
        found = judge(*arguments)
        judged.set()
        return found

    loaded._prediction = judge_and_tell  # type: ignore[method-assign]

    def camera() -> Any:
        for image in single.images:
            yield image
            # Triggers again when the first image has been judged.
            assert judged.wait(60)

    stream = loaded.stream(camera())
    assert next(stream).name == str(single.images[0])
    stream.close()


def test_without_an_exported_network_torch_runs_the_weights(
    single: Benchmarked, tmp_path: Path
) -> None:
    by_torch = RuntimeSection(**{**RUNTIME.model_dump(), "engine": "torch"})
    sources = single.sources(by_torch)._replace(identities=[""])
    description = single.assemble(tmp_path / "model", sources)
    assert description.members[0].network == ""
    assert "0/weights.safetensors" in description.files
    found = Model.load(tmp_path / "model", RUNTIME).predict(single.images)
    np.testing.assert_allclose([one.score for one in found], single.scores["score"], rtol=1e-4)


def test_tensors_of_torch_are_images_as_arrays_are(model: Path, single: Benchmarked) -> None:
    loaded = Model.load(model, RUNTIME)
    arrays = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in single.images[:2]])
    expected = [one.score for one in loaded.predict(arrays)]
    tensors = torch.from_numpy(arrays)
    assert [one.score for one in loaded.predict(tensors)] == expected
    assert [one.score for one in loaded.predict(tensors[0])] == expected[:1]


def test_a_model_that_is_pickled_says_what_to_do(model: Path) -> None:
    with pytest.raises(TypeError, match=r"cannot be pickled .* Model\.load\(folder\)"):
        pickle.dumps(Model.load(model, RUNTIME))
