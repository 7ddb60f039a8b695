"""A model that the reference saved, imported: its scores by definition, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_kit import saved, trained
from PIL import Image
from scipy.ndimage import gaussian_filter

from patchcore_assets.commands.main import main
from patchcore_ops import Model
from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.embedding.exported_network import NetworkSettings
from patchcore_ops.model import ModelDescription, ModelError, read_model
from patchcore_ops.model.export import export_model
from patchcore_ops.model.reference_bank import read_bank
from patchcore_ops.model.reference_import import import_reference
from patchcore_ops.runtime.errors import UserError, WeightsError
from patchcore_ops.scoring.maps import anomaly_maps, image_scores

SIDE, RESIZE, PRETRAIN, TARGET = 64, 72, 48, 40
RUNTIME = RuntimeSection(device="cpu", num_workers=1, faiss_num_workers=1)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Saved(NamedTuple):
    """What the reference would have saved, and from what."""

    folder: Path
    weights: list[Path]
    networks: list[tuple[torch.nn.Module, list[str]]]
    banks: list[np.ndarray]


def literal_embeddings(
    network: torch.nn.Module, layers: list[str], images: torch.Tensor
) -> torch.Tensor:
    """Embed as the reference defines it, in double precision: [images, h * w, TARGET]."""
    mean, std = (torch.tensor(one, dtype=torch.float64).reshape(3, 1, 1) for one in IMAGENET)
    found: dict[str, torch.Tensor] = {}
    for layer in layers:
        network.get_submodule(layer).register_forward_hook(
            lambda _module, _input, output, layer=layer: found.update({layer: output.clone()})
        )
    with torch.inference_mode():
        network.double()((images.double() / 255 - mean) / std)
    count, _, height, width = found[layers[0]].shape
    pooled = []
    for layer in layers:
        patches = F.unfold(found[layer], 3, padding=1)
        patches = patches.reshape(count, -1, *found[layer].shape[2:])
        patches = F.interpolate(patches, (height, width), mode="bilinear", align_corners=False)
        rows = patches.flatten(2).transpose(1, 2)
        pooled.append(F.adaptive_avg_pool1d(rows, PRETRAIN))
    return F.adaptive_avg_pool1d(torch.cat(pooled, dim=2), TARGET)


def literal_prediction(embeddings: torch.Tensor, bank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score images as the reference does: by one neighbour, squared distances, sigma 4."""
    distances = ((embeddings[:, :, None] - torch.from_numpy(bank).double()) ** 2).sum(-1)
    nearest = distances.min(dim=-1).values
    grid = int(nearest.shape[1] ** 0.5)
    maps = F.interpolate(
        nearest.reshape(-1, 1, grid, grid), (SIDE, SIDE), mode="bilinear", align_corners=False
    )
    smooth = np.stack([gaussian_filter(one.numpy(), sigma=4) for one in maps[:, 0]])
    return nearest.max(dim=1).values.numpy(), smooth


def save(folder: Path, images: torch.Tensor, members: list[tuple[str, list[str]]]) -> Saved:
    """Write what the reference's `save_to_path` writes, for each member of an ensemble."""
    folder.mkdir()
    weights, networks, banks = [], [], []
    for at, (name, layers) in enumerate(members, start=1):
        prefix = f"Ensemble-{at}-{len(members)}_" if len(members) > 1 else ""
        network = trained(name, SIDE)
        weights.append(saved(network, folder.parent / f"{folder.name}-{name}.safetensors"))
        bank = literal_embeddings(network, layers, images[:2]).flatten(0, 1)[::5]
        banks.append(bank.numpy().astype(np.float32))
        networks.append((network, layers))
        index = faiss.IndexFlatL2(TARGET)
        index.add(banks[-1])
        faiss.write_index(index, str(folder / f"{prefix}nnscorer_search_index.faiss"))
        parameters = {
            "backbone.name": name,
            "layers_to_extract_from": layers,
            "input_shape": (3, SIDE, SIDE),
            "pretrain_embed_dimension": PRETRAIN,
            "target_embed_dimension": TARGET,
            "patchsize": 3,
            "patchstride": 1,
            "anomaly_scorer_num_nn": 5,
        }
        write_parameters(folder / f"{prefix}patchcore_params.pkl", parameters)
    return Saved(folder, weights, networks, banks)


