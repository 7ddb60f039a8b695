"""A model's folder: what it holds, what it shares, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_kit import saved, trained
from model_kit import RUNTIME, Benchmarked, benchmarked, ensemble_config

from patchcore_ops import Model
from patchcore_ops.model import ModelError, read_model
from patchcore_ops.model.folder import with_checksum
from patchcore_ops.runtime.errors import StaleArtefact

FILES = [
    "0/index.faiss",
    "0/network.bin",
    "0/network.json",
    "0/network.xml",
    "sample.png",
    "settings.json",
]


@pytest.fixture
def copied(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def test_the_description_lists_every_file(model: Path) -> None:
    assert sorted(read_model(model).files) == FILES
    assert json.loads((model / "model.json").read_text())["format"] == 2


def test_large_files_are_shared_with_where_they_come_from(single: Benchmarked, model: Path) -> None:
    network = single.networks.root / single.identities[0]
    for name, source in (
        ("index.faiss", single.folder / "index/0/index.faiss"),
        ("network.bin", network / "network.bin"),
    ):
        assert (model / "0" / name).samefile(source)


def test_equal_inputs_give_equal_models(single: Benchmarked, model: Path, tmp_path: Path) -> None:
    single.assemble(tmp_path / "again")
    assert (tmp_path / "again" / "model.json").read_bytes() == (model / "model.json").read_bytes()


@pytest.mark.parametrize("name", [*FILES, "model.json"])
@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_flipped_byte_is_refused_with_the_file_s_name(copied: Path, name: str, at: float) -> None:
    file = copied / name
    content = bytearray(file.read_bytes())
    content[int(len(content) * at)] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=f"{name}: is not what was written; copy the model"):
        Model.load(copied, RUNTIME)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_cut_file_is_refused(copied: Path, name: str) -> None:
    file = copied / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match=rf"{name}: has \d+ bytes instead of \d+"):
        Model.load(copied, RUNTIME)
    file.unlink()
    with pytest.raises(ModelError, match=f"{name}: is missing"):
        Model.load(copied, RUNTIME)


def rewrite(copied: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change `model.json` as someone does who makes its checksum right."""
    content = json.loads((copied / "model.json").read_text())
    del content["sha256"]
    edit(content)
    (copied / "model.json").write_text(with_checksum(content)[0])


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda content: content.update(format=3), r"is of format 3, .* reads up to 2; install"),
        (lambda content: content.update(format=1), r"written by an earlier release; make the mo"),
        (lambda content: content.update(format="2"), r"its 'format' cannot be used"),
        (
            lambda content: content.update(more=1),
            r"its 'more' cannot be used, for another release wrote it; make the model again, or in",
        ),
        (
            lambda content: content["files"].update({"../x": content["files"]["settings.json"]}),
            r"its 'files\.\.\./x\.\[key\]' cannot be used",
        ),
        (lambda content: content["members"][0].update(bank_rows=1), r"holds \d+ x 64 features"),
        (lambda content: content["members"][0].update(grid=[1, 1]), r"holds another network"),
        (lambda content: content["members"][0].update(network="0"), r"holds another network"),
    ],
)
def test_what_does_not_fit_is_refused(
    copied: Path, edit: Callable[[dict[str, Any]], object], said: str
) -> None:
    rewrite(copied, edit)
    with pytest.raises(ModelError, match=said):
        Model.load(copied, RUNTIME)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "1", "null", "[" * 100_000, '{"sha256": 1}', '{"sha256": "", "format": 2}'],
)
def test_any_other_model_json_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(ModelError, match=r"model\.json: is not what was written"):
        read_model(tmp_path)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no model, for it has no model\.json; copy one there"):
        Model.load(tmp_path)
    with pytest.raises(ModelError, match=r"no model\.json; copy the model of a bucket"):
        Model.load(Path("s3://factory/model/bottle"))


def test_a_network_that_is_not_kept_is_exported_again(single: Benchmarked, tmp_path: Path) -> None:
    sources = single.sources()._replace(identities=["0" * 32])
    description = single.assemble(tmp_path / "model", sources)
    assert description.members[0].network == single.identities[0]


