"""The plan of a category, against arithmetic by hand."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from patchcore_ops.backbones.costs import cost_of
from patchcore_ops.checks.plan import NOT_KNOWN, fits_this_machine
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.embedding.exported_network import (
    ExportedNetwork,
    NetworksOfOneUse,
    network_settings,
)
from patchcore_ops.embedding.known_networks import KnownNetwork, known_networks
from patchcore_ops.runtime.fingerprints import file_hash
from patchcore_ops.runtime.machine import Machine
from patchcore_ops.stages.plan import Images, StagePlan, plan_stages

MACHINE = Machine("small", processors=2, memory=8 * 10**9, disk=60 * 10**9, speed=1e11)
CPU = RuntimeSection(device="cpu")
BOTTLE = Images(train=209, test=83, pixels=292 * 900 * 900)
LITE0 = {"backbone": "efficientnet_lite0", "layers": ["blocks.2", "blocks.4"]}


def configured(*members: dict[str, object], percentage: float = 0.1) -> CategoryConfig:
    return CategoryConfig.model_validate(
        {"embedding": {"members": list(members)}, "coreset": {"percentage": percentage}}
    )


def planned(
    images: Images, config: CategoryConfig, runtime: RuntimeSection = CPU
) -> list[StagePlan]:
    known = known_networks(config, NetworksOfOneUse(), file_hash)
    return plan_stages(images, known, config, runtime, MACHINE)


def test_rows_and_bytes_are_those_of_the_arrays() -> None:
    plan = planned(BOTTLE, configured(LITE0))
    assert [(stage.stage, stage.rows, stage.disk) for stage in plan] == [
        ("raw_embeddings", 292 * 784, 292 * 784 * 4096),
        ("memory_bank", 16_385, 16_385 * 4104),
        ("faiss_index", 16_385, 16_385 * 4096),
        ("test_predictions", 83 * 784, 83 * 224 * 224 * 4),
        ("category_metrics", 83, 0),
        ("score_calibration", 200 * 784, 0),
        ("model", None, 0),
    ]


def test_units_of_members_search_for_train_images_too() -> None:
    config = configured(LITE0, LITE0)
    scoring = config.scoring.model_copy(update={"ensemble": "leave_one_out"})
    by_units = planned(BOTTLE, config.model_copy(update={"scoring": scoring}))
    assert by_units[3].rows == 2 * (83 + 10) * 784
    assert planned(BOTTLE, config)[3].rows == 2 * 83 * 784
    assert by_units[3].disk == 83 * 224 * 224 * 4


def test_time_and_memory_by_hand() -> None:
    images = Images(train=10, test=2, pixels=1000)
    known = [KnownNetwork(patches=100, multiplications=1e9)]
    _, bank, index, found, metrics, calibration, model = plan_stages(
        images, known, configured(LITE0), CPU, MACHINE
    )
    projection, passes, distances = 1000 * 1024 * 128 * 2, 1000 * 250_000, 0.22 * 2 * 1e5 * 128
    alone = 35e9 + 130 * 100 * 4104
    assert bank.seconds == pytest.approx(((projection + passes + distances) / 2 + alone) / 1e11)
    assert index.memory == 400_000_000 + 2 * 100 * 4096
    # The bank is too small for bounds, so that all of it is scanned.
    pixels = 2 * 224 * 224
    scan = 2 * 200 * 100 * 1024 + 4000 * pixels
    assert found.seconds == pytest.approx((scan / 2 + 35e9 + 130 * pixels * 4) / 1e11)
    assert metrics.seconds == pytest.approx((35e9 + 12_000 * pixels) / 1e11)
    assert calibration.rows == 10 * 100
    scan, pixels = 2 * 1000 * 100 * 1024, 10 * 224 * 224
    assert calibration.seconds == pytest.approx(((scan + 4000 * pixels) / 2 + 35e9) / 1e11)
    assert model.seconds == pytest.approx(0.35)


def test_bottle_fits_a_small_machine() -> None:
    finding = fits_this_machine(planned(BOTTLE, configured(LITE0)), MACHINE)
    assert finding.passed, finding.sentence
    assert finding.sentence == ("By estimate, every stage fits the memory and the disk of small.")


def test_100_000_images_do_not() -> None:
    many = Images(train=100_000, test=1000, pixels=101_000 * 900 * 900)
    plan = planned(many, configured(LITE0, percentage=0.01))
    assert plan[0].disk == 101_000 * 784 * 4096
    finding = fits_this_machine(plan, MACHINE)
    assert not finding.passed
    assert not finding.is_error
    assert finding.sentence == (
        "This category takes about 43.5 GB for memory_bank, and a process of small has 8 GB of "
        "memory: raise coreset.shards or lower coreset.percentage. Its artefacts take about 331 "
        "GB, and 60 GB of disk are free: set embedding.storage: float16, lower "
        "coreset.percentage, or give the storage a larger disk."
    )


@pytest.mark.parametrize("backbone", [LITE0, {"backbone": "gernet_s", "layers": ["stages.1"]}])
def test_a_process_that_holds_no_stage_is_told_so(backbone: dict[str, object]) -> None:
    tiny = replace(MACHINE, memory=300 * 10**6)
    finding = fits_this_machine(planned(BOTTLE, configured(backbone)), tiny)
    assert not finding.passed
    assert "0.4 GB for model, and a process of small has 0.3 GB of memory: " in finding.sentence
    assert finding.sentence.endswith(" or give each process more memory.")


def test_a_bank_larger_than_memory_is_indexed_and_searched_by_parts() -> None:
    many = Images(train=100_000, test=1000, pixels=101_000)
    _, _, index, found, *_ = planned(many, configured(LITE0))
    assert index.disk == 7_840_000 * 4096
    assert index.memory == 400_000_000 + 2 * 512 * 2**20
    assert found.memory is not None
    assert found.memory < 2 * 10**9


def test_of_an_unknown_network_nothing_is_guessed() -> None:
    plan = planned(BOTTLE, configured(LITE0, {"backbone": "gernet_s", "layers": ["stages.1"]}))
    assert [stage.rows for stage in plan] == [None, None, None, None, 83, None, None]
    finding = fits_this_machine(plan, MACHINE)
    assert finding.passed
    assert NOT_KNOWN in finding.sentence


def test_a_network_that_was_exported_before_is_known(tmp_path: Path) -> None:
    config = configured({"backbone": "gernet_s", "layers": ["stages.1"]})
    settings = network_settings(config, 0, file_hash)
    ExportedNetwork(
        settings=settings, weights_sha256="", grid=(56, 40), first_dimensions=(0,)
    ).write(tmp_path)

    class Kept(NetworksOfOneUse):
        def kept(self, identity: str) -> nullcontext[Path | None]:  # type: ignore[override]
            return nullcontext(tmp_path if identity == settings.identity else None)

    assert known_networks(config, Kept(), file_hash) == [KnownNetwork(56 * 40, None)]
    plan = plan_stages(BOTTLE, [KnownNetwork(56 * 40, None)], config, CPU, MACHINE)
    assert plan[0].rows == 292 * 2240
    assert plan[0].seconds is None
    assert plan[1].seconds is not None


def test_times_on_a_gpu_are_not_known() -> None:
    plan = planned(BOTTLE, configured(LITE0), RuntimeSection(device="cuda"))
    assert [stage.seconds is None for stage in plan] == [True, True, *5 * [False]]


def test_the_side_of_a_grid_is_rounded_up() -> None:
    found = cost_of("resnet18.a1_in1k", ["layer2", "layer1"], 300)
    assert found is not None
    assert found.grid == (38, 38)
    assert cost_of("resnet18", ["layer2"], (300, 64)).grid == (38, 8)
    assert cost_of("resnet18", ["layer2", "layer2.0.conv1"], 224) is None