def write_parameters(file: Path, parameters: Any) -> None:
    file.write_bytes(pickle.dumps(parameters, pickle.HIGHEST_PROTOCOL))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Return images of the network's size, which are neither resized nor cropped then."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((SIDE, SIDE))) for one in coarse]
    return torch.from_numpy(np.stack(large)).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def single(images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Save a network whose own mean and standard deviation are not ImageNet's."""
    folder = tmp_path_factory.mktemp("single") / "mvtec_bottle"
    return save(folder, images, [("tf_efficientnet_lite0", ["blocks.1", "blocks.2"])])


@pytest.fixture(scope="module")
def ensemble(images: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("ensemble") / "mvtec_bottle"
    return save(
        folder, images, [("resnet18", ["layer1", "layer2"]), ("test_resnet", ["layer2", "layer3"])]
    )


@pytest.fixture
def copied(single: Saved, tmp_path: Path) -> Path:
    return Path(shutil.copytree(single.folder, tmp_path / "saved"))


def arrays(images: torch.Tensor) -> list[np.ndarray]:
    return list(images.permute(0, 2, 3, 1).numpy())


def imported(source: Saved, output: Path, **options: Any) -> ModelDescription:
    return import_reference(
        source.folder, "bottle", output, source.weights, options.pop("resize", SIDE), **options
    )


def expected(source: Saved, images: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        literal_prediction(literal_embeddings(network, layers, images), bank)
        for (network, layers), bank in zip(source.networks, source.banks, strict=True)
    ]


def test_it_scores_by_definition(single: Saved, images: torch.Tensor, tmp_path: Path) -> None:
    described = imported(single, tmp_path / "model")
    predictions = Model.load(tmp_path / "model", RUNTIME).predict(arrays(images))
    [(scores, maps)] = expected(single, images)
    np.testing.assert_allclose([one.score for one in predictions], scores, rtol=1e-4)
    found = np.stack([one.anomaly_map for one in predictions])
    np.testing.assert_allclose(found, maps, rtol=1e-4, atol=1e-4 * maps.max())
    assert described.scoring.anomaly_scorer_num_nn == 1
    assert described.provenance["reference.anomaly_scorer_num_nn"] == "5"
    assert described.scoring.smoothing_sigma == 4
    assert read_model(tmp_path / "model") == described


def test_it_is_exported_to_onnx_with_its_own_normalisation(single: Saved, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    imported(single, tmp_path / "model")
    note = export_model(tmp_path / "model", tmp_path / "onnx", "onnx", single.weights)
    assert note.members[0].network.relative_error is not None
    assert note.members[0].network.relative_error < 1e-4


def test_the_files_of_the_saved_model_are_recorded(single: Saved, tmp_path: Path) -> None:
    provenance = imported(single, tmp_path / "model").provenance
    for file in single.folder.iterdir():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert provenance[f"reference.{file.name}.sha256"] == digest


def test_members_of_an_ensemble_score_by_definition(
    ensemble: Saved, images: torch.Tensor, tmp_path: Path
) -> None:
    described = imported(ensemble, tmp_path / "model")
    assert described.scoring.ranges_of == ""
    model = Model.load(tmp_path / "model", RUNTIME)
    scored = [of_members for _, of_members in model.patch_scores(arrays(images))]
    for of_images, (scores, maps) in zip(
        zip(*scored, strict=True), expected(ensemble, images), strict=True
    ):
        patches = np.concatenate(of_images)
        np.testing.assert_allclose(image_scores(patches), scores, rtol=1e-4)
        found = anomaly_maps(patches, SIDE)
        np.testing.assert_allclose(found, maps, rtol=1e-4, atol=1e-4 * maps.max())
    with pytest.raises(ModelError, match="their ranges are unknown"):
        model.predict(arrays(images))


def test_an_ensemble_takes_its_ranges_from_normal_images(
    ensemble: Saved, images: torch.Tensor, tmp_path: Path
) -> None:
    normal = []
    for at, image in enumerate(arrays(images)[2:4]):
        normal.append(tmp_path / f"{at}.png")
        Image.fromarray(image).save(normal[-1])
    described = imported(ensemble, tmp_path / "model", normal_images=normal)
    assert described.scoring.ranges_of == "normal images"
    predictions = Model.load(tmp_path / "model", RUNTIME).predict(arrays(images))
    for which, found in (
        (0, [one.score for one in predictions]),
        (1, [one.anomaly_map for one in predictions]),
    ):
        members = [predicted[which] for predicted in expected(ensemble, images)]
        scaled = [(one - one[2:4].min()) / (one[2:4].max() - one[2:4].min()) for one in members]
        np.testing.assert_allclose(found, np.mean(scaled, axis=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_bank_is_what_faiss_reads(tmp_path: Path, rows: int) -> None:
    features = np.random.default_rng(0).normal(size=(rows, 6)).astype(np.float32)
    index = faiss.index_factory(6, "Flat", faiss.METRIC_L2)
    index.add(features)
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    np.testing.assert_array_equal(read_bank(tmp_path / "index.faiss", 6), features)


def index_of(factory: str, metric: int = faiss.METRIC_L2, rows: int = 64) -> Any:
    features = np.random.default_rng(0).normal(size=(rows, TARGET)).astype(np.float32)
    index = faiss.index_factory(TARGET, factory, metric)
    index.train(features)
    index.add(features)
    return index


def rewritten(change: Callable[[bytearray], Any]) -> Callable[[Path], None]:
    def rewrite(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content = change(content) or content
        file.write_bytes(content)

    return rewrite


def with_index(index: Any) -> Callable[[Path], None]:
    return lambda file: faiss.write_index(index, str(file))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_index(index_of("IVF2,Flat")), "is no flat FAISS index .*its kind is b'IwFl'"),
        (with_index(index_of("Flat", faiss.METRIC_INNER_PRODUCT)), "is no flat FAISS index"),
        (with_index(faiss.IndexFlatL2(TARGET)), "holds no features"),
        (with_index(faiss.IndexFlatL2(3)), r"have 3 numbers and not target_embed_dimension \(40\)"),
        (rewritten(lambda content: content[:-1]), "does not hold the .* features that it names"),
        (rewritten(lambda content: content + b"\0"), "does not hold the .* features that it names"),
        (rewritten(lambda content: content[:20]), "ends within its header"),
        (rewritten(lambda _content: b"version https://git-lfs"), "git lfs pull|within its header"),
        (
            rewritten(lambda content: content.__setitem__(slice(-4, None), b"\xff\xff\xff\x7f")),
            "holds NaN or infinity",
        ),
        (rewritten(lambda content: content.__setitem__(slice(8, 16), b"\xff" * 8)), "no features"),
        (
            rewritten(lambda content: content.__setitem__(slice(8, 16), b"\x7f" * 8)),
            "does not hold",
        ),
        (Path.unlink, "lacks nnscorer_search_index.faiss; copy the whole folder"),
    ],
)
def test_what_is_no_bank_is_refused_and_nothing_is_left(
    copied: Path, single: Saved, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    change(copied / "nnscorer_search_index.faiss")
    refused(single._replace(folder=copied), tmp_path, said)


def refused(source: Saved, folder: Path, said: str, kind: type[UserError] = ModelError) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(kind, match=said):
        imported(source, folder / "model")
    assert sorted(folder.iterdir()) == before, "nothing is left"


def test_a_malicious_file_in_its_place_is_refused(
    copied: Path, single: Saved, tmp_path: Path
) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'marker'}",)

    write_parameters(copied / "patchcore_params.pkl", Evil())
    refused(single._replace(folder=copied), tmp_path, "refused, and nothing in it was run")
    assert not (tmp_path / "marker").exists()


def test_no_other_pickle_of_the_folder_is_opened(
    copied: Path, single: Saved, tmp_path: Path
) -> None:
    (copied / "nnscorer_features.pkl").write_bytes(b"cos\nsystem\n.")
    imported(single._replace(folder=copied), tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Ensemble-2-2_patchcore_params.pkl": None}, "lacks Ensemble-2-2_patchcore_params.pkl"),
        (
            {
                "Ensemble-2-2_patchcore_params.pkl": None,
                "Ensemble-2-2_nnscorer_search_index.faiss": None,
            },
            "lacks Ensemble-2-2_nnscorer_search_index.faiss, Ensemble-2-2_patchcore_params.pkl",
        ),
        (
            {"Ensemble-1-2_patchcore_params.pkl": "patchcore_params.pkl"},
            "models of different numbers of members",
        ),
        (
            {"Ensemble-1-2_patchcore_params.pkl": "Ensemble-3-2_patchcore_params.pkl"},
            "lacks Ensemble-1-2_patchcore_params.pkl",
        ),
    ],
)
def test_a_part_of_an_ensemble_is_refused(
    ensemble: Saved, tmp_path: Path, change: dict[str, str | None], said: str
) -> None:
    folder = Path(shutil.copytree(ensemble.folder, tmp_path / "saved"))
    for name, other in change.items():
        if other is None:
            (folder / name).unlink()
        else:
            (folder / name).rename(folder / other)
    refused(ensemble._replace(folder=folder), tmp_path, said)


def test_a_member_too_many_is_refused(ensemble: Saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ensemble.folder, tmp_path / "saved"))
    (folder / "Ensemble-3-2_patchcore_params.pkl").touch()
    refused(ensemble._replace(folder=folder), tmp_path, "belong to no ensemble")


def test_members_share_what_an_ensemble_shares(ensemble: Saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ensemble.folder, tmp_path / "saved"))
    file = folder / "Ensemble-2-2_patchcore_params.pkl"
    write_parameters(file, {**pickle.loads(file.read_bytes()), "patchsize": 5})
    refused(ensemble._replace(folder=folder), tmp_path, "its patchsize is 5, and that of .* 3;")


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_without_a_saved_model_is_refused(
    single: Saved, tmp_path: Path, folder: str
) -> None:
    refused(single._replace(folder=tmp_path / folder), tmp_path, "name the folder of one category")


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"backbone.name": "resnet1"}, WeightsError, "did you mean resnet18"),
        ({"layers_to_extract_from": ["blocks.99"]}, WeightsError, r"blocks\.99"),
        ({"patchsize": 4}, ModelError, r"embedding\.patchsize: must be odd"),
        ({"layers_to_extract_from": ["blocks.1"] * 2}, ModelError, "lists one layer twice"),
    ],
)
def test_what_cannot_be_a_model_of_ours_is_refused(
    copied: Path,
    single: Saved,
    tmp_path: Path,
    changed: dict[str, Any],
    kind: type[UserError],
    said: str,
) -> None:
    file = copied / "patchcore_params.pkl"
    write_parameters(file, {**pickle.loads(file.read_bytes()), **changed})
    refused(single._replace(folder=copied), tmp_path, said, kind)