def test_other_settings_or_weights_than_those_of_the_embeddings_are_refused(
    single: Benchmarked, tmp_path: Path
) -> None:
    gone = single.sources()._replace(identities=["0" * 32])
    member = single.config.embedding.members[0]
    for update, said in (
        ({"layers": ["layer2"]}, r"embedding\.members\.0\.layers of the configuration has changed"),
        ({"weights": None}, r"embedding\.members\.0\.weights of the configuration has changed"),
    ):
        embedding = single.config.embedding.model_copy(
            update={"members": [member.model_copy(update=update)]}
        )
        changed = gone._replace(config=single.config.model_copy(update={"embedding": embedding}))
        with pytest.raises(StaleArtefact, match=said):
            single.assemble(tmp_path / said[:30], changed)


def test_weights_that_differ_in_memory_are_refused(single: Benchmarked, tmp_path: Path) -> None:
    network = trained("resnet18", 64)
    network.conv1.weight.data += 1  # type: ignore[union-attr, operator]
    other = saved(network, tmp_path / "other.safetensors")
    member = single.config.embedding.members[0].model_copy(update={"weights": str(other)})
    embedding = single.config.embedding.model_copy(update={"members": [member]})
    config = single.config.model_copy(update={"embedding": embedding})
    # The record says what the embeddings were made with; here it is made to agree.
    changed = single._replace(config=config)
    with pytest.raises(StaleArtefact, match="weights have changed since raw_embeddings was made"):
        changed.assemble(tmp_path / "model", changed.sources()._replace(identities=["0" * 32]))


def test_the_sample_image_gives_its_score_wherever_the_model_is(
    single: Benchmarked, model: Path, copied: Path
) -> None:
    sample = read_model(model).sample
    assert sample is not None
    first = single.scores.iloc[0]
    assert (sample.path, sample.score) == (first["path"], first["score"])
    assert (copied / sample.file).read_bytes() == single.images[0].read_bytes()
    Model.load(copied, RUNTIME).check_sample()
    rewrite(copied, lambda content: content["sample"].update(score=sample.score * 1.01))
    with pytest.raises(ModelError, match=r"sample\.png: scores .* where the model was made"):
        Model.load(copied, RUNTIME).check_sample()
    # As those that an estimator saves, or that are imported.
    rewrite(copied, lambda content: content.update(sample=None))
    with pytest.raises(ModelError, match="has no sample image, which the benchmark alone adds"):
        Model.load(copied, RUNTIME).check_sample()


def test_a_sample_with_the_least_score_of_an_ensemble_may_round(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_dataset, tmp_path / "data")
    config = ensemble_config(tmp_path / "made", 2)
    whole = benchmarked(tmp_path / "data", tmp_path / "made", config)
    good = whole.scores[~whole.scores["is_anomaly"]]
    least = good["score_0"].idxmin()
    # The sample is the first image; here it has the least score of both members.
    for row in whole.scores.drop(least).itertuples():
        if row.label == "good" or row.score_1 < whole.scores["score_1"][least]:
            (tmp_path / "data" / str(row.path)).unlink()
    made = benchmarked(tmp_path / "data", tmp_path / "made_again", config)
    made.assemble(tmp_path / "model")
    sample = read_model(tmp_path / "model").sample
    assert sample is not None
    assert sample.score == 0
    # As other threads or another batch would round.
    rewrite(tmp_path / "model", lambda content: content["sample"].update(score=1e-6))
    Model.load(tmp_path / "model", RUNTIME).check_sample()
    rewrite(tmp_path / "model", lambda content: content["sample"].update(score=1e-3))
    with pytest.raises(ModelError, match=r"sample\.png: scores .* where the model was made"):
        Model.load(tmp_path / "model", RUNTIME).check_sample()


def test_a_test_image_that_has_changed_is_no_sample(single: Benchmarked, tmp_path: Path) -> None:
    shutil.copytree(single.root, tmp_path / "dataset")
    changed = single._replace(root=tmp_path / "dataset")
    changed.images[0].write_bytes(changed.images[1].read_bytes())
    description = changed.assemble(tmp_path / "model")
    assert description.sample is not None
    assert description.sample.path == single.scores["path"][1]
    assert sorted(file.name for file in (tmp_path / "model").iterdir()).count("sample.png") == 1
