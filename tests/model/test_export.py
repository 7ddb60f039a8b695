"""An exported model: who follows its note gets the model's scores, in a process without torch."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine_kit import saved, trained
from model_kit import RUNTIME, Benchmarked, follow_note

from patchcore_assets.commands.main import main
from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.embedding.openvino_engine import compile_graph
from patchcore_ops.model import ModelError, onnx_member, read_model
from patchcore_ops.model.export import export_model
from patchcore_ops.model.export_note import Format
from patchcore_ops.runtime.errors import EnvironmentProblem
from patchcore_ops.runtime.fingerprints import file_hash

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = {"torch", "timm", "openvino", "onnx", "patchcore_ops", "patchcore_assets"}


def weights_of(category: Benchmarked) -> list[Path]:
    return [category.folder / "weights.safetensors"]


@pytest.fixture(scope="module")
def exported(
    category: Benchmarked, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Benchmarked, Path, Path]:
    """Return a category, its model and its export; treat them as read-only."""
    folder = tmp_path_factory.mktemp("exported")
    category.assemble(folder / "model")
    export_model(folder / "model", folder / "onnx", "onnx", weights_of(category))
    return category, folder / "model", folder / "onnx"


def test_who_follows_the_note_gets_the_scores_and_maps_of_the_model(
    exported: tuple[Benchmarked, Path, Path], tmp_path: Path
) -> None:
    category, model, folder = exported
    assert not OURS & follow_note(folder, model, category.images[-1], tmp_path)


def test_the_text_has_the_numbers_of_the_model(exported: tuple[Benchmarked, Path, Path]) -> None:
    _, model, folder = exported
    description, text = read_model(model), (folder / "README.md").read_text()
    size, several = description.preprocessing, bool(description.scoring.ranges_of)
    assert f"shorter side to {size.resize} pixels, the longer one to floor({size.resize} *" in text
    assert f"central {size.imagesize} x {size.imagesize} pixels: left = round((width - 64)" in text
    assert "to the 2 nearest rows of the memory bank" in text
    assert "standard deviation 4 pixels, cut off 16 pixels from its centre" in text
    assert ("The ranges are those of the test images." in text) == several
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    for number, member in enumerate(description.members):
        (patch_rows,) = {member.grid[0] * member.grid[1]}
        assert [
            str(number),
            "`images`: uint8 [batch, 64, 64, 3]",
            f"`embeddings`: float32 [{patch_rows}*batch, 64]",
            f"{member.grid[0]} x {member.grid[1]}",
        ] in rows
        assert (f"memory bank {number}: {member.bank_rows} rows of 64 float32") in text
        if several:
            assert member.score_range is not None
            assert member.map_range is not None
            numbers = [f"{one:.9g}" for one in (*member.score_range, *member.map_range)]
            assert [str(number), *numbers] in rows
        if member.unit is not None:
            assert [str(number), f"{member.unit:.9g}"] in rows
    assert "{" not in text
    assert not re.search("None|&#", text)


def test_openvino_s_networks_are_copies_that_share_nothing(model: Path, tmp_path: Path) -> None:
    note = export_model(model, tmp_path / "export", "openvino")
    records = read_model(model).files
    for name in ("network.xml", "network.bin", "network.json", "index.faiss"):
        copy = tmp_path / "export" / "0" / name
        assert file_hash(copy) == records[f"0/{name}"].sha256
        assert not copy.samefile(model / "0" / name)
    network = note.members[0].network
    compiled = compile_graph(tmp_path / "export" / "0", "float32", 1, 1)
    found = compiled({network.input.name: np.zeros(network.input.shape, np.uint8)})
    assert found[network.output.name].shape == network.output.shape
    assert "It is a copy of the model's own network." in (tmp_path / "export/README.md").read_text()


def test_a_network_of_torch_brings_its_weights(single: Benchmarked, tmp_path: Path) -> None:
    by_torch = RuntimeSection(**{**RUNTIME.model_dump(), "engine": "torch"})
    sources = single.sources(by_torch)._replace(identities=[""])
    single.assemble(tmp_path / "model", sources)
    note = export_model(tmp_path / "model", tmp_path / "onnx", "onnx")
    error = note.members[0].network.relative_error
    assert error is not None
    assert error < 1e-5
    with pytest.raises(ModelError, match="member 0 is run by torch, and has no network of OpenVIN"):
        export_model(tmp_path / "model", tmp_path / "openvino", "openvino")


def other_weights(folder: Path) -> list[Path]:
    network = trained("resnet18", 64)
    network.conv1.weight.data += 1  # type: ignore[union-attr, operator]
    return [saved(network, folder / "other.safetensors")]


def damaged_weights(folder: Path) -> list[Path]:
    (folder / "damaged.pth").write_bytes(b"no weights")
    return [folder / "damaged.pth"]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (lambda folder: [], r"which are not found; name the file that"),
        (other_weights, r"other\.safetensors: not those of the model\); name the file"),
        (damaged_weights, r"found \(\S*damaged\.pth: is not a .*; name the file .* by --weights"),
    ],
)
def test_other_weights_than_the_model_s_are_refused(
    model: Path, tmp_path: Path, weights: Callable[[Path], list[Path]], said: str
) -> None:
    with pytest.raises(ModelError, match=rf"member 0 \(resnet18\) was made with weights.*{said}"):
        export_model(model, tmp_path / "onnx", "onnx", weights(tmp_path))
    assert not (tmp_path / "onnx").exists()


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_weights_that_are_no_file_are_named_once(
    single: Benchmarked, model: Path, tmp_path: Path, form: Format
) -> None:
    missing = tmp_path / "nowhere.pth"
    with pytest.raises(ModelError) as refusal:
        export_model(model, tmp_path / "out", form, [*weights_of(single), missing])
    assert str(refusal.value) == f"weights: no file at {missing}; name the weights file"
    assert not (tmp_path / "out").exists()


def test_other_embeddings_than_the_model_s_are_refused(
    single: Benchmarked, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The network with which the model's is compared then normalises in another way.
    build = onnx_member._built_again

    def shifted(*arguments: object) -> object:
        network = build(*arguments)  # type: ignore[arg-type]
        network.mean += 0.01
        return network

    monkeypatch.setattr(onnx_member, "_built_again", shifted)
    with pytest.raises(ModelError, match=r"gives other embeddings .*, by 0\.\d+ of the largest"):
        export_model(model, tmp_path / "onnx", "onnx", weights_of(single))
    assert sorted(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_a_flipped_byte_is_refused_before_anything_is_exported(
    model: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(model, tmp_path / "model")
    name = "0/index.faiss"
    content = bytearray((tmp_path / "model" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model" / name).write_bytes(content)
    assert run(tmp_path / "model", tmp_path / "export", form) == 2
    assert f"{name}: is not what was written" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def run(model: Path, output: Path, form: str, *more: str) -> int:
    return main(["export", "--model", str(model), "--format", form, "--output", str(output), *more])


def test_the_command_says_where_things_are_and_another_export_is_the_same(
    single: Benchmarked, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(weights_of(single)[0])
    assert run(model, tmp_path / "export", "onnx", "--weights", weights) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r".*/export/0/network\.onnx: resnet18, differs from the model's network by \d\.\de-0[5-9]",
        lines[0],
    )
    assert lines[1].endswith("/export/README.md, as numbers " + f"{tmp_path}/export/export.json")
    # By another's weights too the file that fits is found, and nothing of this machine is in it.
    other = saved(trained("resnet34", 64), tmp_path / "resnet34.safetensors")
    export_model(model, tmp_path / "again", "onnx", [other, *weights_of(single)])
    graph = (tmp_path / "export/0/network.onnx").read_bytes()
    assert graph == (tmp_path / "again/0/network.onnx").read_bytes()
    assert str(REPOSITORY).encode() not in graph
    assert b"stack_trace" not in graph


def test_an_output_that_holds_something_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("")
    assert run(model, tmp_path, "openvino") == 2
    assert "holds something already" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_weights_for_another_format_than_onnx_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, tmp_path / "export", "openvino", "--weights", "w.safetensors") == 2
    assert "--weights: only onnx is made from weights" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_what_is_not_installed_is_told_with_the_command(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentProblem, match=r"onnx needs onnx and onnxscript, .*; run: pip"):
        export_model(model, tmp_path / "onnx", "onnx")


def test_help_and_openvino_need_neither_torch_nor_dagster(model: Path, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from patchcore_assets.commands.main import main\n"
        "try:\n"
        "    main(['export', *sys.argv[1:]])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted({'torch', 'timm', 'dagster', 'pandas'} & set(sys.modules)))\n"
    )
    for arguments in (
        ["--help"],
        ["--model", str(model), "--format", "openvino", "--output", str(tmp_path / "out")],
    ):
        ran = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
        )
        assert ran.stdout.splitlines()[-1] == "[]"
