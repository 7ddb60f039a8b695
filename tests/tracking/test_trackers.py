"""Each tracker's files, read back with its own library; and what is said where one is down."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tracking_kit import CATEGORIES, make_record, parcel

from patchcore_ops.config.recorded_settings import flatten
from patchcore_ops.config.sections import (
    CategoryConfig,
    CoresetSection,
    EmbeddingMember,
    EmbeddingSection,
    ImageSize,
    ScoringSection,
    TrackerSection,
)
from patchcore_ops.tracking import (
    CategoryResult,
    Record,
    group_name,
    read_record,
    send,
    write_record,
)
from patchcore_ops.tracking.mlflow_tracker import by_key
from patchcore_ops.tracking.record import common_settings, versions_of
from patchcore_ops.tracking.redaction import without_secrets

WIDE = EmbeddingMember(backbone="wideresnet50", layers=["layer2", "layer3"])


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return make_record(tmp_path / "record")


@pytest.mark.parametrize(
    ("members", "percentage", "size", "target", "patchsize", "neighbours", "name"),
    [
        (1, 0.1, 224, 1024, 3, 1, "IM224_WR50_L2-3_P01_D1024-1024_PS-3_AN-1"),
        (1, 0.01, 320, 1024, 5, 3, "IM320_WR50_L2-3_P001_D1024-1024_PS-5_AN-3"),
        (3, 0.01, 320, 384, 3, 1, "IM320_Ensemble_L2-3_P001_D1024-384_PS-3_AN-1"),
        (1, 1.0, 224, 1024, 3, 1, "IM224_WR50_L2-3_P1_D1024-1024_PS-3_AN-1"),
        (1, 1e-05, 224, 1024, 3, 1, "IM224_WR50_L2-3_P000001_D1024-1024_PS-3_AN-1"),
    ],
)
def test_groups_have_the_names_of_the_reference_s_models(
    members: int,
    percentage: float,
    size: int,
    target: int,
    patchsize: int,
    neighbours: int,
    name: str,
) -> None:
    settings = CategoryConfig(
        dataset=ImageSize(resize=size, imagesize=size),
        embedding=EmbeddingSection(
            members=[WIDE] * members, target_embed_dimension=target, patchsize=patchsize
        ),
        coreset=CoresetSection(percentage=percentage, seed=7),
        scoring=ScoringSection(anomaly_scorer_num_nn=neighbours),
    )
    assert group_name(settings) == f"{name}_S7"


def test_the_name_of_a_group_has_both_sides_of_a_rectangle() -> None:
    settings = CategoryConfig(dataset=ImageSize(imagesize=(640, 256)))
    assert group_name(settings).startswith("IM640x256_WR50_")


def test_settings_and_versions_that_differ_are_named() -> None:
    first, second = (
        dict(flatten({"coreset": {"percentage": percentage, "seed": 0}})) for percentage in (0.1, 1)
    )
    assert common_settings([first, second]) == {
        "coreset.percentage": "differs between categories",
        "coreset.seed": "0",
    }
    lineage = {
        "memory_bank.packages": "numpy==2.4.6 torch==2.9.0",
        "memory_bank.run_id": "r1",
        "raw_embeddings.packages": "numpy==2.4.6 torch==2.8.0",
        "raw_embeddings.run_id": "r2",
    }
    assert versions_of(lineage) == {
        "numpy": "2.4.6",
        "torch": "2.9.0 (memory_bank); 2.8.0 (raw_embeddings)",
        "memory_bank.run_id": "r1",
        "raw_embeddings.run_id": "r2",
    }


def test_wandb_offline_is_read_back_by_its_own_messages(record: Record, tmp_path: Path) -> None:
    from wandb_files import records

    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}")
    section = TrackerSection(kind="wandb", project="P", folder=str(tmp_path / "runs"))
    # The second time as after an interruption.
    for _ in range(2):
        outcome = send(section, [parcel(record, bottle=model)])
        assert (outcome.delivered, outcome.problem) == (("record0",), "")
    assert outcome.place == str(tmp_path / "runs" / "wandb")
    found = {}
    for file in (tmp_path / "runs" / "wandb").glob("offline-run-*/*.wandb"):
        by_kind = {one.WhichOneof("record_type"): one for one in records(file)}
        run = by_kind["run"].run
        config = {one.key: json.loads(one.value_json) for one in run.config.update}
        found[config["category"]] = run, config, by_kind
        pictures = list((file.parent / "files").rglob("*.jpg"))
        assert len(pictures) == (config["category"] != "Mean")
    assert sorted(found) == sorted(CATEGORIES)
    assert found["Mean"][0].job_type == "mean"
    run, config, by_kind = found["bottle"]
    assert (run.project, run.run_group, run.job_type) == ("P", record.group, "category")
    assert config["coreset"] == {"percentage": 0.1}
    assert config["versions"]["torch"] == "2.9.0"
    assert (config["wave"], config["made"]) == ("wave 0", record.made)
    history = {
        "/".join([one.key] if one.key else one.nested_key): json.loads(one.value_json)
        for one in by_kind["history"].history.item
    }
    assert history["aupro"] == 0.375
    assert history["seconds/memory_bank"] == 1.5
    [entry] = by_kind["artifact"].artifact.manifest.contents
    assert entry.path == "model.json"
    assert "artifact" not in found["metal nut"][2]


def test_wandb_takes_the_models_of_categories_with_any_letters(tmp_path: Path) -> None:
    from wandb_files import records

    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("{}")
    names = ("Gehäuse", "産業", "部品", "metal nut")
    results = tuple(CategoryResult(name, {"aupro": 0.5}, {}, {}) for name in ("Mean", *names))
    (tmp_path / "record").mkdir()
    record = Record("record0", "wave 0", "2026-11-28T20:00:00+00:00", "group", results)
    write_record(record, tmp_path / "record")
    section = TrackerSection(kind="wandb", project="P", folder=str(tmp_path / "runs"))
    sent = parcel(read_record(tmp_path / "record"), **dict.fromkeys(names, model))
    outcome = send(section, [sent])
    assert (outcome.delivered, outcome.problem) == (("record0",), "")
    artefacts = [
        one.artifact.name
        for file in (tmp_path / "runs" / "wandb").glob("offline-run-*/*.wandb")
        for one in records(file)
        if one.WhichOneof("record_type") == "artifact"
    ]
    assert len(artefacts) == len(set(artefacts)) == len(names)


def test_mlflow_takes_defect_types_whose_names_differ_by_a_sign() -> None:
    """It refuses a model in a run of which two metrics have one name."""
    metrics = {"defects/a+b/aupro": 0.25, "defects/a_b/aupro": 0.5, "defects/a=b/aupro": 0.75}
    kept = by_key(metrics)
    assert list(kept.values()) == [0.25, 0.5, 0.75]
    assert all(re.fullmatch(r"defects/a_b/aupro_*", key) for key in kept)


def test_tensorboard_files_are_read_back(record: Record, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    section = TrackerSection(kind="tensorboard", project="P", folder=str(tmp_path / "board"))
    for _ in range(2):
        outcome = send(section, [parcel(record)])
        assert (outcome.delivered, outcome.problem) == (("record0",), "")
    runs = {file.parent.name: file.parent for file in (tmp_path / "board").rglob("events.*")}
    assert sorted(runs) == sorted(CATEGORIES)
    assert runs["bottle"].parent == tmp_path / "board" / "P" / record.group / "record0"
    events = EventAccumulator(str(runs["bottle"]))
    events.Reload()
    [aupro] = events.Scalars("aupro")
    assert aupro.value == 0.375
    assert aupro.wall_time == 1795896000.25
    [image] = events.Images("pictures/most_wrong")
    [file] = record.pictures("bottle")
    assert image.encoded_image_string == file.read_bytes()
    assert (image.width, image.height) == Image.open(file).size
    [versions] = events.Tensors("versions")
    assert "| torch | 2.9.0 |" in versions.tensor_proto.string_val[0].decode()


def test_a_server_that_does_not_answer_is_a_problem_and_no_error(record: Record) -> None:
    with socket.socket() as closed, socket.create_server(("127.0.0.1", 0)) as silent:
        closed.bind(("127.0.0.1", 0))
        for kind, listener in (("mlflow", closed), ("wandb", closed), ("mlflow", silent)):
            uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
            outcome = send(TrackerSection(kind=kind, online=True, uri=uri), [parcel(record)])
            assert outcome.delivered == ()
            assert outcome.problem.startswith("the server does not answer (")


def test_a_tracker_that_takes_too_long_is_ended(record: Record, tmp_path: Path) -> None:
    section = TrackerSection(kind="mlflow", folder=str(tmp_path / "runs"))
    outcome = send(section, [parcel(record)], seconds=0.01)
    assert outcome.delivered == ()
    assert outcome.problem == "the tracker took longer than 0 seconds"


def test_a_record_that_is_refused_does_not_hold_up_the_next(tmp_path: Path) -> None:
    first, second = (make_record(tmp_path / str(number), number) for number in (1, 2))
    (tmp_path / "1" / "record.json").write_text("{}")
    section = TrackerSection(kind="tensorboard", folder=str(tmp_path / "board"))
    outcome = send(section, [parcel(first), parcel(second)])
    assert outcome.delivered == ("record2",)
    assert outcome.problem.startswith("KeyError")


def test_credentials_are_taken_out_of_what_a_package_says() -> None:
    environment = {"MLFLOW_TRACKING_URI": "https://ann:pass-word@host/", "MY_TOKEN": "tok-123"}
    said = "401 for https://ann:pass-word@host/x?y (pass-word, tok-123, //ann:pass-word@h)"
    assert without_secrets(said, environment) == "401 for https://***@host/x?y (***, ***, //***@h)"


def test_no_tracker_is_imported_unless_it_is_used(tmp_path: Path) -> None:
    file = tmp_path / "benchmark.yaml"
    file.write_text("tracking: [{kind: mlflow}, {kind: wandb}, {kind: tensorboard}]\n")
    code = (
        "import sys; import patchcore_ops.tracking, patchcore_assets.assets.tracked_results\n"
        "from patchcore_assets.graph import define; from patchcore_ops.config import load_config\n"
        f"define(load_config({str(file)!r})).resolve_asset_graph()\n"
        "print({'mlflow', 'wandb', 'tensorboard', 'torch'} & set(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.stdout.strip() == "set()", ended.stderr
