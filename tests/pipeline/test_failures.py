"""What goes wrong says one sentence, and spares what was there before."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import click
import dagster as dg
import pytest
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    MEMBER,
    OTHER,
    UP_TO_PREDICTIONS,
    Configure,
    complete,
    contents,
    execute,
    failures,
    make_site,
    versions,
)

from demo.tiny import build_tiny_dataset
from patchcore_assets.definitions import defs
from patchcore_assets.graph import define
from patchcore_ops.config import load_config

MATERIALIZE = ("asset", "materialize", "-m", "patchcore_assets", "--select")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away the network and whatever weights an earlier download has left."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror("no address")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty_cache"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def own_dataset(tmp_path: Path) -> Path:
    """Build a dataset that a test may damage."""
    build_tiny_dataset(tmp_path / "dataset", categories=(CATEGORY, OTHER))
    return tmp_path / "dataset"


def one_sentence(result: dg.ExecuteInProcessResult, step: str) -> str:
    """Return what the one failed step says, and see that it is fit to be read."""
    said = failures(result)
    assert list(said) == [step], said
    sentence = said[step]
    assert sentence
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    assert "NOT A FAILURE" not in sentence
    return sentence


def test_a_missing_dataset_says_where_it_was_expected(configure: Configure, tmp_path: Path) -> None:
    config = configure(dataset={"root": str(tmp_path / "nowhere")})
    result = execute(config, *BY_CATEGORY)
    sentence = one_sentence(result, "image_manifest")
    assert sentence.startswith(f"{tmp_path / 'nowhere' / CATEGORY}: no such folder; ")
    assert "PATCHCORE_DATASET_ROOT" in sentence
    assert not (tmp_path / "storage" / "image_manifest" / CATEGORY).exists()
    assert not versions(tmp_path / "storage", "image_manifest")


def test_the_command_line_prints_the_sentence_and_fails(tiny_dataset: Path, tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", tmp_path / "nowhere")
    process = site.dagster(*MATERIALIZE, "*", "--partition", CATEGORY)
    assert process.returncode == 1
    sentence = f"{tmp_path / 'nowhere' / CATEGORY}: no such folder; correct dataset.categories"
    assert sentence in process.stdout + process.stderr
    assert "The above exception was caused by" not in process.stderr
    assert not (site.storage / "image_manifest" / CATEGORY).exists()


def test_the_command_line_says_a_config_mistake_on_its_last_line(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", tmp_path, coreset={"percentage": 7})
    process = site.dagster("asset", "list", "-m", "patchcore_assets")
    assert process.returncode != 0
    assert "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1] == (
        f"Error: {site.config}: coreset.percentage: input should be less than or equal to 1 (got 7)"
    )


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"coreset": {"percentge": 0.1}}, "coreset.percentge: unknown key"),
        ({"index": {"factory": 3}}, "index.factory: input should be a valid string (got 3)"),
        (
            {"dataset": {"imagesize": 65}},
            "dataset.imagesize: imagesize (65) must not exceed resize (64)",
        ),
        ({"overrides": {"zipper": {}}}, "overrides.zipper: not one of the configured categories"),
    ],
)
def test_a_config_mistake_is_one_sentence_when_the_location_loads(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, dict[str, object]],
    sentence: str,
) -> None:
    config = configure(**sections)
    monkeypatch.setenv("PATCHCORE_CONFIG", str(config))
    with pytest.raises(click.ClickException) as mistake:
        defs()
    assert mistake.value.message.startswith(f"{config}: ")
    assert sentence in mistake.value.message
    assert "\n" not in mistake.value.message
    assert mistake.value.__cause__ is None


def test_a_mistake_made_in_the_file_after_loading_fails_the_step(configure: Configure) -> None:
    config = configure()
    job = define(load_config(config)).resolve_implicit_global_asset_job_def()
    configure(coreset={"sampler": "the best"})
    result = job.execute_in_process(
        partition_key=CATEGORY,
        raise_on_error=False,
        asset_selection=[dg.AssetKey("image_manifest")],
    )
    assert "coreset.sampler" in one_sentence(result, "image_manifest")


@pytest.mark.parametrize(
    ("asset", "upstream"),
    [
        ("raw_embeddings", "image_manifest"),
        ("memory_bank", "raw_embeddings"),
        ("faiss_index", "memory_bank"),
        ("test_predictions", "raw_embeddings"),
        ("category_metrics", "test_predictions"),
    ],
)
def test_a_missing_upstream_artefact_is_named_with_its_command(
    configure: Configure, tmp_path: Path, asset: str, upstream: str
) -> None:
    result = execute(configure(), asset)
    assert one_sentence(result, asset) == (
        f"{upstream} of '{CATEGORY}' is not in {tmp_path / 'storage'}; make it first: "
        f"dagster asset materialize -m patchcore_assets --select {upstream} "
        f"--partition {CATEGORY}"
    )
    assert not (tmp_path / "storage" / asset / CATEGORY).exists()
    assert not versions(tmp_path / "storage", asset)


def test_metrics_without_any_category_say_what_to_make(configure: Configure) -> None:
    result = execute(configure(), "metrics", partition=None)
    sentence = one_sentence(result, "metrics")
    assert sentence.startswith(f"category_metrics of '{CATEGORY}' is not in ")
    assert sentence.endswith(f"--select category_metrics --partition {CATEGORY}")


@pytest.mark.usefixtures("no_network")
def test_missing_weights_say_so_quickly(configure: Configure, tmp_path: Path) -> None:
    member = {"backbone": "wide_resnet50_2", "layers": ["layer2", "layer3"]}
    config = configure(embedding={"members": [member]})
    complete(config, "image_manifest")
    started = time.monotonic()
    result = execute(config, "raw_embeddings")
    assert time.monotonic() - started < 30
    sentence = one_sentence(result, "raw_embeddings")
    assert "'wide_resnet50_2'" in sentence
    assert "huggingface.co" in sentence
    assert "efficientnet_lite0" in sentence
    assert not (tmp_path / "storage" / "raw_embeddings" / CATEGORY).exists()
    assert not versions(tmp_path / "storage", "raw_embeddings")


@pytest.mark.usefixtures("no_network", "pip_weights")
def test_a_failing_run_spares_the_version_before(configure: Configure) -> None:
    storage = complete(configure(), *UP_TO_PREDICTIONS)
    place = storage / "raw_embeddings" / CATEGORY
    before = contents(place)
    members = [MEMBER, {"backbone": "wide_resnet50_2", "layers": ["layer2", "layer3"]}]
    result = execute(configure(embedding={"members": members}), "raw_embeddings", "memory_bank")
    one_sentence(result, "raw_embeddings")
    assert contents(place) == before
    assert versions(storage, "raw_embeddings") == [place.resolve()]
    complete(configure(), "memory_bank", "faiss_index", "test_predictions")


@pytest.mark.usefixtures("pip_weights")
def test_an_image_damaged_on_the_way_leaves_no_half_written_embeddings(
    configure: Configure, own_dataset: Path, tmp_path: Path
) -> None:
    config = configure(dataset={"root": str(own_dataset)}, runtime={"batch_size": 2})
    complete(config, "image_manifest", "raw_embeddings")
    storage = tmp_path / "storage"
    place = storage / "raw_embeddings" / CATEGORY
    before = contents(place)
    image = sorted((own_dataset / CATEGORY / "train" / "good").iterdir())[-1]
    intact = image.read_bytes()
    image.write_bytes(intact[: len(intact) // 2])
    sentence = one_sentence(execute(config, "raw_embeddings"), "raw_embeddings")
    assert sentence.startswith(str(image))
    assert contents(place) == before
    image.write_bytes(intact)
    complete(config, "raw_embeddings")
    assert contents(place).keys() == before.keys()
    left = list((storage / ".versions" / "raw_embeddings" / CATEGORY).iterdir())
    assert {entry.name.removesuffix(".lock") for entry in left} == {place.resolve().name}


@pytest.mark.usefixtures("pip_weights")
def test_an_index_that_faiss_cannot_build_names_the_key(configure: Configure) -> None:
    complete(configure(), *UP_TO_PREDICTIONS[:3])
    for factory in ("NoSuchIndex", "IVF4096,Flat"):
        result = execute(configure(index={"factory": factory}), "faiss_index")
        sentence = one_sentence(result, "faiss_index")
        assert sentence.startswith("index.factory: ")
        assert factory in sentence


@pytest.mark.usefixtures("pip_weights")
def test_more_neighbours_than_the_bank_holds_names_the_key(configure: Configure) -> None:
    config = configure(scoring={"anomaly_scorer_num_nn": 52})
    result = execute(config, *UP_TO_PREDICTIONS)
    sentence = one_sentence(result, "raw_embeddings")
    assert sentence.startswith("scoring.anomaly_scorer_num_nn: ")
    assert "51" in sentence


@pytest.mark.usefixtures("pip_weights")
def test_a_bank_has_the_members_of_its_embeddings_whatever_is_configured(
    configure: Configure,
) -> None:
    complete(configure(), "image_manifest", "raw_embeddings")
    two = configure(embedding={"members": [MEMBER, {**MEMBER, "layers": ["blocks.4"]}]})
    storage = complete(two, "memory_bank")
    assert [folder.name for folder in (storage / "memory_bank" / CATEGORY).glob("[0-9]")] == ["0"]
