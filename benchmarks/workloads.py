"""What is measured: a category of images, a backbone and settings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import positive, run_task
from patchcore_ops.runtime.errors import DatasetError

if TYPE_CHECKING:
    from patchcore_ops.config.sections import CategoryConfig, RuntimeSection


@dataclass(frozen=True)
class Backbone:
    """A backbone under this project's name and timm's, and the layers that are used."""

    name: str
    timm_name: str
    layers: tuple[str, str]
    is_random: bool = False


BACKBONES = {
    "lite0": Backbone("efficientnet_lite0", "tf_efficientnet_lite0", ("blocks.2", "blocks.4")),
    "wr50-random": Backbone("wide_resnet50_2", "wide_resnet50_2", ("layer2", "layer3"), True),
}


@dataclass(frozen=True)
class Workload:
    """One category with its settings; what JSON can hold, to hand it to other processes."""

    data: str  # folder of the categories, in MVTec AD's layout
    category: str
    backbone: str  # a key of `BACKBONES`
    weights: str  # a .safetensors file with timm's key names, so that everyone has the same weights
    percentage: float  # of the coreset
    batch_size: int
    workers: int  # that decode
    threads: int  # of torch and FAISS
    certified: bool = True  # whether a flat index is searched by certified bounds
    precision: str = "float32"  # of the backbone's computation

    @property
    def network(self) -> Backbone:
        """Names and layers of the backbone."""
        return BACKBONES[self.backbone]

    @property
    def networks(self) -> Path:
        """Where its exported network is kept."""
        return Path(self.weights).parent / "networks"

    def config(self) -> CategoryConfig:
        """Return the sections that can change results."""
        from patchcore_ops.config.sections import CategoryConfig

        return CategoryConfig.model_validate(self.sections())

    def sections(self) -> dict[str, Any]:
        """Return the same as plain dictionaries, as a configuration file has them."""
        member = {
            "backbone": self.network.name,
            "layers": list(self.network.layers),
            "weights": self.weights,
        }
        return {
            "embedding": {"members": [member], "precision": self.precision},
            "coreset": {"percentage": self.percentage},
        }

    def runtime(self) -> RuntimeSection:
        """Return the section about the machine."""
        from patchcore_ops.config.sections import RuntimeSection

        return RuntimeSection.model_validate(self.runtime_section())

    def runtime_section(self) -> dict[str, Any]:
        """Return the same as a plain dictionary."""
        return {
            "device": "cpu",
            "batch_size": self.batch_size,
            "num_workers": self.workers,
            "faiss_num_workers": self.threads,
            "certified_search": self.certified,
        }

    def as_arguments(self, **others: Any) -> dict[str, Any]:
        """Return the arguments of a task: this workload and others."""
        return {"workload": asdict(self), **others}


def add_workload_options(parser: argparse.ArgumentParser, percentage: float | None = 0.1) -> None:
    """Add the options that say what is measured; without a percentage, its option is left out."""
    parser.add_argument(
        "--data", type=Path, required=True, help="dataset folder in MVTec AD's layout"
    )
    parser.add_argument("--category", default="bottle", help="[%(default)s]")
    parser.add_argument(
        "--backbone", choices=sorted(BACKBONES), default="lite0", help="[%(default)s]"
    )
    if percentage is not None:
        parser.add_argument(
            "--percentage", type=float, default=percentage, help="of the coreset [%(default)s]"
        )
    parser.add_argument("--batch-size", type=positive, default=8, help="[%(default)s]")
    parser.add_argument("--workers", type=int, default=2, help="decoding workers [%(default)s]")
    add_thread_option(parser)
    parser.add_argument("--train-images", type=positive, help="use only so many train images")
    parser.add_argument("--test-images", type=positive, help="use only so many test images")


def add_thread_option(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`."""
    parser.add_argument(
        "--threads",
        type=positive,
        default=os.cpu_count(),
        help="of torch, BLAS and FAISS [%(default)s]",
    )


def add_repeats_option(parser: argparse.ArgumentParser) -> None:
    """Add `--repeats`."""
    parser.add_argument("--repeats", type=positive, default=3, help="medians of [%(default)s]")


@contextmanager
def prepared(options: argparse.Namespace) -> Iterator[tuple[Workload, Path]]:
    """Lay out the images and the weights that the options name, in a temporary folder.

    The folder is for whatever else is written; it is deleted at the end. TMPDIR says where it lies.
    """
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        root = options.data.resolve()
        if options.train_images is not None or options.test_images is not None:
            link_category(
                root, options.category, folder / "data", options.train_images, options.test_images
            )
            root = folder / "data"
        weights = folder / "weights.safetensors"
        run_task(
            "benchmarks.workloads:save_weights",
            {"backbone": options.backbone, "path": str(weights)},
            options.threads,
        )
        workload = Workload(
            data=str(root),
            category=options.category,
            backbone=options.backbone,
            weights=str(weights),
            percentage=getattr(options, "percentage", 0.1),
            batch_size=options.batch_size,
            workers=options.workers,
            threads=options.threads,
        )
        run_task("benchmarks.our_stages:export_network", workload.as_arguments(), options.threads)
        yield workload, folder


def save_weights(backbone: str, path: str) -> dict[str, Any]:
    """Save a backbone's weights under timm's names; a task for a fresh process."""
    import timm
    import torch
    from safetensors.torch import save_file

    from patchcore_ops.backbones import load_backbone

    network = BACKBONES[backbone]
    if network.is_random:
        torch.manual_seed(0)
        model = timm.create_model(network.timm_name, pretrained=False)
    else:
        model = load_backbone(network.name)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
    return {}


def image_files(folder: Path) -> list[Path]:
    """List the images of a folder by name."""
    from patchcore_ops.dataset.image_formats import IMAGE_EXTENSIONS

    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; correct --data or --category")
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_EXTENSIONS)


def link_category(
    root: Path, category: str, target: Path, train: int | None, test: int | None
) -> None:
    """Lay out a part of a category by links: the first train images, and test images of all labels.

    `root` and `target` are dataset folders; `train` and `test` say how many images, None means all.
    """
    source, copy = root / category, target / category
    for image in image_files(source / "train" / "good")[:train]:
        _link(image, copy / "train" / "good" / image.name)
    labels = sorted(folder for folder in (source / "test").iterdir() if folder.is_dir())
    in_turn = zip_longest(*(image_files(folder) for folder in labels))
    chosen = [image for images in in_turn for image in images if image is not None][:test]
    for image in chosen:
        label = image.parent.name
        _link(image, copy / "test" / label / image.name)
        masks = source / "ground_truth" / label
        for mask in masks.glob(f"{image.stem}*") if masks.is_dir() else ():
            if mask.stem in (image.stem, f"{image.stem}_mask"):
                _link(mask, copy / "ground_truth" / label / mask.name)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())
