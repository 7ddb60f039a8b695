"""Random things that people do to a benchmark, in any order."""

from __future__ import annotations

import random
from collections.abc import Callable
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
_DEFECTS = ("dent", "spot")


class Editor:
    """Draws and does one thing after the other; `done` says what, for people."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.done: list[str] = []
        self._draw = random.Random(seed)
        self._serial = 100

    def step(self) -> dict[str, str]:
        """Do one thing; returns what failed steps of a run have said."""
        kind = self._draw.choices(
            [
                *("edit images", "edit settings", "edit and run some", "run", "run all"),
                *("edit during a run", "kill"),
            ],
            [3, 3, 3, 4, 1.5, 1.5, 1],
        )[0]
        if kind == "edit images":
            self.edit_images()
        elif kind == "edit settings":
            self.edit_settings()
        elif kind == "edit and run some":
            category = self._draw.choice(CATEGORIES)
            self.edit_images(category)
            chosen = [asset for asset in BY_CATEGORY[1:] if self._draw.random() < 0.5]
            return self._run(["image_manifest", *chosen], category)
        elif kind == "run":
            return self._run(*self._selection())
        elif kind == "run all":
            return self.run_all()
        elif kind == "edit during a run":
            edit = self._draw.choice([self.edit_images, self.edit_settings])
            category = self._draw.choice(CATEGORIES)
            start = self._draw.choice([0, 0, 1])
            return self._run(list(BY_CATEGORY[start:]), category, edit)
        else:
            assets, category = self._selection()
            after = self._draw.uniform(0.05, 1.5)
            self.done.append(f"kill {', '.join(assets)} of {category} after {after:.2f} s")
            self.site.run_and_kill(assets, category, after)
        return {}

    def run_all(self) -> dict[str, str]:
        """Benchmark every category, then table and report."""
        said = {}
        for category in CATEGORIES:
            said.update(self._run(list(BY_CATEGORY), category))
        return {**said, **self._run(list(OVER_ALL), None)}

    def edit_settings(self) -> None:
        """Change one setting, for all categories or for one."""
        key = self._draw.choice(list(_SETTINGS))
        value = self._draw.choice(_SETTINGS[key])
        if key != "layers" and self._draw.random() < 0.3:
            key = f"overrides.{self._draw.choice(CATEGORIES)}.{key}"
        self.site.configure({key: value})
        self.done.append(f"set {key} to {value}")

    def edit_images(self, category: str | None = None) -> None:
        """Add, move, remove or replace one image or mask."""
        category = category or self._draw.choice(CATEGORIES)
        edit: Callable[[str], str] = self._draw.choice(
            [
                *(self._add, self._add, self._move, self._move, self._remove),
                *(
                    self._replace,
                    self._replace,
                    self._copy_into_test,
                    self._other_mask,
                    self._misfit,
                ),
            ]
        )
        self.done.append(edit(category))

    def _run(
        self, assets: list[str], category: str | None, during: Callable[[], None] | None = None
    ) -> dict[str, str]:
        self.done.append(
            f"run {', '.join(assets)} of {category}" + (" and meanwhile:" if during else "")
        )
        return self.site.run(assets, category, during)

    def _selection(self) -> tuple[list[str], str | None]:
        if self._draw.random() < 0.35:
            return self._draw.choice([list(OVER_ALL), ["metrics"], ["benchmark_report"]]), None
        chosen = [asset for asset in BY_CATEGORY if self._draw.random() < 0.55]
        if self._draw.random() < 0.3:
            chosen = list(BY_CATEGORY[self._draw.randrange(len(BY_CATEGORY)) :])
        return chosen or ["image_manifest"], self._draw.choice(CATEGORIES)

    def _image(self, category: str, part: str = "") -> str | None:
        found = [one for one in self.site.images(category) if f"/{part}" in one]
        return self._draw.choice(found) if found else None

    def _add(self, category: str) -> str:
        label = self._draw.choice(["train/good", "test/good", *(f"test/{one}" for one in _DEFECTS)])
        self._serial += 1
        name = f"{self._draw.choice('az')}{self._serial}"
        self._put(category, label, name, self._draw.randrange(POOL))
        return f"add {category}/{label}/{name}.png"

    def _put(self, category: str, label: str, name: str, number: int) -> None:
        self.site.put(f"{category}/{label}/{name}.png", content(number))
        if label.startswith("test/") and label != "test/good":
            self.site.put(f"{category}/ground_truth/{label[5:]}/{name}_mask.png", mask(number))

    def _move(self, category: str) -> str:
        place = self._image(category, "test/")
        if place is None:
            return "nothing to move"
        label = self._draw.choice(["test/good", *(f"test/{one}" for one in _DEFECTS)])
        name = f"{self._draw.choice('az')}_moved_{Path(place).stem}"
        data = (self.site.dataset / place).read_bytes()
        self._drop(place)
        self._put(category, label, name, self._draw.randrange(POOL))
        self.site.put(f"{category}/{label}/{name}.png", data)
        return f"move {place} to {category}/{label}/{name}.png"

    def _remove(self, category: str) -> str:
        place = self._image(category)
        if place is None:
            return "nothing to remove"
        self._drop(place)
        return f"remove {place}"

    def _drop(self, place: str) -> None:
        (self.site.dataset / place).unlink()
        file = Path(place)
        truth = self.site.dataset / file.parts[0] / "ground_truth" / file.parent.name
        (truth / f"{file.stem}_mask.png").unlink(missing_ok=True)

    def _replace(self, category: str) -> str:
        place = self._image(category)
        if place is None:
            return "nothing to replace"
        number = self._draw.randrange(POOL)
        self.site.put(place, content(number))
        return f"replace {place} by image {number}"

    def _copy_into_test(self, category: str) -> str:
        place = self._image(category, "train/")
        if place is None:
            return "nothing to copy"
        data = (self.site.dataset / place).read_bytes()
        self._serial += 1
        self.site.put(f"{category}/test/good/0_copy_{self._serial}.png", data)
        return f"copy {place} into test/good"

    def _other_mask(self, category: str) -> str:
        masks = sorted((self.site.dataset / category / "ground_truth").glob("*/*.png"))
        if not masks:
            return "no mask to change"
        place = self._draw.choice(masks).relative_to(self.site.dataset).as_posix()
        number = self._draw.randrange(POOL)
        self.site.put(place, mask(number))
        return f"replace {place} by mask {number}"

    def _misfit(self, category: str) -> str:
        masks = sorted((self.site.dataset / category / "ground_truth").glob("*/*.png"))
        if not masks or self._draw.random() < 0.5:
            return "no misfit"
        place = self._draw.choice(masks).relative_to(self.site.dataset).as_posix()
        self.site.put(place, mask(1, SIDE - 8))
        return f"replace {place} by a mask of another size"
