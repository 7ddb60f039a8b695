"""What a full or failing disk, missing rights and missing memory say."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from patchcore_assets.step.failures import memory_limits_named
from patchcore_assets.storage import StorageProblem
from patchcore_assets.storage.local.problems import storage_problems
from patchcore_ops.runtime.errors import EnvironmentProblem


@pytest.mark.parametrize(
    ("error", "beginning"),
    [
        (OSError(errno.ENOSPC, ""), "ROOT: no room left while bank of 'c' was written (No space"),
        (OSError(errno.EDQUOT, ""), "ROOT: no room left while bank of 'c' was written (Disk quota"),
        (OSError(errno.EIO, ""), "ROOT: the disk failed while bank of 'c' was written (Input/out"),
        (OSError(errno.EROFS, "", "ROOT/x"), "ROOT/x: cannot be written (Read-only file system); "),
        (PermissionError(errno.EACCES, "", "ROOT/x"), "ROOT/x: cannot be written (Permission "),
        (NotADirectoryError(errno.ENOTDIR, "", "ROOT/x"), "ROOT/x: cannot be written (Not a dir"),
        (OSError(errno.ENAMETOOLONG, "", "ROOT/x"), "ROOT/x: the path of bank of 'c' is longer th"),
        (OSError(errno.ENOLCK, ""), "ROOT: the file system has no locks (No locks available); "),
        (OSError(errno.ENOTSUP, ""), "ROOT: the file system lacks locks or symbolic links (Oper"),
        (OSError(errno.EROFS, "", "../x", None, "ROOT/y"), "ROOT/y: cannot be written (Read-only"),
        (RuntimeError("fwrite: No space left on device"), "ROOT: no room left while bank of 'c'"),
    ],
)
def test_what_a_storage_cannot_do_is_one_sentence(
    tmp_path: Path, error: OSError | RuntimeError, beginning: str
) -> None:
    if isinstance(error, OSError) and error.filename:
        error.filename = error.filename.replace("ROOT", str(tmp_path))
    if isinstance(error, OSError) and error.filename2:
        error.filename2 = error.filename2.replace("ROOT", str(tmp_path))
    with (
        pytest.raises(StorageProblem) as problem,
        storage_problems(tmp_path, "bank of 'c'", "storage.root"),
    ):
        raise error
    assert str(problem.value).startswith(beginning.replace("ROOT", str(tmp_path)))
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "", "/data/images/001.png"),
        OSError(errno.EIO, "", "/data/images/001.png"),
        FileNotFoundError(errno.ENOENT, "", "/nowhere"),
        OSError("something"),
        RuntimeError("something"),
        TimeoutError(errno.ETIMEDOUT, ""),
    ],
)
def test_what_is_not_the_storages_fault_stays_what_it_is(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(type(error)) as raised,
        storage_problems(tmp_path, "bank of 'c'", "storage.root"),
    ):
        raise error
    assert raised.value is error


def numpy_memory() -> None:
    np.ones(1 << 60, dtype=np.int8)


def torch_memory() -> None:
    import torch

    torch.ones(1 << 50)


@pytest.mark.parametrize("allocate", [numpy_memory, torch_memory])
def test_memory_that_runs_out_names_what_takes_less(allocate: Callable[[], None]) -> None:
    advice = "lower runtime.batch_size"
    with (
        pytest.raises(EnvironmentProblem) as problem,
        memory_limits_named("raw_embeddings", advice),
    ):
        allocate()
    assert str(problem.value) == (
        "raw_embeddings: the memory that this process may use is not enough; lower "
        "runtime.batch_size, or give it more memory, then run again"
    )


@pytest.mark.parametrize("error", [RuntimeError("no"), ValueError("out of memory"), OSError("no")])
def test_another_error_is_no_lack_of_memory(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, memory_limits_named("memory_bank", ""):
        raise error
    assert raised.value is error
