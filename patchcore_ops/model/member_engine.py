"""The engine of a model's member: its exported network, or torch where there is none."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.embedding.engine import Engine
from patchcore_ops.model.description import ModelDescription, ModelError
from patchcore_ops.model.folder import WEIGHTS
from patchcore_ops.runtime.errors import EnvironmentProblem
from patchcore_ops.runtime.processors import available_processors


def open_member(
    description: ModelDescription, member: int, folder: Path, runtime: RuntimeSection
) -> Engine:
    """Open the engine of a member whose files lie in `folder`.

    Raises EnvironmentProblem if the package that runs it is not installed, and ModelError if its
    network is another than `model.json` says.
    """
    section = description.members[member]
    if section.network:
        require_library("openvino", folder)
        from patchcore_ops.embedding.openvino_engine import OpenVinoEngine

        engine: Engine = OpenVinoEngine(folder, available_processors(), runtime.batch_size)
    else:
        require_library("torch", folder)
        engine = _torch_engine(description, member, folder, runtime)
    found = engine.network, engine.weights_sha256, engine.grid
    if found != (section.network, section.weights_sha256, section.grid):
        raise ModelError(f"{folder}: holds another network than model.json says; make it again")
    return engine


def require_library(library: str, folder: Path) -> None:
    """Refuse a model without the library that runs it."""
    if find_spec(library) is None:
        raise EnvironmentProblem(
            f"{folder}: this model is run by {library}, which is not installed; run: "
            f"pip install {library}"
        )


def _torch_engine(
    description: ModelDescription, member: int, folder: Path, runtime: RuntimeSection
) -> Engine:
    import torch

    from patchcore_ops.embedding.torch_engine import TorchEngine, load_embedder
    from patchcore_ops.runtime.devices import device_name

    config = settings_of(description, {member: folder / WEIGHTS})
    embedder = load_embedder(config, member, torch.device(device_name(runtime.device)))
    return TorchEngine(embedder, config.embedding.precision, runtime.batch_size)


def settings_of(
    description: ModelDescription, weights: dict[int, Path] | None = None
) -> CategoryConfig:
    """Return the settings that a model was made with, its members' weights at these places."""
    placed = weights or {}
    return CategoryConfig.model_validate(
        {
            "dataset": description.image_size,
            "embedding": {
                **description.embedding.model_dump(),
                "members": [
                    {
                        "backbone": one.backbone,
                        "layers": list(one.layers),
                        "weights": str(placed[number]) if number in placed else None,
                    }
                    for number, one in enumerate(description.members)
                ],
            },
            "index": {
                "factory": description.scoring.index_factory,
                "search_parameters": description.scoring.search_parameters,
            },
            "scoring": description.scoring_section,
        }
    )
