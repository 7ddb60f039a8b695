"""What a storage will never do is said in one sentence, with the remedy and without a secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import s3fs
from s3_kit import Bucket, fresh
from store_kit import read

from patchcore_assets.commands.main import main
from patchcore_assets.storage import open_store
from patchcore_assets.storage.remote.errors import StorageRefused
from patchcore_ops.config import load_config
from patchcore_ops.runtime.errors import ConfigError


def refusal(root: str, machines: Path) -> str:
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageRefused) as refused:
        read(fresh(root, machines))
    return str(refused.value)


def test_a_bucket_that_is_not_there(machines: Path) -> None:
    assert refusal("s3://not-there-at-all/x", machines) == (
        "s3://not-there-at-all/x: the storage refuses (NoSuchBucket, HTTP status 404); see that "
        "the bucket exists, that the credentials in use (AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws, "
        "the machine's role) may read and write there, and that region and endpoint "
        "(AWS_DEFAULT_REGION, AWS_ENDPOINT_URL) are right"
    )


def test_no_credentials(bucket: Bucket, machines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "the storage refuses (NoCredentialsError); " in refusal(bucket.root, machines)


def test_an_endpoint_that_is_no_address(
    bucket: Bucket, machines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not an address")
    assert "the storage refuses (ValueError); " in refusal(bucket.root, machines)


@pytest.mark.parametrize(
    "root",
    ["s3://AKIAEXAMPLE:se/cret@bucket/x", "s3://AKIAEXAMPLE@bucket/x", "s3://b/x?X-Amz-Sig=cret"],
)
def test_credentials_in_the_root_are_refused_and_not_repeated(root: str, tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match="standard chain") as refused:
        open_store(root)
    file = tmp_path / "patchcore.yaml"
    file.write_text(f"storage: {{root: '{root}'}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"storage\.root") as mistaken:
        load_config(file)
    for said in (str(refused.value), str(mistaken.value)):
        assert "cret" not in said
        assert "AKIAEXAMPLE" not in said


def test_a_protocol_that_nobody_speaks(machines: Path) -> None:
    assert refusal("s33://bucket/x", machines).startswith(
        "s33://bucket/x: nothing here speaks the protocol 's33' (Protocol not known: s33"
    )


def test_a_missing_client_is_named() -> None:
    """In a process of its own, in which s3fs cannot be imported."""
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from patchcore_assets.storage import open_store\n"
        "try:\n    open_store('s3://bucket/x')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("StorageRefused s3://bucket/x: nothing here speaks the protocol 's3'")
    assert 'pip install "s3fs>=2024.12"' in said


def test_suspects_of_a_storage_that_is_down_are_a_sentence(
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "images" / "bottle").mkdir(parents=True)
    file = tmp_path / "patchcore.yaml"
    file.write_text(
        f"dataset: {{root: images, categories: [bottle]}}\nstorage: {{root: '{bucket.root}'}}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    assert main(["suspects", "--config", str(file)]) == 2
    assert capsys.readouterr().err == (
        f"{bucket.root}: the storage fails or is out of reach (EndpointConnectionError); run again "
        "when it answers\n"
    )
