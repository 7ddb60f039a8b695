"""The asset `evaluation`: there only where it is configured, stale only where something changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from pipeline_kit import BY_CATEGORY, CATEGORY, OTHER, Configure, complete, execute, failures
from staleness_kit import Benched

from patchcore_assets.graph import EVALUATION_JOB, define
from patchcore_ops.config import load_config
from patchcore_ops.config.snapshot import configuration_hash, restore, snapshot
from patchcore_ops.runtime.errors import ConfigError


@pytest.fixture
def others(tiny_dataset: Path, tmp_path: Path) -> Path:
    """Return other images of one category."""
    shutil.copytree(tiny_dataset / CATEGORY / "test", tmp_path / "others" / CATEGORY / "test")
    return tmp_path / "others"


def test_it_is_there_only_where_a_dataset_is_named(configure: Configure, others: Path) -> None:
    without = define(load_config(configure()))
    named = load_config(configure(evaluation={"dataset": str(others)}))
    graph = define(named).resolve_asset_graph()
    key = dg.AssetKey("evaluation")
    assert key not in without.resolve_asset_graph().get_all_asset_keys()
    assert {one.to_user_string() for one in graph.get(key).parent_keys} == {
        "model",
        "evaluated",
        "metrics_config",
    }
    job = define(named).resolve_job_def(EVALUATION_JOB)
    assert [node.name for node in job.nodes] == ["evaluation"]


def test_a_named_model_is_used_instead_of_one_s_own(
    configure: Configure, others: Path, tmp_path: Path, pip_weights: None
) -> None:
    storage = complete(configure(), *BY_CATEGORY)
    shutil.copytree(storage / "model" / CATEGORY, tmp_path / "models" / CATEGORY)
    config = configure(evaluation={"dataset": str(others), "models": str(tmp_path / "models")})
    graph = define(load_config(config)).resolve_asset_graph()
    assert dg.AssetKey("model") not in graph.get(dg.AssetKey("evaluation")).parent_keys
    result = execute(config, "evaluation")
    assert result.success, failures(result)
    folder = storage / "evaluation" / CATEGORY
    of_benchmark = pd.read_parquet(storage / "test_predictions" / CATEGORY / "scores.parquet")
    found = pd.read_parquet(folder / "scores.parquet")
    pd.testing.assert_frame_equal(found, of_benchmark, check_exact=False, rtol=1e-5)
    assert (folder / "index.html").is_file()
    metrics = json.loads((folder / "metrics.json").read_text())
    expected = json.loads((storage / "category_metrics" / CATEGORY / "metrics.json").read_text())
    assert metrics["instance_auroc"] == expected["instance_auroc"]
    # A model that is no longer what was written is refused by name.
    index = tmp_path / "models" / CATEGORY / "0" / "index.faiss"
    index.write_bytes(index.read_bytes()[:-1] + b"!")
    [said] = failures(execute(config, "evaluation")).values()
    assert "index.faiss: is not what was written" in said
    # A category without a model, or without other images, is told where to put them.
    [said] = failures(execute(config, "evaluation", partition=OTHER)).values()
    assert f"{tmp_path / 'models' / OTHER}: is no model, for it has no model.json; copy one" in said
    shutil.copytree(storage / "model" / CATEGORY, tmp_path / "models" / OTHER)
    [said] = failures(execute(config, "evaluation", partition=OTHER)).values()
    assert said == (
        f"{others / OTHER}: no such folder; to evaluate {OTHER!r} on other images, put them below "
        "it as test/<label>"
    )


def test_other_images_make_their_category_s_evaluation_stale_and_nothing_else(
    tmp_path: Path, others: Path, pip_weights: None
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        benched = Benched(tmp_path / "bench", instance)
        benched.configure(evaluation={"dataset": str(others)})
        observe(benched)
        benched.make(*BY_CATEGORY, "evaluation", category=CATEGORY)
        stale = benched.stale()
        assert "evaluation" not in stale or CATEGORY not in stale["evaluation"]
        image = next((others / CATEGORY / "test" / "good").glob("*.png"))
        image.unlink()
        observe(benched)
        assert CATEGORY in benched.stale()["evaluation"]
        assert all(
            CATEGORY not in of for name, of in benched.stale().items() if name != "evaluation"
        )


def observe(benched: Benched) -> None:
    benched.observe()
    result = execute(benched.file, "evaluated", partition=None, instance=benched.instance)
    assert result.success, failures(result)


def test_the_section_is_checked_and_kept_with_a_run(
    configure: Configure, others: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.dataset: is missing; name the folder"):
        load_config(configure(evaluation={"models": "somewhere"}))
    with pytest.raises(ConfigError, match=r"evaluation\.dataset: must be a folder on this machine"):
        load_config(configure(evaluation={"dataset": "s3://bucket/images"}))
    with pytest.raises(ConfigError, match=r"evaluation\.data: unknown key"):
        load_config(configure(evaluation={"data": "x"}))
    config = load_config(configure(evaluation={"dataset": "others", "models": "models"}))
    assert config.evaluation is not None
    assert config.evaluation.dataset_root == others
    assert config.evaluation.models == tmp_path / "models"
    assert restore(snapshot(config)) == config
    assert configuration_hash(config) != configuration_hash(load_config(configure(evaluation={})))
