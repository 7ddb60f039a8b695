"""Models as the reference saves them, and what it would say of images."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from engine_kit import literal_pooling, saved, trained
from scipy.ndimage import gaussian_filter

from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.model import ModelDescription
from patchcore_ops.model.reference_import import import_reference

SIDE, RESIZE, PRETRAIN, TARGET = 64, 72, 48, 40
RUNTIME = RuntimeSection(device="cpu", num_workers=1, faiss_num_workers=1)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Saved(NamedTuple):
    """What the reference would have saved, and from what."""

    folder: Path
    weights: list[Path]
    networks: list[tuple[torch.nn.Module, list[str]]]
    banks: list[np.ndarray]


def literal_embeddings(
    network: torch.nn.Module, layers: list[str], images: torch.Tensor
) -> torch.Tensor:
    """Embed as the reference defines it, in double precision: [images, h * w, TARGET]."""
    mean, std = (torch.tensor(one, dtype=torch.float64).reshape(3, 1, 1) for one in IMAGENET)
    found: dict[str, torch.Tensor] = {}
    for layer in layers:
        network.get_submodule(layer).register_forward_hook(
            lambda _module, _input, output, layer=layer: found.update({layer: output.clone()})
        )
    with torch.inference_mode():
        network.double()((images.double() / 255 - mean) / std)
    rows = literal_pooling([found[layer] for layer in layers], 3, PRETRAIN, TARGET)
    return rows.reshape(len(images), -1, TARGET)


def literal_prediction(embeddings: torch.Tensor, bank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score images as the reference does: by one neighbour, squared distances, sigma 4."""
    distances = ((embeddings[:, :, None] - torch.from_numpy(bank).double()) ** 2).sum(-1)
    nearest = distances.min(dim=-1).values
    grid = int(nearest.shape[1] ** 0.5)
    maps = F.interpolate(
        nearest.reshape(-1, 1, grid, grid), (SIDE, SIDE), mode="bilinear", align_corners=False
    )
    smooth = np.stack([gaussian_filter(one.numpy(), sigma=4) for one in maps[:, 0]])
    return nearest.max(dim=1).values.numpy(), smooth


def save(folder: Path, images: torch.Tensor, members: list[tuple[str, list[str]]]) -> Saved:
    """Write what the reference's `save_to_path` writes, for each member of an ensemble."""
    folder.mkdir()
    weights, networks, banks = [], [], []
    for at, (name, layers) in enumerate(members, start=1):
        prefix = f"Ensemble-{at}-{len(members)}_" if len(members) > 1 else ""
        network = trained(name, SIDE)
        weights.append(saved(network, folder.parent / f"{folder.name}-{name}.safetensors"))
        bank = literal_embeddings(network, layers, images[:2]).flatten(0, 1)[::5]
        banks.append(bank.numpy().astype(np.float32))
        networks.append((network, layers))
        index = faiss.IndexFlatL2(TARGET)
        index.add(banks[-1])
        faiss.write_index(index, str(folder / f"{prefix}nnscorer_search_index.faiss"))
        parameters = {
            "backbone.name": name,
            "layers_to_extract_from": layers,
            "input_shape": (3, SIDE, SIDE),
            "pretrain_embed_dimension": PRETRAIN,
            "target_embed_dimension": TARGET,
            "patchsize": 3,
            "patchstride": 1,
            "anomaly_scorer_num_nn": 5,
        }
        write_parameters(folder / f"{prefix}patchcore_params.pkl", parameters)
    return Saved(folder, weights, networks, banks)


def write_parameters(file: Path, parameters: Any) -> None:
    file.write_bytes(pickle.dumps(parameters, pickle.HIGHEST_PROTOCOL))


def arrays(images: torch.Tensor) -> list[np.ndarray]:
    return list(images.permute(0, 2, 3, 1).numpy())


def imported(source: Saved, output: Path, **options: Any) -> ModelDescription:
    return import_reference(
        source.folder, "bottle", output, source.weights, options.pop("resize", SIDE), **options
    )


def expected(source: Saved, images: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        literal_prediction(literal_embeddings(network, layers, images), bank)
        for (network, layers), bank in zip(source.networks, source.banks, strict=True)
    ]