def test_weights_are_given_for_every_member(ensemble: Saved, tmp_path: Path) -> None:
    one = ensemble._replace(weights=ensemble.weights[:1])
    refused(one, tmp_path, "has 2 members, and 1 weights files are given")
    none = ensemble._replace(weights=[tmp_path / "nowhere.pth"] * 2)
    refused(none, tmp_path, r"nowhere\.pth: cannot be read", WeightsError)


@pytest.mark.parametrize(("side", "resize"), [(224, 256), (320, 366)])
def test_resize_is_that_of_the_published_results(
    copied: Path, single: Saved, tmp_path: Path, side: int, resize: int
) -> None:
    file = copied / "patchcore_params.pkl"
    write_parameters(file, {**pickle.loads(file.read_bytes()), "input_shape": (3, side, side)})
    source = single._replace(folder=copied)
    described = imported(source, tmp_path / "model", resize=None)
    assert described.preprocessing.resize == resize
    assert described.provenance["reference.resize"] == "assumed"


def test_an_unusual_size_needs_its_resize(single: Saved, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="for 64 pixels none is usual"):
        imported(single, tmp_path / "model", resize=None)
    with pytest.raises(ModelError, match=r"dataset\.imagesize: imagesize \(64\) must not exceed"):
        imported(single, tmp_path / "model", resize=32)


