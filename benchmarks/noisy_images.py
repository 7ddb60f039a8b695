"""A category of any size: its real train images, and beyond them the same ones with noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_NOISE_LEVELS = 4.0
_QUALITY = 95


def make_category(data: str, category: str, target: str, images: int) -> dict[str, Any]:
    """Write the train images of an enlarged category; its test images are links. A task.

    Repeated images are saved as JPEG, in full size, with Gaussian noise of `_NOISE_LEVELS` grey
    levels.
    """
    import numpy as np
    from PIL import Image

    from benchmarks.workloads import image_files

    source, copy = Path(data) / category, Path(target) / category
    train = copy / "train" / "good"
    train.mkdir(parents=True)
    for part in ("test", "ground_truth"):
        if (source / part).is_dir():
            (copy / part).symlink_to((source / part).resolve())
    real = image_files(source / "train" / "good")
    generator = np.random.default_rng(0)
    for number in range(images):
        original = real[number % len(real)]
        if number < len(real):
            (train / f"{number:06d}{original.suffix}").symlink_to(original.resolve())
            continue
        with Image.open(original) as opened:
            pixels = np.asarray(opened.convert("RGB"), dtype=np.float32)
        noise = _NOISE_LEVELS * generator.standard_normal(pixels.shape, dtype=np.float32)
        noisy = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(train / f"{number:06d}.jpg", quality=_QUALITY)
    return {}
