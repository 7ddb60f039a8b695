"""The YAML contract: defaults, overrides, variables, paths, and the hash of a section."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import create_model

from patchcore_ops.config.load import MVTEC_CATEGORIES, BenchmarkConfig, load_config, section_hash
from patchcore_ops.config.sections import (
    CategoryConfig,
    CoresetSection,
    EmbeddingMember,
    EmbeddingSection,
    IndexSection,
    RuntimeSection,
)
from patchcore_ops.runtime.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
Load = Callable[[str], BenchmarkConfig]


@pytest.mark.parametrize(
    "name",
    ["patchcore.yaml", "configs/ensemble.yaml", "configs/ensemble_320.yaml", "configs/demo.yaml"],
)
def test_shipped_files_load(name: str) -> None:
    config = load_config(REPOSITORY / name)
    assert config.categories
    for category in config.categories:
        assert config.for_category(category).embedding.members


def test_the_configuration_of_visa_takes_whole_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "candle" / "train").mkdir(parents=True)
    monkeypatch.setenv("PATCHCORE_DATASET_ROOT", str(tmp_path))
    config = load_config(REPOSITORY / "configs/visa_256.yaml")
    dataset = config.for_category("candle").dataset
    assert (dataset.fit, dataset.crop_size) == ("stretch", (256, 256))


def test_patchcore_yaml_spells_out_the_defaults(load: Load) -> None:
    shipped = load_config(REPOSITORY / "patchcore.yaml")
    empty = load("")
    assert shipped.categories == empty.categories == MVTEC_CATEGORIES
    assert shipped.by_category == empty.by_category
    assert shipped.runtime == empty.runtime == RuntimeSection()
    assert shipped.dataset_root == REPOSITORY / "data" / "mvtec"
    assert shipped.storage_root == str(REPOSITORY / "storage")


# The published baseline. Raise `code_version` of the asset that a section determines when one of
# its defaults changes, for no version of an input shows that; then change it here.
DEFAULTS = {
    "dataset": {"resize": 256, "imagesize": 224},
    "embedding": {
        "members": [
            {
                "backbone": "wide_resnet50_2.tv_in1k",
                "layers": ["layer2", "layer3"],
                "weights": None,
            }
        ],
        "pretrain_embed_dimension": 1024,
        "target_embed_dimension": 1024,
        "patchsize": 3,
        "precision": "float32",
        "storage": "float32",
    },
    "coreset": {
        "sampler": "approx_greedy_coreset",
        "percentage": 0.1,
        "projection_dimension": 128,
        "number_of_starting_points": 10,
        "seed": 0,
        "shards": 1,
    },
    "index": {"factory": "Flat", "search_parameters": ""},
    "calibration": {"images": 200, "false_positive_rate": 0.01},
    "scoring": {
        "anomaly_scorer_num_nn": 1,
        "distance": "squared",
        "smoothing_sigma": 4.0,
        "image_score": "max",
        "image_smoothing_sigma": 8.0,
        "image_top_share": 0.01,
        "ensemble": "min_max",
    },
    "metrics": {"aupro_fpr_limit": 0.3, "mask_threshold": 0.5, "reference_masks": True},
}


def test_defaults_are_those_that_results_were_made_with(load: Load) -> None:
    assert load("").for_category("bottle") == CategoryConfig()
    assert CategoryConfig().model_dump(exclude={"checks"}) == DEFAULTS


def test_ensemble_file_is_the_published_ensemble() -> None:
    embedding = load_config(REPOSITORY / "configs/ensemble.yaml").for_category("tile").embedding
    assert len(embedding.members) == 3
    assert embedding.target_embed_dimension == 384
    assert embedding.members[2].layers == ["features.denseblock2", "features.denseblock3"]


def test_paths_are_relative_to_the_file(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    config = load(
        """
        dataset: {root: ../images}
        storage: {root: ./out/artefacts}
        embedding: {members: [{backbone: resnet18, weights: weights/r18.pth}, {backbone: resnet34}]}
        """
    )
    assert config.dataset_root == tmp_path.parent / "images"
    assert config.storage_root == str(tmp_path / "out" / "artefacts")
    members = config.for_category("bottle").embedding.members
    assert [member.weights for member in members] == [str(tmp_path / "weights" / "r18.pth"), None]


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ("/abs/../store", "/store"),
        ("s3://bucket/runs/", "s3://bucket/runs"),
        ("file:///var/store", "/var/store"),
    ],
)
def test_storage_roots(load: Load, configured: str, expected: str) -> None:
    assert load(f"storage: {{root: '{configured}'}}").storage_root == expected


def test_variables_are_expanded(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path / "here"))
    monkeypatch.setenv("NET", "resnet18")
    config = load(
        """
        dataset: {root: "${PLACE}/images"}
        embedding: {members: [{backbone: "${NET}.a1_in1k"}]}
        """
    )
    assert config.dataset_root == tmp_path / "here" / "images"
    assert config.for_category("bottle").embedding.members[0].backbone == "resnet18.a1_in1k"


def test_roots_from_the_environment_win_and_are_relative_to_here(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATCHCORE_DATASET_ROOT", "pictures")
    monkeypatch.setenv("PATCHCORE_STORAGE_ROOT", "s3://elsewhere/x")
    config = load("dataset: {root: a}\nstorage: {root: b}")
    assert config.dataset_root == here / "pictures"
    assert config.storage_root == "s3://elsewhere/x"


def test_discover_takes_the_folders_with_a_train_folder(load: Load, tmp_path: Path) -> None:
    for folder in ("zebra/train", "ape/train", "notes/test", ".hidden/train"):
        (tmp_path / "images" / folder).mkdir(parents=True)
    config = load("dataset: {root: images, categories: discover}")
    assert config.categories == ("ape", "zebra")


def test_unknown_category_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"bench\.yaml: 'carpets' is not one of .*carpet"):
        load("").for_category("carpets")


def test_equal_settings_hash_equally_however_they_are_written(load: Load) -> None:
    general = load("coreset: {percentage: 1, seed: 3}").for_category("screw").coreset
    override = load("overrides: {screw: {coreset: {seed: 3, percentage: 1.0}}}")
    assert section_hash(general) == section_hash(override.for_category("screw").coreset)
    forth, back = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert section_hash(general, extra=forth) == section_hash(general, extra=back)


def test_a_new_key_with_its_default_changes_no_hash() -> None:
    later = create_model("CoresetSection", __base__=CoresetSection, new_key=(int, 7))
    for keys in ({}, {"percentage": 0.2, "seed": 3}):
        assert section_hash(later(**keys)) == section_hash(CoresetSection(**keys))
    assert section_hash(later(new_key=8)) != section_hash(CoresetSection())
    member = create_model("EmbeddingMember", __base__=EmbeddingMember, new_key=(int, 7))
    other = EmbeddingSection(members=[EmbeddingMember(backbone="resnet18"), EmbeddingMember()])
    members = [member(backbone="resnet18"), member()]
    assert section_hash(other.model_copy(update={"members": members})) == section_hash(other)


def test_every_part_of_a_hash_counts() -> None:
    coreset, index = CoresetSection(), IndexSection()
    changes = {
        "sampler": "random",
        "percentage": 0.2,
        "projection_dimension": 64,
        "number_of_starting_points": 5,
        "seed": 1,
    }
    hashes = [
        section_hash(coreset),
        section_hash(index),
        section_hash(coreset, index),
        section_hash(index, coreset),
        section_hash(coreset, extra={"weights": "a"}),
        section_hash(coreset, extra={"weights": "b"}),
        *(section_hash(CoresetSection(**{key: value})) for key, value in changes.items()),
    ]
    assert len(set(hashes)) == len(hashes)
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in hashes)
