"""Scores an image by what the note of an exported model says, with nothing of this project.

python note_follower.py <export> <image> <result.npz>
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnxruntime
from PIL import Image
from scipy.ndimage import gaussian_filter

Floats = Any


def sides(value: Any) -> tuple[int, int]:
    height, width = value if isinstance(value, list) else (value, value)
    return height, width


def crop(file: Path, preprocessing: Any) -> tuple[Floats, Floats]:
    """Return the input, and which of its pixels show the image."""
    image = Image.open(file).convert("RGB")
    height, width = sides(preprocessing["imagesize"])
    size = width, height
    if preprocessing["fit"] == "crop":
        scales = [Fraction(width, image.width), Fraction(height, image.height)]
        if isinstance(preprocessing["resize"], int):
            scales.append(Fraction(preprocessing["resize"], min(image.size)))
        else:
            scales.extend(map(Fraction, preprocessing["resize"], (image.height, image.width)))
        size = int(max(scales) * image.width), int(max(scales) * image.height)
    if preprocessing["fit"] == "pad":
        scale = min(Fraction(width, image.width), Fraction(height, image.height))
        size = int(scale * image.width), int(scale * image.height)
    resized = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    top, left = round((size[1] - height) / 2), round((size[0] - width) / 2)
    if preprocessing["fit"] == "pad":
        down, across = (-top, height + top - size[1]), (-left, width + left - size[0])
        seen = np.pad(np.ones(size[::-1], dtype=bool), (down, across))
        return np.pad(resized, (down, across, (0, 0))), seen
    cut = resized[top : top + height, left : left + width]
    return cut, np.ones((height, width), dtype=bool)


def continued(patches: Floats, seen: Floats) -> Floats:
    """Give patches whose centres are not in the image the score of the nearest that is."""
    rows, columns = (
        [int((cell + 0.5) * pixels / cells) for cell in range(cells)]
        for cells, pixels in zip(patches.shape, seen.shape, strict=True)
    )
    inner = np.argwhere(seen[np.ix_(rows, columns)])
    found = np.empty_like(patches)
    for place in np.ndindex(patches.shape):
        nearest = np.abs(inner - place).sum(axis=1).argmin()
        found[place] = patches[tuple(inner[nearest])]
    return found


def patch_scores(folder: Path, note: Any, member: Any, image: Floats, seen: Floats) -> Floats:
    scoring, network = note["scoring"], member["network"]
    session = onnxruntime.InferenceSession(
        folder / network["file"], providers=["CPUExecutionProvider"]
    )
    # Twice the image at once, of which the second is looked at: so rows are in the order told.
    both = np.stack([255 - image, image])
    (rows,) = session.run([network["output"]["name"]], {network["input"]["name"]: both})
    height, width = member["grid"]
    rows = rows[height * width :]
    index = faiss.read_index(str(folder / member["bank"]))
    bank = index.reconstruct_n().astype(np.float64)
    assert bank.shape == (member["bank_rows"], member["dimension"])
    distances = np.stack([np.sort(((bank - row) ** 2).sum(axis=1)) for row in rows])
    nearest = distances[:, : scoring["anomaly_scorer_num_nn"]]
    if scoring["distance"] == "root":
        nearest = np.sqrt(np.maximum(nearest, 0))
    return continued(nearest.mean(axis=1).reshape(height, width), seen)


def judged(note: Any, patches: Floats, seen: Floats) -> tuple[Floats, Floats]:
    scoring = note["scoring"]
    size = sides(note["preprocessing"]["imagesize"])
    enlarged = Image.fromarray(patches.astype(np.float32)).resize(
        size[::-1], Image.Resampling.BILINEAR
    )
    score = patches.max()
    if scoring["image_score"] == "smoothed_max":
        score = gaussian_filter(np.asarray(enlarged), scoring["image_smoothing_sigma"])[seen].max()
    anomaly_map = gaussian_filter(np.asarray(enlarged), scoring["smoothing_sigma"])
    return score, np.where(seen, anomaly_map, np.nan)


def scaled(value: Floats, limits: list[float] | None) -> Floats:
    if limits is None:
        return value
    low, high = limits
    return (value - low) / (high - low)


def main() -> None:
    folder, file, result = map(Path, sys.argv[1:])
    note = json.loads((folder / "export.json").read_text())
    image, seen = crop(file, note["preprocessing"])
    scores, maps = [], []
    members = note["members"]
    of_members = [
        patch_scores(folder / str(number), note, member, image, seen)
        for number, member in enumerate(members)
    ]
    if units := [member["unit"] for member in members if member.get("unit")]:
        divided = [patches / unit for patches, unit in zip(of_members, units, strict=True)]
        of_members, members = [np.mean(divided, axis=0)], [{"score_range": None, "map_range": None}]
    for member, patches in zip(members, of_members, strict=True):
        score, anomaly_map = judged(note, patches, seen)
        scores.append(scaled(score, member["score_range"]))
        maps.append(scaled(anomaly_map, member["map_range"]))
    np.savez(result, score=np.mean(scores), map=np.mean(maps, axis=0))
    sys.stdout.write(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))


if __name__ == "__main__":
    main()
