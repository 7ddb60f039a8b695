"""Images decoded ahead: in order, in batches, and with the name of the file that cannot be read."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchcore_ops.config.sections import ImageSize
from patchcore_ops.dataset import image_stream, load_image
from patchcore_ops.dataset.image_stream import ImageStream
from patchcore_ops.runtime.errors import DatasetError

SIZE = ImageSize(resize=32, imagesize=24)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return eleven image files of different content and shape, not in order of their names."""
    folder = tmp_path_factory.mktemp("numbered")
    paths = [folder / f"{(7 * number) % 11}.png" for number in range(11)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 40 + 9 * number, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("num_workers", [0, 4])
def test_batches_keep_the_order(numbered: list[Path], batch_size: int, num_workers: int) -> None:
    with ImageStream(numbered, SIZE, num_workers) as stream:
        batches = list(stream.batches(len(numbered), batch_size))
    assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    assert all(batch.dtype == np.uint8 and batch.shape[1:] == (24, 24, 3) for batch in batches)
    expected = [load_image(path, SIZE) for path in numbered]
    np.testing.assert_array_equal(np.concatenate(batches), expected)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_parts_follow_each_other(numbered: list[Path], num_workers: int) -> None:
    with ImageStream(numbered, SIZE, num_workers) as stream:
        parts = [np.concatenate(list(stream.batches(count, 3))) for count in (4, 7)]
        assert list(stream.batches(0, 3)) == []
    assert [len(part) for part in parts] == [4, 7]
    expected = [load_image(path, SIZE) for path in numbered]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_decoding_starts_at_once_and_keeps_within_its_memory(
    numbered: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_stream, "_BYTES_AHEAD", 3 * 3 * 24 * 24)
    started: list[Path] = []
    third = threading.Event()

    def decode(path: Path, size: ImageSize) -> np.ndarray:
        started.append(path)
        if len(started) == 3:
            third.set()
        return load_image(path, size)

    monkeypatch.setattr(image_stream, "load_image", decode)
    with ImageStream(numbered, SIZE, 1) as stream:
        assert third.wait(timeout=30)
        for taken, _ in enumerate(stream.batches(len(numbered), 1), start=1):
            assert len(started) <= taken + 3
    assert started == numbered


@pytest.mark.parametrize("num_workers", [0, 3])
def test_every_corrupt_file_is_named_at_once(
    numbered: list[Path], tmp_path: Path, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_stream, "_BYTES_AHEAD", 3 * 2 * 24 * 24)
    corrupt = [tmp_path / f"corrupt_{at}.png" for at in range(5)]
    for file in corrupt[1:]:
        file.write_bytes(b"not a picture")
    mixed = [*numbered[:2], *corrupt[:3], *numbered[2:], *corrupt[3:]]
    with ImageStream(mixed, SIZE, num_workers) as stream, pytest.raises(DatasetError) as caught:
        for _ in stream.batches(len(mixed), 2):
            pass
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(file) for file in corrupt]
    assert "has vanished; materialise image_manifest again" in lines[0]
