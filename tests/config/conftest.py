"""What the tests of the configuration share: a file, and a function that loads a text as it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from patchcore_ops.config import BenchmarkConfig, load_config


@pytest.fixture(autouse=True, scope="session")
def nothing_from_the_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PATCHCORE_DATASET_ROOT", "PATCHCORE_STORAGE_ROOT", "NOWHERE", "NO_SUCH"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bench.yaml"


@pytest.fixture
def load(file: Path) -> Callable[[str | bytes], BenchmarkConfig]:
    """Return a function that loads a configuration from its text or its bytes."""

    def load_text(text: str | bytes) -> BenchmarkConfig:
        file.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
        return load_config(file)

    return load_text
