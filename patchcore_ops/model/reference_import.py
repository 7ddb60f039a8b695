"""A model that the reference saved, as one of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from patchcore_ops.config.categories import category_names
from patchcore_ops.config.mistakes import Mistakes, describe
from patchcore_ops.config.recorded_settings import record, write_settings
from patchcore_ops.config.sections import CategoryConfig, DatasetSection
from patchcore_ops.config.setting_types import LARGEST_SIDE
from patchcore_ops.embedding.exported_network import ExportedNetwork, network_settings
from patchcore_ops.embedding.network_folder import NetworkFolder, copy_network, user_networks
from patchcore_ops.model.description import (
    Member,
    ModelDescription,
    ModelDraft,
    ModelError,
    draft_of,
)
from patchcore_ops.model.folder import INDEX, new_folder, write_model
from patchcore_ops.model.predictor import Model
from patchcore_ops.model.reference_bank import read_bank
from patchcore_ops.model.reference_files import SavedMember, saved_members
from patchcore_ops.model.reference_parameters import ReferenceParameters, read_parameters
from patchcore_ops.runtime.errors import WeightsError
from patchcore_ops.runtime.fingerprints import file_hash
from patchcore_ops.runtime.progress import Progress
from patchcore_ops.scoring.index_file import write_flat_index
from patchcore_ops.scoring.maps import extent, image_scores, map_extents

# The settings with which the reference's own results were made; a saved model has the crop alone.
RESIZE_OF_IMAGESIZE: Final[Mapping[int, int]] = {224: 256, 320: 366}
# By which the reference normalises the images of every backbone.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_SECTIONS = ("dataset", "embedding", "index", "scoring")
_SAME_FOR_ALL = (
    "input_shape",
    "pretrain_embed_dimension",
    "target_embed_dimension",
    "patchsize",
)


def import_reference(
    source: Path,
    category: str,
    output: Path,
    weights: Sequence[Path] = (),
    resize: int | None = None,
    normal_images: Iterable[Path] = (),
    on_progress: Progress | None = None,
) -> ModelDescription:
    """Make a model of what the reference's `--save_patchcore_model` saved for one category.

    Nothing is unpickled. As in the reference's own evaluation, a patch's score is the distance to
    one neighbour, whatever `anomaly_scorer_num_nn` says, and images are normalised by ImageNet's
    constants, whatever the backbone.

    `source` holds `patchcore_params.pkl` and `nnscorer_search_index.faiss`, or these of all members
    of an ensemble, with the prefixes `Ensemble-1-3_` and so on. `weights` are a file for each
    member, by default the published weights. `resize` is an image's shorter side before the crop,
    which a saved model does not say; by default that of the reference's published results.

    A saved ensemble has no ranges: the reference takes them over the images that it evaluates. Here
    they are taken over `normal_images`; give images that it was not trained on, for those find
    themselves in the memory bank. Without any, an ensemble is evaluated but does not predict.

    Raises ModelError if the saved model is damaged, incomplete or holds more than plain parameters,
    or `output` holds something; WeightsError if weights cannot be had or do not fit.
    """
    _refuse_category(category)
    saved = saved_members(source)
    parameters = [read_parameters(member.parameters) for member in saved]
    config = _configuration(saved, parameters, weights, resize)
    with new_folder(output) as folder:
        members = []
        for number, (member, stated) in enumerate(zip(saved, parameters, strict=True)):
            bank = read_bank(member.bank, stated.target_embed_dimension)
            write_flat_index(bank.shape, [bank], folder / str(number) / INDEX)
            members.append(_member(config, number, len(bank), folder / str(number)))
            if on_progress is not None:
                on_progress(number + 1, len(saved))
        write_settings(folder, record(config, _SECTIONS, file_hash))
        draft = draft_of(
            category, config, tuple(members), "", _provenance(saved, parameters, resize)
        )
        description = write_model(folder, draft)
        images = list(normal_images)
        if len(members) == 1 or not images:
            return description
        return write_model(folder, _with_ranges(draft, Model.load(folder), images))


def _refuse_category(category: str) -> None:
    mistakes = Mistakes("")
    category_names(DatasetSection(categories=[category]), Path(), mistakes)
    if sentence := mistakes.at("dataset.categories"):
        raise ModelError(f"category: {sentence}")


def _configuration(
    saved: Sequence[SavedMember],
    parameters: Sequence[ReferenceParameters],
    weights: Sequence[Path],
    resize: int | None,
) -> CategoryConfig:
    """Write the parameters as settings of ours."""
    if weights and len(weights) != len(saved):
        raise ModelError(
            f"{saved[0].parameters.parent}: has {len(saved)} members, and {len(weights)} weights "
            "files are given; give one for each member in order, or none"
        )
    first = parameters[0]
    if resize is not None and not first.imagesize <= resize <= LARGEST_SIDE:
        raise ModelError(
            f"resize: must be from {first.imagesize}, the side of the model's images, to "
            f"{LARGEST_SIDE} pixels (got {resize}); give the one that the reference was run with"
        )
    size = {
        "resize": _resize_of(first) if resize is None else resize,
        "imagesize": first.imagesize,
    }
    for member, one in zip(saved, parameters, strict=True):
        for key in _SAME_FOR_ALL:
            if getattr(one, key) != getattr(first, key):
                raise ModelError(
                    f"{member.parameters}: its {key} is {getattr(one, key)}, and that of "
                    f"{saved[0].parameters.name} {getattr(first, key)}; the members of an ensemble "
                    "share it"
                )
    files: Sequence[str | None] = [str(file) for file in weights] or [None] * len(saved)
    sections = {
        "dataset": size,
        "embedding": {
            "members": [
                {
                    "backbone": one.backbone,
                    "layers": list(one.layers_to_extract_from),
                    "weights": file,
                }
                for one, file in zip(parameters, files, strict=True)
            ],
            "pretrain_embed_dimension": first.pretrain_embed_dimension,
            "target_embed_dimension": first.target_embed_dimension,
            "patchsize": first.patchsize,
        },
    }
    return _validated(saved[0].parameters, sections)


def _resize_of(parameters: ReferenceParameters) -> int:
    side = parameters.imagesize
    if side not in RESIZE_OF_IMAGESIZE:
        raise ModelError(
            f"a saved model does not say its --resize, and for {side} pixels none is usual; give "
            "the one that the reference was run with (its default is 256)"
        )
    return RESIZE_OF_IMAGESIZE[side]


def _validated(file: Path, sections: Mapping[str, Any]) -> CategoryConfig:
    try:
        return CategoryConfig.model_validate(sections)
    except ValidationError as error:
        key, sentence = next(iter(describe(error, CategoryConfig, "").items()))
        raise ModelError(f"{file}: cannot be imported, for {key}: {sentence}") from None


def _member(config: CategoryConfig, number: int, rows: int, folder: Path) -> Member:
    """Export a member's network, normalised as in the reference, and describe the member.

    The user's cache keeps it: fifteen categories of one backbone export one network.
    """
    from patchcore_ops.embedding.network_export import export_network

    try:
        settings = network_settings(config, number, file_hash)
    except OSError as error:
        raise WeightsError(
            f"{error.filename}: cannot be read ({error.strerror or error}); name the weights file "
            "of the backbone"
        ) from None
    settings = settings.model_copy(update={"normalisation": _IMAGENET})
    with NetworkFolder(user_networks()).opened(
        settings, lambda place: export_network(config, number, settings, place)
    ) as kept:
        copy_network(kept, folder)
    exported = ExportedNetwork.read(folder)
    if exported.refusal:
        raise ModelError(
            f"{settings.backbone}: cannot be exported to OpenVINO ({exported.refusal}), which runs "
            "imported models"
        )
    return Member(
        backbone=settings.backbone,
        layers=settings.layers,
        weights_sha256=exported.weights_sha256,
        network=settings.identity,
        grid=exported.grid,
        bank_rows=rows,
    )


def _with_ranges(draft: ModelDraft, model: Model, images: Sequence[Path]) -> ModelDraft:
    """Return a draft with each member's range of scores and maps over normal images."""
    scored = [of_members for _, of_members in model.patch_scores(images)]
    by_member = [np.concatenate(of_images) for of_images in zip(*scored, strict=True)]
    rule, size = model.description.scoring_section, draft.preprocessing.imagesize
    maps = map_extents(by_member, size, rule.smoothing_sigma)
    members = tuple(
        member.model_copy(
            update={"score_range": extent(image_scores(scores, rule, size)), "map_range": of_maps}
        )
        for member, scores, of_maps in zip(draft.members, by_member, maps, strict=True)
    )
    scoring = draft.scoring.model_copy(update={"ranges_of": "normal images"})
    return draft.model_copy(update={"members": members, "scoring": scoring})


def _provenance(
    saved: Sequence[SavedMember],
    parameters: Sequence[ReferenceParameters],
    resize: int | None,
) -> dict[str, str]:
    """Say where the model comes from, and what was decided for it."""
    said = {
        "imported_from": "patchcore-inspection",
        "reference.resize": "assumed" if resize is None else "given",
        "reference.anomaly_scorer_num_nn": ", ".join(
            str(one.anomaly_scorer_num_nn) for one in parameters
        ),
    }
    for member in saved:
        for file in member:
            said[f"reference.{file.name}.sha256"] = file_hash(file)
    return said
