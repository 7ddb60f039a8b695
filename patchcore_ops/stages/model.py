"""The stage `model`: what a category has learned, as a folder that stands alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from patchcore_ops.calibration import Calibration
from patchcore_ops.config.recorded_settings import Recorded, differences, record, write_settings
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.embedding.engine_choice import exported
from patchcore_ops.embedding.exported_network import (
    DESCRIPTION,
    GRAPH,
    WEIGHTS_OF_GRAPH,
    ExportedNetwork,
    NetworkStore,
    network_settings,
)
from patchcore_ops.model.description import (
    Member,
    ModelDescription,
    RangesOf,
    Sample,
    draft_of,
)
from patchcore_ops.model.folder import INDEX, SAMPLE, WEIGHTS, write_model
from patchcore_ops.runtime.errors import StaleArtefact
from patchcore_ops.runtime.files import link_or_copy
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.scoring.ensemble import MemberScales
from patchcore_ops.scoring.index_file import IndexFile
from patchcore_ops.stages import layout
from patchcore_ops.stages.predictions import read_scales
from patchcore_ops.stages.raw_embeddings import Grid
from patchcore_ops.stages.score_calibration import read_calibration

# Puts a file into the model's folder under a name.
Share = Callable[[Path, str], None]
_NETWORK_FILES = (GRAPH, WEIGHTS_OF_GRAPH, DESCRIPTION)


class Sources(NamedTuple):
    """Where a model's networks come from.

    `identities` name the exported networks that made the embeddings, empty where torch did.
    `config` is the configuration of now, by which a network is exported that is not kept.
    """

    identities: Sequence[str]
    networks: NetworkStore
    config: CategoryConfig
    runtime: RuntimeSection
    hash_of: HashOf = file_hash


class Judgement(NamedTuple):
    """What makes verdicts of distances.

    `scales` are those of the members of an ensemble; ranges are taken over `ranges_of`. A model
    without a sample cannot be tried where it is used.
    """

    scales: MemberScales
    ranges_of: RangesOf
    calibration: Calibration
    sample: Sample | None = None


def assemble_model(
    category: str,
    embeddings: Path,
    indices: Path,
    judgement: Judgement,
    config: CategoryConfig,
    recorded: Recorded,
    sources: Sources,
    provenance: Mapping[str, str],
    folder: Path,
    share: Share | None = None,
) -> ModelDescription:
    """Gather the model of a category: networks, indices, thresholds, and `model.json`.

    `recorded` are the settings of the artefacts, `config` the same as typed sections. `share` puts
    a file of an artefact into `folder`, by default as a hard link or a copy.
    """
    put = share or (lambda source, name: link_or_copy(source, folder / name))
    count = len(config.embedding.members)
    scales = judgement.scales
    members = []
    for number, of_index in enumerate(layout.member_folders(indices, count)):
        grid = Grid.read(layout.member_folder(embeddings, number))
        put(of_index / layout.INDEX, f"{number}/{INDEX}")
        settings = config.embedding.members[number]
        members.append(
            Member(
                backbone=settings.backbone,
                layers=tuple(settings.layers),
                weights_sha256=grid.weights_sha256,
                network=_place_network(number, grid, recorded, sources, folder, put),
                grid=(grid.height, grid.width),
                bank_rows=IndexFile.at(of_index / layout.INDEX).rows,
                score_range=scales.scores[number] if scales.scores else None,
                map_range=scales.maps[number] if scales.maps else None,
                unit=scales.units[number] if scales.units else None,
            )
        )
    write_settings(folder, recorded)
    draft = draft_of(
        category,
        config,
        tuple(members),
        judgement.ranges_of,
        dict(provenance),
        judgement.calibration,
        judgement.sample,
    )
    return write_model(folder, draft)


def judgement_of(
    predictions: Path, calibration: Path, dataset_root: Path, hash_of: HashOf, folder: Path
) -> Judgement:
    """Take scales and thresholds of a benchmark, and put a sample image into the model's folder.

    The sample is the first test image below `dataset_root` that is as it was when it was scored;
    without any there is none.
    """
    scales = read_scales(predictions)
    return Judgement(
        scales,
        "test images" if scales.scores else "",
        read_calibration(calibration),
        _place_sample(predictions, dataset_root, hash_of, folder),
    )


def _place_sample(
    predictions: Path, dataset_root: Path, hash_of: HashOf, folder: Path
) -> Sample | None:
    """Copy the first image whose file is still what was scored, with the score that it got."""
    scores = layout.read_scores(predictions)
    for path, score, fingerprint in zip(
        scores["path"], scores["score"], scores["fingerprint"], strict=True
    ):
        source = dataset_root / path
        name = f"{SAMPLE}{source.suffix.lower()}"
        try:
            # The copy is what counts: the file may change at any time.
            shutil.copyfile(source, folder / name)
            if hash_of(source) == fingerprint and file_hash(folder / name) == fingerprint:
                return Sample(file=name, path=path, score=float(score))
        except OSError:
            pass
        (folder / name).unlink(missing_ok=True)
    return None


def _place_network(
    member: int, grid: Grid, recorded: Recorded, sources: Sources, folder: Path, put: Share
) -> str:
    """Put a member's exported network into the model, or its weights; return the identity."""
    identity = sources.identities[member]
    with sources.networks.kept(identity) if identity else nullcontext() as kept:
        if kept is not None:
            _put_network(kept, member, put)
            return identity
    _refuse_other_settings(recorded, sources)
    if sources.runtime.engine == "torch" or find_spec("openvino") is None:
        _save_weights(member, grid, sources, folder)
        return ""
    settings = network_settings(sources.config, member, sources.hash_of)
    with exported(sources.config, member, settings, sources.networks) as made:
        described = ExportedNetwork.read(made)
        if not described.refusal:
            _refuse_other_weights(described.weights_sha256, grid)
            _put_network(made, member, put)
            return settings.identity
    _save_weights(member, grid, sources, folder)
    return ""


def _put_network(network: Path, member: int, put: Share) -> None:
    for name in _NETWORK_FILES:
        put(network / name, f"{member}/{name}")


def _save_weights(member: int, grid: Grid, sources: Sources, folder: Path) -> None:
    """Save the backbone's weights for torch, which cannot be had from an exported network."""
    from safetensors.torch import save_file

    from patchcore_ops.backbones.load import load_backbone, weights_hash

    settings = sources.config.embedding.members[member]
    backbone = load_backbone(settings.backbone, settings.weights, sources.config.dataset.sides)
    _refuse_other_weights(weights_hash(backbone), grid)
    tensors = {name: tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    file = folder / str(member) / WEIGHTS
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)


def _refuse_other_settings(recorded: Recorded, sources: Sources) -> None:
    now = record(sources.config, ("dataset", "embedding"), sources.hash_of)
    if changed := differences(now, recorded):
        keys = ", ".join(difference.key for difference in changed)
        raise StaleArtefact(
            f"the network that made raw_embeddings is no longer kept, and {keys} of the "
            "configuration has changed since; materialise raw_embeddings and what follows it again"
        )


def _refuse_other_weights(found: str, grid: Grid) -> None:
    if found != grid.weights_sha256:
        raise StaleArtefact(
            "the backbone's weights have changed since raw_embeddings was made; materialise "
            "raw_embeddings and what follows it again"
        )
