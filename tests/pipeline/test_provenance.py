"""What every artefact's sidecar says about how it came about, and where people see it."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pipeline_kit import BY_CATEGORY, CATEGORY, OVER_ALL, Finished, Metadata

from patchcore_assets.graph import define
from patchcore_assets.inputs.versions import INPUTS
from patchcore_assets.step.lineage import by_asset, lineage_over_categories
from patchcore_assets.storage import Artefact
from patchcore_ops.config import load_config
from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.stages import provenance
from patchcore_ops.stages.benchmark_report import _facts
from patchcore_ops.stages.provenance import PACKAGES, package_versions, provenance_of_step

OF_ITSELF = (
    "run_id",
    "code_version",
    "packages",
    "python",
    "platform",
    "cpu",
    "device",
    "threads",
    "runtime",
)
NAMED_PACKAGES = {"dagster", "faiss-cpu", "numpy", "openvino", "pandas", "pillow", "timm"}
NAMED_PACKAGES |= {"patchcore-assets", "pyarrow", "safetensors", "scipy", "torch", "torchvision"}
CONFIGS = {
    "raw_embeddings": "embedding_config",
    "memory_bank": "coreset_config",
    "faiss_index": "index_config",
    "test_predictions": "scoring_config",
    "category_metrics": "metrics_config",
    "score_calibration": "calibration_config",
}


@pytest.fixture(scope="module")
def sidecars(finished: Finished) -> dict[str, dict[str, Any]]:
    return {
        asset: json.loads((finished.folder(asset) / "artefact.json").read_text())
        for asset in (*BY_CATEGORY, *OVER_ALL)
    }


@pytest.mark.parametrize("asset", [*BY_CATEGORY, *OVER_ALL])
def test_a_sidecar_says_with_what_its_artefact_was_made(
    sidecars: dict[str, dict[str, Any]], asset: str
) -> None:
    provenance = sidecars[asset]["provenance"]
    assert all(provenance[key] for key in OF_ITSELF), provenance
    packages = dict(one.split("==") for one in provenance["packages"].split())
    assert packages.keys() >= NAMED_PACKAGES
    assert packages == {name: metadata.version(name) for name in packages}
    assert provenance["python"] == platform.python_version()
    assert platform.machine() in provenance["platform"]
    assert provenance["device"] == "cpu"
    assert provenance["threads"].isdigit()
    begins = "device=cpu, engine=auto, batch_size=8, num_workers=0, "
    assert provenance["runtime"].startswith(begins)


def test_a_sidecar_names_every_input_and_artefact_above(
    finished: Finished, sidecars: dict[str, dict[str, Any]]
) -> None:
    config = load_config(finished.site.config)
    graph = define(config).resolve_asset_graph()
    versions = {
        one.key.to_user_string(): one.version_of(config, CATEGORY, _hash)
        for one in INPUTS
        if one.kind == "yaml"
    }
    versions |= {asset: sidecars[asset]["data_version"] for asset in BY_CATEGORY}
    for asset in BY_CATEGORY:
        above = {
            key.to_user_string()
            for key in graph.get_ancestor_asset_keys(dg.AssetKey(asset))
            if key.to_user_string() != asset
        }
        provenance = sidecars[asset]["provenance"]
        for name in above:
            version = provenance[f"{name}.data_version"]
            assert re.fullmatch("[0-9a-f]{16}", version), (asset, name)
            assert version == versions.get(name, version), (asset, name)
            if name in BY_CATEGORY:
                for key in OF_ITSELF:
                    inherited = provenance[f"{name}.{key}"]
                    assert inherited == sidecars[name]["provenance"][key], (asset, name, key)
        if "raw_embeddings" in above:
            assert re.fullmatch("[0-9a-f]{64}", provenance["raw_embeddings.weights_sha256_0"])
    for asset, config_asset in CONFIGS.items():
        assert f"{config_asset}.data_version" in sidecars[asset]["provenance"]


def test_table_and_report_name_what_each_category_was_made_from(
    sidecars: dict[str, dict[str, Any]],
) -> None:
    of_category = sidecars["category_metrics"]
    above = {
        key: value
        for key, value in of_category["provenance"].items()
        if key.endswith(".data_version") or "weights_sha256" in key
    }
    expected = {
        f"{asset}.{CATEGORY}.{what}": value
        for key, value in above.items()
        for asset, _, what in [key.partition(".")]
    } | {f"category_metrics.{CATEGORY}.data_version": of_category["data_version"]}
    for asset in OVER_ALL:
        provenance = sidecars[asset]["provenance"]
        assert provenance.items() >= expected.items(), asset
    report = sidecars["benchmark_report"]["provenance"]
    assert report["metrics.data_version"] == sidecars["metrics"]["data_version"]


def test_dagster_shows_the_provenance_of_each_materialisation(
    finished_metadata: dict[str, Metadata], sidecars: dict[str, dict[str, Any]]
) -> None:
    for asset, shown in finished_metadata.items():
        value = shown["provenance"]
        assert isinstance(value, dg.JsonMetadataValue)
        assert value.data == by_asset(sidecars[asset]["provenance"]), asset


def test_reading_versions_imports_no_package() -> None:
    script = (
        "import sys; from patchcore_ops.stages.provenance import environment, provenance_of_step\n"
        "from patchcore_ops.config.sections import RuntimeSection\n"
        "environment(); provenance_of_step(RuntimeSection(), 'cpu')\n"
        "print(*sorted({'torch', 'faiss', 'numpy', 'pandas', 'dagster'} & {*sys.modules}))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_packages_that_are_not_installed_are_left_out() -> None:
    there = {name for name in PACKAGES if _is_installed(name)}
    assert set(package_versions()) == there


def test_threads_are_the_processors_that_the_step_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert provenance_of_step(RuntimeSection(), "cpu")["threads"] == "7"


def test_an_editor_that_has_a_file_open_is_no_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stages").mkdir()
    file = tmp_path / "stages" / "predictions.py"
    file.write_text("A = 1\n")
    monkeypatch.setattr(provenance, "__file__", str(file))
    source_hash = provenance.source_hash.__wrapped__
    saved = source_hash()
    # So Emacs marks a file.
    file.with_name(".#predictions.py").symlink_to("someone@somewhere.1:2")
    assert source_hash() == saved
    file.write_text("A = 2\n")
    assert source_hash() != saved


def test_lineage_over_categories_leaves_out_what_an_unpartitioned_artefact_was_made_from() -> None:
    read = [
        Artefact("a", "x.y", Path(), {}, {"run_id": "r", "in.data_version": "1"}),
        Artefact("table", None, Path(), {}, {"run_id": "r", "a.x.y.data_version": "2"}),
    ]
    lineage = lineage_over_categories(read)
    assert set(lineage) == {"in.x.y.data_version", "a.x.y.data_version", "table.data_version"}


def test_the_report_says_once_what_is_the_same_for_all_assets() -> None:
    lineage = {
        "a.packages": "torch==1",
        "b.packages": "torch==1",
        "a.threads": "1",
        "b.threads": "2",
        "a.weights_sha256_0": "0f",
        "a.data_version": "3",
        "a.run_id": "4",
    }
    assert _facts(lineage) == {
        "packages": "torch==1",
        "a.threads": "1",
        "b.threads": "2",
        "a.weights_sha256_0": "0f",
    }


def _is_installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _hash(file: Path) -> str:
    raise AssertionError(f"{file}: the configuration has no local weights")
