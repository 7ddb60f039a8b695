"""A category in shards: the same artefacts, made in pieces that outlive a killed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from pipeline_kit import (
    CATEGORY,
    DIMENSION,
    GRID,
    TEST_IMAGES,
    TRAIN_IMAGES,
    UP_TO_PREDICTIONS,
    Configure,
    complete,
    contents,
    execute,
    failures,
    write_config,
)

from patchcore_assets.step.shards import make_shard
from patchcore_ops.runtime.rows import open_rows
from patchcore_ops.stages.layout import read_images

IN_SHARDS = {"images_per_shard": 3}


@pytest.fixture(scope="module")
def whole(pip_weights: None, tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the artefacts of a category in one part, up to its predictions."""
    file = tmp_path_factory.mktemp("whole") / "benchmark.yaml"
    return complete(write_config(file, tiny_dataset), *UP_TO_PREDICTIONS)


def test_shards_change_how_embeddings_are_kept_and_nothing_else(
    configure: Configure, whole: Path
) -> None:
    shards = complete(configure(runtime=IN_SHARDS), *UP_TO_PREDICTIONS)
    of_whole, of_shards = (folder / "raw_embeddings" / CATEGORY for folder in (whole, shards))
    for name, images, files in (
        ("embeddings.npy", TRAIN_IMAGES, 3),
        ("test_embeddings.npy", TEST_IMAGES, 4),
    ):
        expected = np.load(of_whole / "0" / name)
        rows = open_rows(of_shards / "0" / name)
        assert rows.shape == (images * GRID * GRID, DIMENSION)
        np.testing.assert_array_equal(rows.read(0, len(rows)), expected)
        assert len(list(of_shards.glob(f"0/{Path(name).stem}-*.npy"))) == files
    assert read_images(of_whole).equals(read_images(of_shards))
    for asset in UP_TO_PREDICTIONS[2:]:
        results = [contents(folder / asset / CATEGORY) for folder in (whole, shards)]
        for files in results:
            files.pop("artefact.json")
        assert results[0] == results[1]
    assert not list((shards / "raw_embeddings_shards").iterdir())


def test_a_killed_run_goes_on_at_its_last_finished_shard(configure: Configure, whole: Path) -> None:
    config = configure(runtime=IN_SHARDS)
    storage = complete(config, "image_manifest")
    child = (
        "import sys; from pathlib import Path; import torch; from pipeline_kit import execute; "
        # As here: how torch rounds depends on its threads.
        "torch.set_num_threads(1); execute(Path(sys.argv[1]), 'raw_embeddings')"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", child, str(config)], env={**os.environ, "PYTHONPATH": paths}
    )
    kept = storage / "raw_embeddings_shards"
    until = time.monotonic() + 60
    while not (kept.is_dir() and any(not link.name.startswith(".") for link in kept.iterdir())):
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made_before = [link for link in kept.iterdir() if link.is_symlink()]
    assert 0 < len(made_before) < 7
    made = {file.stat().st_ino for link in made_before for file in link.glob("0/*.npy")}
    assert not (storage / "raw_embeddings" / CATEGORY).exists()

    result = execute(config, "raw_embeddings")
    assert result.success, failures(result)
    rows = open_rows(storage / "raw_embeddings" / CATEGORY / "0" / "embeddings.npy")
    np.testing.assert_array_equal(
        rows.read(0, len(rows)), np.load(whole / "raw_embeddings" / CATEGORY / "0/embeddings.npy")
    )
    # What was made before is linked in, not made again; a shard has files of one split with rows.
    used = {file.stat().st_ino for file in rows.path.parent.glob("*embeddings-*.npy")}
    assert len(used & made) == len(made_before)
    assert not list(kept.iterdir())


def test_what_does_not_fit_into_float16_is_refused(tmp_path: Path) -> None:
    from patchcore_ops.runtime.errors import ConfigError
    from patchcore_ops.stages.raw_embeddings import _storable

    fits = np.array([[65504.0, -65504.0]], dtype=np.float32)
    assert _storable(fits, "float16") is fits
    with pytest.raises(ConfigError, match=r"embedding\.storage: float16 holds values up to 65,504"):
        _storable(np.array([[-70000.0]], dtype=np.float32), "float16")
    assert _storable(np.array([[70000.0]], dtype=np.float32), "float32").max() == 70000


def test_float16_is_kept_and_read_as_float32(configure: Configure, whole: Path) -> None:
    half = complete(configure(embedding={"storage": "float16"}), *UP_TO_PREDICTIONS)
    names = ("raw_embeddings", CATEGORY, "0", "embeddings.npy")
    expected = np.load(whole.joinpath(*names)).astype(np.float16)
    assert np.load(half.joinpath(*names)).dtype == np.float16
    np.testing.assert_array_equal(np.load(half.joinpath(*names)), expected)
    rows = np.load(half / "memory_bank" / CATEGORY / "0" / "features.npy")
    picks = np.load(half / "memory_bank" / CATEGORY / "0" / "indices.npy")
    np.testing.assert_array_equal(rows, expected.astype(np.float32)[picks])


def test_a_shard_of_another_version_than_the_step_has_read_is_refused(
    configure: Configure, pip_weights: None
) -> None:
    config = configure(coreset={"shards": 2})
    complete(config, *UP_TO_PREDICTIONS[:2])
    others: list[str] = []

    def make_while_another_run_ends(*arguments: Any) -> None:
        if not others:
            others.append("raw_embeddings")
            configure(embedding={"patchsize": 1})
            complete(config, "raw_embeddings")
        make_shard(*arguments)

    with mock.patch("patchcore_assets.step.shards.make_shard", make_while_another_run_ends):
        [said] = failures(execute(config, "memory_bank")).values()
    assert said.startswith("raw_embeddings of 'fabric_a' was made again while memory_bank"), said
