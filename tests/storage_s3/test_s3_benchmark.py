"""The whole benchmark with its artefacts in a bucket."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest
from faulty_proxy import Proxy
from pipeline_kit import BY_CATEGORY, CATEGORY, OVER_ALL, execute, failures, write_config
from s3_kit import Bucket

from patchcore_assets.storage import open_store

DATED = "benchmark_report"


@pytest.mark.usefixtures("pip_weights")
def test_a_benchmark_in_a_bucket_gives_what_one_on_disk_gives(
    bucket: Bucket, proxy: Proxy, tiny_dataset: Path, tmp_path: Path
) -> None:
    versions = {}
    for root in (str(tmp_path / "storage"), bucket.root):
        config = write_config(tmp_path / "benchmark.yaml", tiny_dataset, storage={"root": root})
        proxy.forget()
        instance = dg.DagsterInstance.ephemeral()
        result = execute(config, *BY_CATEGORY, *OVER_ALL, instance=instance)
        assert result.success, failures(result)
        store = open_store(root)
        versions[root] = {}
        for asset in (*BY_CATEGORY, *OVER_ALL):
            with store.open(asset, CATEGORY if asset in BY_CATEGORY else None) as artefact:
                versions[root][asset] = artefact.data_version
    on_disk, in_bucket = versions.values()
    assert {**in_bucket, DATED: ""} == {**on_disk, DATED: ""}

    read = [request.path for request in proxy.requests if request.method == "GET"]
    files = [path for path in read if not path.endswith(".json") and "list-type" not in path]
    assert files == [], "what the run has written, it reads from the cache"
    assert bucket.files("metrics")["metrics.csv"].startswith(b"category,")
    assert "0/features.npy" in bucket.files(f"memory_bank/{CATEGORY}")
    [event] = result.asset_materializations_for_node("metrics")
    assert event.metadata["location"].value == store.location("metrics", None)
    assert store.location("metrics", None) == f"{bucket.root}/metrics/{bucket.version('metrics')}"


@pytest.mark.usefixtures("pip_weights")
def test_no_credential_gets_into_history_or_artefacts(
    bucket: Bucket, tiny_dataset: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "benchmark.yaml", tiny_dataset, storage={"root": bucket.root})
    with dg.DagsterInstance.ephemeral() as instance:
        result = execute(config, "image_manifest", instance=instance)
        assert result.success, failures(result)
        refused = write_config(
            tmp_path / "benchmark.yaml",
            tiny_dataset,
            storage={"root": "s3://no-such-bucket-here/x"},
        )
        failed = execute(refused, "image_manifest", instance=instance)
        assert "NoSuchBucket" in failures(failed)["image_manifest"]
        said = "".join(
            str(record) for run in (result, failed) for record in instance.all_logs(run.run_id)
        )
    kept = json.dumps({name: repr(content) for name, content in bucket.objects().items()})
    for secret in ("testing-secret", "Signature", "X-Amz"):
        assert secret not in said
        assert secret not in kept
