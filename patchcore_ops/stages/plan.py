"""What the stages of a category will take on this machine, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.coreset.samplers import sample_count
from patchcore_ops.embedding.known_networks import KnownNetwork
from patchcore_ops.runtime.devices import may_be_gpu
from patchcore_ops.runtime.machine import Machine
from patchcore_ops.stages import plan_laws as laws
from patchcore_ops.stages.member_units import UNIT_IMAGES

_FLOAT = 4
_ROW_NUMBER = 8
_SMALLER_CORESET = "lower coreset.percentage"
# Where a stage takes too much memory.
LESS_MEMORY = {
    "raw_embeddings": ("lower runtime.batch_size",),
    "memory_bank": ("raise coreset.shards", _SMALLER_CORESET),
    "faiss_index": (_SMALLER_CORESET,),
    "test_predictions": (_SMALLER_CORESET,),
    "score_calibration": (_SMALLER_CORESET,),
    "category_metrics": ("put fewer images into test", "lower dataset.imagesize"),
    "model": ("give each process more memory",),
}


class Images(NamedTuple):
    """The images of a category: how many, and the pixels of all files together."""

    train: int
    test: int
    pixels: int

    @staticmethod
    def of(manifest: pd.DataFrame) -> Images:
        """Count the images of a manifest."""
        train = int((manifest["split"] == "train").sum())
        pixels = int((manifest["width"].astype("int64") * manifest["height"]).sum())
        return Images(train, len(manifest) - train, pixels)


@dataclass(frozen=True)
class StagePlan:
    """What one stage will take; what is not known is None."""

    stage: str  # the asset
    rows: int | None  # of its largest array: patches, picks, images
    disk: int | None  # bytes of its files
    memory: int | None  # bytes of its process at the peak
    seconds: float | None


class _Member(NamedTuple):
    """One member's rows: of an image, of all train and test images, and of its bank."""

    patches: int
    train: int
    test: int
    bank: int
    multiplications: float | None


def plan_stages(
    images: Images,
    known: Sequence[KnownNetwork | None],
    config: CategoryConfig,
    runtime: RuntimeSection,
    machine: Machine,
) -> list[StagePlan]:
    """Estimate what each stage takes, in the order of the stages.

    Where nothing is `known` of a member, what depends on it is not known either.
    """
    shapes = [member for member in known if member is not None]
    pixels = images.test * math.prod(config.dataset.crop_size)
    metrics = StagePlan(
        "category_metrics",
        images.test,
        0,
        round(laws.PROCESS_BYTES + laws.METRICS_BYTES_A_PIXEL * pixels),
        (laws.START + laws.METRICS_A_PIXEL * pixels) / machine.speed,
    )
    # Its files are links to those of other artefacts.
    model = StagePlan("model", None, 0, laws.PROCESS_BYTES, laws.START / machine.speed)
    if len(shapes) < len(known):
        first = ("raw_embeddings", "memory_bank", "faiss_index", "test_predictions")
        unknown = [StagePlan(name, *4 * (None,)) for name in (*first, "score_calibration")]
        return [*unknown[:-1], metrics, unknown[-1], model]
    members = [
        _Member(
            shape.patches,
            images.train * shape.patches,
            images.test * shape.patches,
            sample_count(images.train * shape.patches, config.coreset),
            shape.multiplications,
        )
        for shape in shapes
    ]
    searched = members, config, runtime, machine
    of_units = min(images.train, UNIT_IMAGES) if config.members_have_units else 0
    return [
        _embeddings(images, members, config, runtime, machine),
        _bank(members, config, runtime, machine),
        _index(members, config, machine),
        _search("test_predictions", images.test + of_units, pixels * _FLOAT, *searched),
        metrics,
        _search("score_calibration", min(images.train, config.calibration.images), 0, *searched),
        model,
    ]


def _embeddings(
    images: Images,
    members: Sequence[_Member],
    config: CategoryConfig,
    runtime: RuntimeSection,
    machine: Machine,
) -> StagePlan:
    dimension = config.embedding.target_embed_dimension
    rows = sum(member.train + member.test for member in members)
    disk = rows * dimension * (2 if config.embedding.storage == "float16" else _FLOAT)
    multiplications = [member.multiplications for member in members]
    seconds = None
    counted = [count for count in multiplications if count is not None]
    by_openvino = runtime.engine != "torch" and (
        runtime.engine == "openvino" or not may_be_gpu(runtime.device)
    )
    if by_openvino and len(counted) == len(multiplications):
        every = images.train + images.test
        operations = laws.embedding(every, images.pixels, sum(counted), rows * dimension)
        seconds = _seconds(machine, operations, disk)
    memory = laws.PROCESS_BYTES + laws.EMBEDDING_BYTES * len(members)
    return StagePlan("raw_embeddings", rows, disk, memory, seconds)


def _bank(
    members: Sequence[_Member], config: CategoryConfig, runtime: RuntimeSection, machine: Machine
) -> StagePlan:
    dimension = config.embedding.target_embed_dimension
    picks = sum(member.bank for member in members)
    disk = picks * (dimension * _FLOAT + _ROW_NUMBER)
    costs = [
        laws.selection(member.train, dimension, config.coreset, member.bank, config.coreset.shards)
        for member in members
    ]
    operations = sum(cost.operations for cost in costs)
    return StagePlan(
        "memory_bank",
        picks,
        disk,
        _memory(costs),
        None if may_be_gpu(runtime.device) else _seconds(machine, operations, disk),
    )


def _index(members: Sequence[_Member], config: CategoryConfig, machine: Machine) -> StagePlan:
    """Plan a flat index; others are mostly smaller, and take longer to build."""
    width = config.embedding.target_embed_dimension * _FLOAT
    picks = sum(member.bank for member in members)
    costs = [laws.indexing(member.bank * width, _is_flat(config)) for member in members]
    seconds = None
    if _is_flat(config):
        seconds = _seconds(machine, sum(cost.operations for cost in costs), picks * width)
    return StagePlan("faiss_index", picks, picks * width, _memory(costs), seconds)


def _search(
    stage: str,
    images: int,
    disk: int,
    members: Sequence[_Member],
    config: CategoryConfig,
    runtime: RuntimeSection,
    machine: Machine,
) -> StagePlan:
    """Plan a stage that searches for so many images, and makes their maps."""
    dimension = config.embedding.target_embed_dimension
    queries = [images * member.patches for member in members]
    costs = [
        laws.search(rows, member.bank, dimension, _is_flat(config), runtime.certified_search)
        for rows, member in zip(queries, members, strict=True)
    ]
    pixels = images * math.prod(config.dataset.crop_size)
    operations = sum(cost.operations for cost in costs) + laws.MAP_A_PIXEL * pixels * len(members)
    seconds = None
    if _is_flat(config) and not runtime.faiss_on_gpu:
        seconds = _seconds(machine, operations, disk, runtime.faiss_num_workers)
    return StagePlan(stage, sum(queries), disk, _memory(costs), seconds)


def _memory(members: Sequence[laws.Cost]) -> int:
    """Return the peak memory of a process that works on one member after the other."""
    return round(laws.PROCESS_BYTES + max(cost.memory for cost in members))


def _seconds(
    machine: Machine, operations: float, written: int, threads: int | None = None
) -> float:
    """Return the seconds of shared work, and of what one processor does alone."""
    processors = min(machine.processors, threads or machine.processors)
    alone = laws.START + laws.WRITING_A_BYTE * written
    return (operations / processors + alone) / machine.speed


def _is_flat(config: CategoryConfig) -> bool:
    return config.index.factory == "Flat"
