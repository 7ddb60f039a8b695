"""What the tests of models share: a category of noise, benchmarked, with its model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from engine_kit import InFolder, config_of, saved, trained

from patchcore_ops import Model
from patchcore_ops.config.recorded_settings import record
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.dataset import scan_category
from patchcore_ops.model import ModelDescription
from patchcore_ops.runtime.fingerprints import file_hash
from patchcore_ops.stages.faiss_index import index_memory_bank
from patchcore_ops.stages.layout import ANOMALY_MAPS, read_images, read_scores
from patchcore_ops.stages.member_units import member_units
from patchcore_ops.stages.memory_bank import select_memory_bank
from patchcore_ops.stages.model import Sources, assemble_model, judgement_of
from patchcore_ops.stages.predictions import predict
from patchcore_ops.stages.raw_embeddings import embed_images
from patchcore_ops.stages.score_calibration import calibrate

SIDE = 64
RUNTIME = RuntimeSection(device="cpu", num_workers=1, faiss_num_workers=1, batch_size=2)
SECTIONS = ("dataset", "embedding", "coreset", "index", "scoring", "calibration")


class Benchmarked(NamedTuple):
    """A category whose stages have run, and the folders that they wrote."""

    config: CategoryConfig
    root: Path
    folder: Path
    networks: InFolder
    identities: list[str]

    @property
    def scores(self) -> pd.DataFrame:
        return read_scores(self.folder / "predictions")

    @property
    def maps(self) -> npt.NDArray[np.float32]:
        return np.asarray(np.load(self.folder / "predictions" / ANOMALY_MAPS))

    @property
    def images(self) -> list[Path]:
        return [self.root / path for path in self.scores["path"]]

    def sources(self, runtime: RuntimeSection = RUNTIME) -> Sources:
        return Sources(self.identities, self.networks, self.config, runtime)

    def assemble(self, folder: Path, sources: Sources | None = None) -> ModelDescription:
        folder.mkdir(parents=True)
        return assemble_model(
            "fabric_a",
            self.folder / "embeddings",
            self.folder / "index",
            judgement_of(
                self.folder / "predictions",
                self.folder / "calibration",
                self.root,
                file_hash,
                folder,
            ),
            self.config,
            record(self.config, SECTIONS, file_hash),
            sources or self.sources(),
            {"images.data_version": "0123"},
            folder,
        )


def ensemble_config(folder: Path, members: int, **scoring: object) -> CategoryConfig:
    """Configure a network of random weights, for each member with other layers."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = saved(trained("resnet18", SIDE), folder / "weights.safetensors")
    one = config_of("resnet18", ["layer1", "layer2"], SIDE, weights)
    layers = [["layer1", "layer2"], ["layer2"], ["layer2", "layer3"]][:members]
    first = one.embedding.members[0]
    embedding = one.embedding.model_copy(
        update={"members": [first.model_copy(update={"layers": chosen}) for chosen in layers]}
    )
    rule = one.scoring.model_copy(update=scoring)
    return one.model_copy(update={"embedding": embedding, "scoring": rule})


def units_config(folder: Path, **scoring: object) -> CategoryConfig:
    """Configure two members of equal grids, which are scaled by units."""
    three = ensemble_config(folder, 3, ensemble="leave_one_out", **scoring)
    members = three.embedding.members[1:]
    return three.model_copy(
        update={"embedding": three.embedding.model_copy(update={"members": members})}
    )


def benchmarked(
    root: Path, folder: Path, config: CategoryConfig, runtime: RuntimeSection = RUNTIME
) -> Benchmarked:
    """Run every stage up to the predictions."""
    networks = InFolder(folder / "networks")
    images = scan_category(root, "fabric_a").images
    embeddings, bank, index = (folder / name for name in ("embeddings", "bank", "index"))
    embedded = embed_images(images, root, config, runtime, embeddings, networks=networks)
    select_memory_bank(embeddings, config, runtime, bank)
    index_memory_bank(bank, config, index)
    predictions = folder / "predictions"
    folders = (embeddings, bank, index)
    units = member_units(*folders, config, runtime) if config.members_have_units else ()
    predict(embeddings, index, config, runtime, predictions, units=units)
    calibrate(embeddings, bank, index, predictions, config, runtime, folder / "calibration")
    return Benchmarked(config, root, folder, networks, embedded.networks)


def literal_patch_scores(made: Benchmarked, member: int, split: str) -> npt.NDArray[np.float64]:
    """Score patches by the definition, those of a train image without its own rows."""
    folder, scoring = made.folder, made.config.scoring
    name = {"train": "embeddings.npy", "test": "test_embeddings.npy"}[split]
    embeddings = np.load(folder / "embeddings" / str(member) / name).astype(float)
    features = np.load(folder / "bank" / str(member) / "features.npy").astype(float)
    rows = np.load(folder / "bank" / str(member) / "indices.npy")
    images = int((read_images(folder / "embeddings")["split"] == split).sum())
    patches = len(embeddings) // images
    scores = np.empty(len(embeddings))
    for at, embedding in enumerate(embeddings):
        others = features[rows // patches != at // patches] if split == "train" else features
        nearest = np.sort(((others - embedding) ** 2).sum(axis=1))[: scoring.anomaly_scorer_num_nn]
        scores[at] = (np.sqrt(nearest) if scoring.distance == "root" else nearest).mean()
    return scores.reshape(images, patches)


def follow_note(export: Path, model: Path, image: Path, folder: Path) -> set[str]:
    """Score an image by an export alone, as the model does; returns what that has imported."""
    follower = Path(__file__).with_name("note_follower.py")
    ran = subprocess.run(
        [sys.executable, str(follower), str(export), str(image), str(folder / "result.npz")],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={"OMP_NUM_THREADS": "1"},
    )
    [expected] = Model.load(model, RUNTIME).predict(image)
    with np.load(folder / "result.npz") as found:
        np.testing.assert_allclose(found["score"], expected.score, rtol=1e-4)
        largest = np.nanmax(np.abs(expected.anomaly_map))
        np.testing.assert_allclose(found["map"], expected.anomaly_map, atol=1e-4 * largest)
    return set(json.loads(ran.stdout))
