"""A model that the reference saved, imported: its scores by definition, and what is recorded."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from engine_kit import NETWORK
from PIL import Image
from reference_kit import (
    IMAGENET,
    RESIZE,
    RUNTIME,
    SIDE,
    Saved,
    arrays,
    expected,
    imported,
    write_parameters,
)

from patchcore_assets.commands.main import main
from patchcore_ops import Model
from patchcore_ops.embedding import network_export
from patchcore_ops.embedding.network_export import export_network
from patchcore_ops.model import ModelError, read_model
from patchcore_ops.model.export import export_model
from patchcore_ops.model.reference_bank import read_bank
from patchcore_ops.scoring.maps import anomaly_maps, image_scores


def test_it_scores_by_definition(
    saved_single: Saved, reference_images: torch.Tensor, tmp_path: Path
) -> None:
    described = imported(saved_single, tmp_path / "model")
    predictions = Model.load(tmp_path / "model", RUNTIME).predict(arrays(reference_images))
    [(scores, maps)] = expected(saved_single, reference_images)
    np.testing.assert_allclose([one.score for one in predictions], scores, rtol=1e-4)
    found = np.stack([one.anomaly_map for one in predictions])
    np.testing.assert_allclose(found, maps, rtol=1e-4, atol=1e-4 * maps.max())
    assert described.scoring.anomaly_scorer_num_nn == 1
    assert described.provenance["reference.anomaly_scorer_num_nn"] == "5"
    assert described.scoring.smoothing_sigma == 4
    for name in ("patchcore_params.pkl", "nnscorer_search_index.faiss"):
        digest = hashlib.sha256((saved_single.folder / name).read_bytes()).hexdigest()
        assert described.provenance[f"reference.{name}.sha256"] == digest
    assert read_model(tmp_path / "model") == described


def test_it_is_exported_to_onnx_with_its_own_normalisation(
    saved_single: Saved, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    imported(saved_single, tmp_path / "model")
    note = export_model(tmp_path / "model", tmp_path / "onnx", "onnx", saved_single.weights)
    assert note.members[0].network.relative_error is not None
    assert note.members[0].network.relative_error < 1e-4


def test_categories_of_one_backbone_export_one_network(
    saved_single: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    exported = []

    def export(*arguments: Any) -> None:
        exported.append(arguments)
        export_network(*arguments)

    monkeypatch.setattr(network_export, "export_network", export)
    first, second = (imported(saved_single, tmp_path / name) for name in ("a", "b"))
    assert len(exported) == 1
    assert first.members == second.members
    assert Model.load(tmp_path / "b", RUNTIME).description == second


def test_members_of_an_ensemble_score_by_definition(
    saved_ensemble: Saved, reference_images: torch.Tensor, tmp_path: Path
) -> None:
    described = imported(saved_ensemble, tmp_path / "model")
    assert described.scoring.ranges_of == ""
    model = Model.load(tmp_path / "model", RUNTIME)
    scored = [of_members for _, of_members in model.patch_scores(arrays(reference_images))]
    for of_images, (scores, maps) in zip(
        zip(*scored, strict=True), expected(saved_ensemble, reference_images), strict=True
    ):
        patches = np.concatenate(of_images)
        np.testing.assert_allclose(image_scores(patches), scores, rtol=1e-4)
        found = anomaly_maps(patches, SIDE)
        np.testing.assert_allclose(found, maps, rtol=1e-4, atol=1e-4 * maps.max())
    with pytest.raises(ModelError, match="their ranges are unknown"):
        model.predict(arrays(reference_images))


def test_an_ensemble_takes_its_ranges_from_normal_images(
    saved_ensemble: Saved, reference_images: torch.Tensor, tmp_path: Path
) -> None:
    normal = []
    for at, image in enumerate(arrays(reference_images)[2:4]):
        normal.append(tmp_path / f"{at}.png")
        Image.fromarray(image).save(normal[-1])
    described = imported(saved_ensemble, tmp_path / "model", normal_images=normal)
    assert described.scoring.ranges_of == "normal images"
    predictions = Model.load(tmp_path / "model", RUNTIME).predict(arrays(reference_images))
    for which, found in (
        (0, [one.score for one in predictions]),
        (1, [one.anomaly_map for one in predictions]),
    ):
        members = [predicted[which] for predicted in expected(saved_ensemble, reference_images)]
        scaled = [(one - one[2:4].min()) / (one[2:4].max() - one[2:4].min()) for one in members]
        np.testing.assert_allclose(found, np.mean(scaled, axis=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_bank_is_what_faiss_reads(tmp_path: Path, rows: int) -> None:
    features = np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)
    index = faiss.index_factory(6, "Flat", faiss.METRIC_L2)
    index.add(features)
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    np.testing.assert_array_equal(read_bank(tmp_path / "index.faiss", 6), features)


@pytest.mark.parametrize(("side", "resize"), [(224, 256), (320, 366)])
def test_resize_is_that_of_the_published_results(
    copied: Path, saved_single: Saved, tmp_path: Path, side: int, resize: int
) -> None:
    file = copied / "patchcore_params.pkl"
    write_parameters(file, {**pickle.loads(file.read_bytes()), "input_shape": (3, side, side)})
    source = saved_single._replace(folder=copied)
    described = imported(source, tmp_path / "model", resize=None)
    assert described.preprocessing.resize == resize
    assert described.provenance["reference.resize"] == "assumed"


def test_an_unusual_size_needs_its_resize(saved_single: Saved, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="for 64 pixels none is usual"):
        imported(saved_single, tmp_path / "model", resize=None)


@pytest.mark.parametrize("resize", [-5, 0, 32, 4097])
def test_an_impossible_resize_is_blamed_itself(
    saved_single: Saved, tmp_path: Path, resize: int
) -> None:
    with pytest.raises(ModelError, match=rf"^resize: must be from 64, .* \(got {resize}\)"):
        imported(saved_single, tmp_path / "model", resize=resize)
    assert not (tmp_path / "model").exists()


def test_an_output_that_holds_something_is_refused(saved_single: Saved, tmp_path: Path) -> None:
    output = tmp_path / "model"
    output.mkdir()
    (output / "kept").touch()
    with pytest.raises(ModelError, match="holds something already"):
        imported(saved_single, output)
    assert [file.name for file in output.iterdir()] == ["kept"]
    (output / "kept").unlink()
    imported(saved_single, output)
    assert read_model(output).category == "bottle"


def test_only_other_constants_give_a_network_another_identity() -> None:
    before = NETWORK.model_dump()
    del before["normalisation"]
    content = json.dumps(before, separators=(",", ":"))
    assert NETWORK.identity == hashlib.sha256(f"1 {content}".encode()).hexdigest()[:32]
    other = NETWORK.model_copy(update={"normalisation": IMAGENET})
    assert other.identity != NETWORK.identity


def command(source: Saved, output: Path, *more: str) -> list[str]:
    weights = list(map(str, source.weights))
    options = ["--source", str(source.folder), "--category", "bottle", "--output", str(output)]
    return ["import-reference", *options, "--weights", *weights, "--resize", str(RESIZE), *more]


def test_the_command_says_what_came_of_it(
    saved_ensemble: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(saved_ensemble, tmp_path / "model")) == 0
    said = capsys.readouterr().out
    assert "resnet18, test_resnet" in said
    assert f"resize {RESIZE} (given), imagesize {SIDE}" in said
    assert "anomaly_scorer_num_nn 5, 5 is not used" in said
    assert "without --normal-images the members have no ranges" in said
    assert main(command(saved_ensemble, tmp_path / "other", "--normal-images", str(tmp_path))) == 2
    assert "holds no images" in capsys.readouterr().err