def test_an_output_that_holds_something_is_refused(single: Saved, tmp_path: Path) -> None:
    output = tmp_path / "model"
    output.mkdir()
    (output / "kept").touch()
    with pytest.raises(ModelError, match="holds something already"):
        imported(single, output)
    assert [file.name for file in output.iterdir()] == ["kept"]
    (output / "kept").unlink()
    imported(single, output)
    assert read_model(output).category == "bottle"


def test_a_category_is_a_plain_name(single: Saved, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"category: '\.\./bottle' cannot be a category"):
        import_reference(single.folder, "../bottle", tmp_path / "model", single.weights, SIDE)


def test_only_other_constants_give_a_network_another_identity() -> None:
    settings = NetworkSettings(
        backbone="a",
        weights="b",
        layers=("c",),
        patchsize=3,
        pretrain_embed_dimension=4,
        target_embed_dimension=5,
        imagesize=6,
        precision="float32",
        libraries=("d",),
    )
    before = settings.model_dump()
    del before["normalisation"]
    content = json.dumps(before, separators=(",", ":"))
    assert settings.identity == hashlib.sha256(f"1 {content}".encode()).hexdigest()[:32]
    other = settings.model_copy(update={"normalisation": IMAGENET})
    assert other.identity != settings.identity


def command(source: Saved, output: Path, *more: str) -> list[str]:
    weights = list(map(str, source.weights))
    options = ["--source", str(source.folder), "--category", "bottle", "--output", str(output)]
    return ["import-reference", *options, "--weights", *weights, "--resize", str(RESIZE), *more]


def test_the_command_says_what_came_of_it(
    ensemble: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(ensemble, tmp_path / "model")) == 0
    said = capsys.readouterr().out
    assert "resnet18, test_resnet" in said
    assert f"resize {RESIZE} (given), imagesize {SIDE}" in said
    assert "anomaly_scorer_num_nn 5, 5 is not used" in said
    assert "without --normal-images the members have no ranges" in said
    assert main(command(ensemble, tmp_path / "other", "--normal-images", str(tmp_path))) == 2
    assert "holds no images" in capsys.readouterr().err
    assert main(command(ensemble, tmp_path / "model")) == 2
    assert "holds something already" in capsys.readouterr().err
