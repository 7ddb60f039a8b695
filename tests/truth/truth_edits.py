"""Random things that people do to a benchmark, in any order."""

from __future__ import annotations

import random
from pathlib import Path

from truth_site import BY_CATEGORY, CATEGORIES, OVER_ALL, POOL, SIDE, Site, content, mask

_SETTINGS = {
    "dataset.imagesize": [SIDE, SIDE - 16],
    "layers": [["layer1", "layer2"], ["layer2"], ["layer2", "layer1"]],
    "embedding.patchsize": [1, 3],
    "embedding.target_embed_dimension": [16, 12],
    "coreset.percentage": [0.1, 0.3],
    "coreset.sampler": ["approx_greedy_coreset", "random", "identity"],
    "coreset.seed": [0, 1],
    "index.factory": ["Flat", "IVF1,Flat"],
    "scoring.anomaly_scorer_num_nn": [1, 3],
    "scoring.smoothing_sigma": [4.0, 1.0],
    "metrics.aupro_fpr_limit": [0.3, 0.1],
    "metrics.mask_threshold": [0.5, 0.9],
}
_LABELS = ("test/good", "test/dent", "test/spot")
# What is done, and how often of 16 times.
_STEPS = {
    "edit images": 3,
    "edit settings": 3,
    "edit and run some": 3,
    "run": 4,
    "run all": 1.5,
    "edit during a run": 1.5,
    "kill": 1,
}


class Editor:
    """Draws and does one thing after the other; `done` says what, for people."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.done: list[str] = []
        self._draw = random.Random(seed)
        self._serial = 100

    def step(self) -> dict[str, str]:
        """Do one thing; returns what failed steps of a run have said."""
        [kind] = self._draw.choices(list(_STEPS), list(_STEPS.values()))
        category = self._draw.choice(CATEGORIES)
        if kind == "edit images":
            self._edit_images()
        elif kind == "edit settings":
            self._edit_settings()
        elif kind == "edit and run some":
            self._edit_images(category)
            chosen = [asset for asset in BY_CATEGORY[1:] if self._draw.random() < 0.5]
            return self._run(["image_manifest", *chosen], category)
        elif kind == "run":
            return self._run(*self._selection())
        elif kind == "run all":
            return self.run_all()
        elif kind == "edit during a run":
            edit = self._draw.choice([self._edit_images, self._edit_settings])
            assets = list(BY_CATEGORY[self._draw.choice([0, 0, 1]) :])
            self.done.append(f"run {', '.join(assets)} of {category} and meanwhile:")
            return self.site.run(assets, category, edit)
        else:
            assets, chosen_category = self._selection()
            after = self._draw.uniform(0.05, 1.5)
            self.done.append(f"kill {', '.join(assets)} of {chosen_category} after {after:.2f} s")
            self.site.run_and_kill(assets, chosen_category, after)
        return {}

    def run_all(self) -> dict[str, str]:
        """Benchmark every category, then table and report."""
        said = {}
        for category in CATEGORIES:
            said.update(self._run(list(BY_CATEGORY), category))
        return {**said, **self._run(list(OVER_ALL), None)}

    def _run(self, assets: list[str], category: str | None) -> dict[str, str]:
        self.done.append(f"run {', '.join(assets)} of {category}")
        return self.site.run(assets, category)

    def _selection(self) -> tuple[list[str], str | None]:
        if self._draw.random() < 0.35:
            return self._draw.choice([list(OVER_ALL), ["metrics"], ["benchmark_report"]]), None
        chosen = [asset for asset in BY_CATEGORY if self._draw.random() < 0.55]
        if self._draw.random() < 0.3:
            chosen = list(BY_CATEGORY[self._draw.randrange(len(BY_CATEGORY)) :])
        return chosen or ["image_manifest"], self._draw.choice(CATEGORIES)

    def _edit_settings(self) -> None:
        """Change one setting, for all categories or for one."""
        key = self._draw.choice(list(_SETTINGS))
        value = self._draw.choice(_SETTINGS[key])
        if key != "layers" and self._draw.random() < 0.3:
            key = f"overrides.{self._draw.choice(CATEGORIES)}.{key}"
        self.site.configure({key: value})
        self.done.append(f"set {key} to {value}")

    def _edit_images(self, category: str | None = None) -> None:
        """Add, move, remove or replace one image or mask."""
        category = category or self._draw.choice(CATEGORIES)
        kinds = ("add", "move", "remove", "replace", "copy into test", "other mask", "misfit")
        [kind] = self._draw.choices(kinds, [2, 2, 1, 2, 1, 1, 0.5])
        pattern = {
            "move": "test/*/*.png",
            "copy into test": "train/*/*.png",
            "other mask": "ground_truth/*/*.png",
            "misfit": "ground_truth/*/*.png",
        }.get(kind, "t*/*/*.png")
        there = sorted((self.site.dataset / category).glob(pattern))
        number = self._draw.randrange(POOL)
        self._serial += 1
        name = f"{self._draw.choice('0az')}{self._serial}"
        if kind == "add":
            label = self._draw.choice(["train/good", *_LABELS])
            self.site.put_image(category, label, name, number)
            self.done.append(f"add {category}/{label}/{name}.png")
        if kind == "add" or not there:
            return
        file = self._draw.choice(there)
        place = file.relative_to(self.site.dataset).as_posix()
        if kind in ("other mask", "misfit"):
            self.site.put(place, mask(number, SIDE if kind == "other mask" else SIDE - 8))
        elif kind == "replace":
            self.site.put(place, content(number))
        elif kind == "copy into test":
            self.site.put(f"{category}/test/good/0_copy_{name}.png", file.read_bytes())
        else:
            data = file.read_bytes()
            self._drop(file)
            if kind == "move":
                label = self._draw.choice(_LABELS)
                self.site.put_image(category, label, f"{name}_moved", number, data)
        self.done.append(f"{kind} {place}, number {number}, name {name}")

    def _drop(self, file: Path) -> None:
        file.unlink()
        truth = file.parents[2] / "ground_truth" / file.parent.name
        (truth / f"{file.stem}_mask.png").unlink(missing_ok=True)
