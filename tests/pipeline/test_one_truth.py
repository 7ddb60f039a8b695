"""No figure, picture or setting stands beside another's, whatever is edited and made in between."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from bench_kit import Bench
from pipeline_kit import (
    BY_CATEGORY,
    CATEGORY,
    OTHER,
    SIDE,
    edited_while_at_work,
    failures,
)

from patchcore_assets.step.configuration import (
    CONFIGURATION,
    CONFIGURATION_FILE,
    CONFIGURATION_READ_BY,
    configuration_of_run,
)
from patchcore_ops.config import load_config
from patchcore_ops.config.snapshot import configuration_hash, restore, snapshot
from patchcore_ops.metrics.category import METRICS
from patchcore_ops.runtime.errors import ConfigError


def test_a_moved_image_takes_no_other_image_s_score(bench: Bench) -> None:
    before = bench.scores()
    stain = bench.dataset / CATEGORY / "test/stain/001.png"
    stain.rename(bench.dataset / CATEGORY / "test/good/z_from_stain.png")
    (bench.dataset / CATEGORY / "ground_truth/stain/001_mask.png").unlink()

    said = bench.refused("image_manifest", "test_predictions", "category_metrics")
    assert said == (
        f"{bench.dataset}/{CATEGORY}/ground_truth/stain/001_mask.png: is gone since image_manifest "
        "was made; materialise image_manifest and what follows it again"
    )
    pd.testing.assert_frame_equal(bench.scores(), before)

    bench.make(*BY_CATEGORY)
    now = bench.scores().set_index("path")["score"]
    right = before.set_index("path")["score"].rename(
        {f"{CATEGORY}/test/stain/001.png": f"{CATEGORY}/test/good/z_from_stain.png"}
    )
    pd.testing.assert_series_equal(now.sort_index(), right.sort_index(), rtol=1e-5)


def test_embeddings_and_an_index_of_other_embeddings_are_refused(bench: Bench) -> None:
    train = sorted((bench.dataset / CATEGORY / "train/good").iterdir())
    train[0].unlink()
    old, new = bench.data_version("memory_bank"), ""
    bench.make("image_manifest", "raw_embeddings")
    said = bench.refused("test_predictions")
    new = bench.data_version("raw_embeddings")
    assert re.fullmatch(
        rf"faiss_index of '{CATEGORY}' goes back to raw_embeddings of '{CATEGORY}' of \S+ "
        rf"\(version \w+\), and raw_embeddings of '{CATEGORY}' to that of \S+ \(version {new}\), "
        "so they do not belong together; materialise memory_bank and faiss_index again: dagster "
        "asset materialize -m patchcore_assets --select memory_bank,faiss_index --partition "
        f"{CATEGORY}",
        said,
    )
    bench.make("memory_bank", "faiss_index", "test_predictions")
    assert bench.data_version("memory_bank") != old


def test_what_is_behind_its_sources_is_used_and_said_to_be_behind(bench: Bench) -> None:
    bench.make(*BY_CATEGORY)
    before = bench.scores()
    (bench.dataset / CATEGORY / "test/good/000.png").unlink()
    result = bench.run("image_manifest", "test_predictions", "category_metrics")
    assert result.success, failures(result)
    pd.testing.assert_frame_equal(bench.scores(), before)
    said = [one.user_message for one in bench.instance.all_logs(result.run_id)]
    assert (
        "raw_embeddings is used as it is, though it was made from earlier versions of "
        "image_manifest; materialise raw_embeddings and what follows it to take the newer ones in"
    ) in said


def test_an_image_that_changed_after_the_manifest_is_not_embedded(bench: Bench) -> None:
    file = bench.dataset / CATEGORY / "test/good/000.png"
    file.write_bytes((bench.dataset / OTHER / "test/good/000.png").read_bytes())
    assert bench.refused("raw_embeddings") == (
        f"{file}: has changed since image_manifest was made; materialise image_manifest and what "
        "follows it again"
    )


def test_an_image_that_changes_while_it_is_embedded_is_noticed(
    bench: Bench,
) -> None:
    file = bench.dataset / CATEGORY / "train/good/000.png"
    other = (bench.dataset / OTHER / "train/good/000.png").read_bytes()
    with edited_while_at_work(lambda: file.write_bytes(other)):
        said = bench.refused("raw_embeddings")
    assert f"{file}: has changed since" in said


def test_metrics_do_not_take_another_mask_than_was_there(bench: Bench) -> None:
    masks = bench.dataset / CATEGORY / "ground_truth/hole"
    shutil.copy(masks / "001_mask.png", masks / "000_mask.png")
    said = bench.refused("category_metrics")
    assert said.startswith(f"{masks / '000_mask.png'}: has changed since image_manifest was made")


def test_a_refused_manifest_changes_nothing_but_its_checks(bench: Bench) -> None:
    bench.make("image_manifest")
    before = bench.data_version("image_manifest")
    train = bench.dataset / CATEGORY / "train/good/000.png"
    shutil.copy(train, bench.dataset / CATEGORY / "test/good/0000_copy.png")

    said = bench.refused(*BY_CATEGORY)
    assert said.startswith("1 test image is among the train images too")
    assert bench.data_version("image_manifest") == before == bench.known_version("image_manifest")
    kept = bench.storage / ".refused/image_manifest" / CATEGORY
    refused = pd.read_parquet(kept / "manifest.parquet")
    assert f"{CATEGORY}/test/good/0000_copy.png" in refused["path"].tolist()
    sidecar = json.loads((kept / "artefact.json").read_text(encoding="utf-8"))
    assert sidecar["provenance"]["refused"].startswith("1 test image is among")


def test_a_run_reads_its_configuration_once(bench: Bench) -> None:
    before = configuration_hash(load_config(bench.file))
    edited = {"dataset": {"imagesize": 32}, "scoring": {"anomaly_scorer_num_nn": 3}}
    metrics = bench.storage / "category_metrics" / CATEGORY / "metrics.json"
    right = json.loads(metrics.read_text(encoding="utf-8"))

    with edited_while_at_work(lambda: bench.configure(**edited)):
        result = bench.run(*BY_CATEGORY)
    assert result.success, failures(result)
    now = json.loads(metrics.read_text(encoding="utf-8"))
    assert [now[name] for name in METRICS] == [right[name] for name in METRICS]
    run = bench.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[CONFIGURATION] == before
    kept = Path(run.tags[CONFIGURATION_FILE])
    assert configuration_hash(restore(kept.read_text(encoding="utf-8"))) == before
    assert kept.parent == bench.storage / ".configurations"

    # Afterwards the change shows as staleness, without anybody having looked.
    stale = bench.instance.fetch_observations(dg.AssetKey("scoring_config"), limit=1).records
    assert stale[0].asset_observation is not None
    version = (stale[0].asset_observation.tags or {})["dagster/data_version"]
    used = bench.instance.fetch_materializations(dg.AssetKey("test_predictions"), limit=1).records
    assert used[0].asset_materialization is not None
    tags = used[0].asset_materialization.tags or {}
    assert tags["dagster/input_data_version/scoring_config"] != version


def test_a_run_that_continues_reads_what_the_failed_one_has_read(bench: Bench) -> None:
    result = bench.run("image_manifest")
    run = bench.instance.get_run_by_id(result.run_id)
    assert run is not None
    began_with = configuration_hash(load_config(bench.file))
    bench.configure(coreset={"percentage": 0.5})
    now = configuration_hash(load_config(bench.file))

    def read_by_a_child(**tags: str) -> str:
        job = dg.GraphDefinition("g").to_job(name="job")
        child = bench.instance.create_run_for_job(
            job,
            parent_run_id=run.run_id,
            root_run_id=run.run_id,
            tags={**{key: run.tags[key] for key in KEPT}, **tags},
        )
        config, _ = configuration_of_run(bench.instance, child, str(bench.file))
        return configuration_hash(config)

    assert read_by_a_child(**{"dagster/is_resume_retry": "true"}) == began_with
    assert read_by_a_child(**{"dagster/retry_number": "1"}) == began_with
    assert read_by_a_child() == now, "whoever starts anew reads the file as it is"

    shutil.rmtree(bench.storage / ".configurations")
    with pytest.raises(ConfigError, match="is gone; start a new run"):
        read_by_a_child(**{"dagster/is_resume_retry": "true"})


def test_steps_in_processes_of_their_own_use_one_configuration(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from job_in_processes import two_steps

    monkeypatch.setenv("PATCHCORE_CONFIG", str(bench.file))
    manifest = bench.storage / "image_manifest" / CATEGORY
    before = manifest.readlink()
    (tmp_path / "home").mkdir()
    (tmp_path / "home/dagster.yaml").write_text("telemetry: {enabled: false}\n")

    def edit_between_the_steps() -> None:
        until = time.monotonic() + 120
        while manifest.readlink() == before and time.monotonic() < until:
            time.sleep(0.01)
        bench.configure(dataset={"imagesize": 32})

    editor = threading.Thread(target=edit_between_the_steps)
    editor.start()
    with (
        dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance,
        dg.execute_job(
            dg.reconstructable(two_steps),
            instance=instance,
            tags={"dagster/partition": CATEGORY},
        ) as result,
    ):
        editor.join()
        assert result.success
    assert load_config(bench.file).for_category(CATEGORY).dataset.imagesize == 32
    settings = bench.storage / "raw_embeddings" / CATEGORY / "settings.json"
    assert json.loads(settings.read_text(encoding="utf-8"))["dataset"]["imagesize"] == SIDE


KEPT = (CONFIGURATION, CONFIGURATION_FILE, CONFIGURATION_READ_BY)


def test_a_snapshot_says_everything(bench: Bench) -> None:
    bench.configure(
        dataset={"max_pixels": 123_456},
        overrides={OTHER: {"coreset": {"percentage": 0.5}}},
        schedule={"cron": "5 4 * * *"},
        tracking=[{"kind": "wandb", "project": "p", "folder": "x"}],
    )
    config = load_config(bench.file)
    assert restore(snapshot(config)) == config
