"""PatchCore as an estimator that follows scikit-learn's conventions for outlier detectors."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from patchcore_ops.calibration import Calibration
from patchcore_ops.config.presets import PRESETS, Sections
from patchcore_ops.config.recorded_settings import record
from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.embedding.network_folder import NetworkFolder, user_networks
from patchcore_ops.estimator.training_images import (
    EmbeddedImages,
    embed_training_images,
    images_in,
    listed,
)
from patchcore_ops.model.folder import new_folder
from patchcore_ops.model.pixels import AnyImage
from patchcore_ops.model.prediction import Prediction
from patchcore_ops.model.predictor import Model
from patchcore_ops.runtime.errors import ConfigError, DatasetError
from patchcore_ops.runtime.fingerprints import file_hash
from patchcore_ops.scoring.ensemble import UNSCALED
from patchcore_ops.stages.faiss_index import index_memory_bank
from patchcore_ops.stages.leave_one_out import leave_one_out_scores, sampled
from patchcore_ops.stages.memory_bank import select_memory_bank
from patchcore_ops.stages.model import Judgement, Sources, assemble_model
from patchcore_ops.stages.score_calibration import calibrate_normal

Images = AnyImage | Iterable[AnyImage]
_SECTIONS = ("dataset", "embedding", "coreset", "index", "scoring", "calibration")


class PatchCore(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns what normal images of a product look like, and finds what does not.

    Images are paths, PIL images or arrays of uint8 ([H, W], [H, W, 3] or [H, W, 4]), in a sequence
    or an iterator; or one folder, whose image files are taken. All else is as in the benchmark:
    `model_` gives the same numbers.

    Parameters
    ----------
    backbone : str
        A timm name, or `efficientnet_lite0`, whose weights come with the extra `demo`.
    layers : sequence of str
    weights : path-like, optional
        A local file of weights; by default the published ones.
    preset : str
        `reference`, `accurate` or `fast`, see docs/accuracy.md; what is given otherwise wins.
    percentage : float, optional
        Share of the patches that the memory bank keeps.
    n_neighbors : int, optional
        A patch's score is the mean distance (with `reference` squared) to so many rows of the bank.
    resize, imagesize : int or (int, int)
        The shorter side after resizing, and the side of the centre that is cut out, in pixels;
        either may be a height and a width.
    fit_mode : str
        `crop`; `stretch`, the whole image resized to `imagesize`; or `pad`, the same with its
        aspect ratio kept.
    false_positive_rate : float
        Share of normal images that may be called anomalous.
    random_state : int
    device : str
        `auto`, `cpu`, `cuda`, `mps`.
    network_folder : path-like, optional
        Keeps exported networks between fits; by default a folder in the user's cache.

    Attributes
    ----------
    model_ : Model
        With `predict`, which gives scores, p-values, maps and regions.
    offset_ : float
        The threshold: `predict` calls anomalous what has a smaller `score_samples`.
    n_images_ : int
        How many images it has learned from.

    Examples
    --------
    >>> detector = PatchCore().fit("valve/train/good")  # doctest: +SKIP
    >>> detector.predict(["new.png"])  # doctest: +SKIP
    array([-1])
    >>> detector.inspect("new.png")[0].regions  # doctest: +SKIP
    >>> detector.save("models/valve")  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        backbone: str = "efficientnet_lite0",
        layers: Sequence[str] = ("blocks.2", "blocks.4"),
        weights: str | os.PathLike[str] | None = None,
        preset: str = "reference",
        percentage: float | None = None,
        n_neighbors: int | None = None,
        resize: int | tuple[int, int] = 256,
        imagesize: int | tuple[int, int] = 224,
        fit_mode: str = "crop",
        false_positive_rate: float = 0.01,
        random_state: int = 0,
        device: str = "auto",
        network_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.backbone = backbone
        self.layers = layers
        self.weights = weights
        self.preset = preset
        self.percentage = percentage
        self.n_neighbors = n_neighbors
        self.resize = resize
        self.imagesize = imagesize
        self.fit_mode = fit_mode
        self.false_positive_rate = false_positive_rate
        self.random_state = random_state
        self.device = device
        self.network_folder = network_folder

    def fit(self, X: Images, y: object = None) -> Self:
        """Learn from normal images.

        Parameters
        ----------
        X : images, or a folder of images
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ConfigError
            If a parameter has no possible value.
        DatasetError
            If there is no image, or one cannot be used.
        """
        config, runtime = self._sections()
        images = listed(X)
        if not images:
            raise DatasetError("there is no image to learn from; give at least one")
        store = NetworkFolder(
            user_networks() if self.network_folder is None else Path(self.network_folder)
        )
        # The model is used from this folder for as long as the estimator lives.
        kept = _OwnFolder()
        with tempfile.TemporaryDirectory(prefix="patchcore-fit-") as name:
            embeddings, bank, index = (Path(name, part) for part in ("e", "b", "i"))
            embedded = embed_training_images(images, config, runtime, store, embeddings)
            select_memory_bank(embeddings, config, runtime, bank)
            index_memory_bank(bank, config, index)
            calibration = _calibrated(embedded, embeddings, bank, index, config, runtime)
            folder = kept.path / "model"
            folder.mkdir()
            assemble_model(
                "images",
                embeddings,
                index,
                Judgement(UNSCALED, "", calibration),
                config,
                record(config, _SECTIONS, file_hash),
                Sources(embedded.identities, store, config, runtime),
                {},
                folder,
            )
        self.model_ = Model.load(folder, runtime)
        self._folder = kept
        threshold = calibration.image_threshold
        # A single image leaves nothing to compare with.
        self.offset_ = -float("inf") if threshold is None else -threshold
        self.n_images_ = embedded.images
        return self

    def score_samples(self, X: Images) -> npt.NDArray[np.float64]:
        """Return the negative anomaly score of each image, so that lower means more abnormal."""
        check_is_fitted(self)
        return -np.asarray([one.score for one in self._stream(X)], dtype=np.float64)

    def decision_function(self, X: Images) -> npt.NDArray[np.float64]:
        """Return `score_samples` less the threshold: negative is anomalous."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Images) -> npt.NDArray[np.int64]:
        """Return 1 for each normal image and -1 for each anomalous one."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def fit_predict(self, X: Images, y: object = None, **kwargs: Any) -> npt.NDArray[np.int64]:
        """Learn from images, and return what `predict` says of the same ones."""
        images = listed(X)
        return self.fit(images, y).predict(images)

    def inspect(self, X: Images) -> list[Prediction]:
        """Return what the model says of each image: score, p-value, verdict, map and regions."""
        check_is_fitted(self)
        return list(self._stream(X))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a new folder, which `Model.load` and `patchcore predict` read.

        Raises
        ------
        ModelError
            If the folder holds something already.
        """
        check_is_fitted(self)
        with new_folder(Path(path)) as folder:
            shutil.copytree(self._folder.path / "model", folder, dirs_exist_ok=True)

    def _stream(self, images: Images) -> Iterable[Prediction]:
        return self.model_.stream(images_in(images))

    def _preset(self) -> Sections:
        if self.preset not in PRESETS:
            raise ConfigError(f"preset: must be one of {', '.join(PRESETS)} (got {self.preset!r})")
        return PRESETS[self.preset]

    def _sections(self) -> tuple[CategoryConfig, RuntimeSection]:
        member: dict[str, Any] = {
            "backbone": self.backbone,
            "layers": self.layers if isinstance(self.layers, str) else list(self.layers),
            "weights": None if self.weights is None else str(self.weights),
        }
        size = {
            "fit": self.fit_mode,
            "resize": _plain(self.resize),
            "imagesize": _plain(self.imagesize),
        }
        filled = {key: dict(section) for key, section in self._preset().items()}
        for section, key, value in (
            ("embedding", "members", [member]),
            ("coreset", "percentage", self.percentage),
            ("coreset", "seed", self.random_state),
            ("scoring", "anomaly_scorer_num_nn", self.n_neighbors),
            ("calibration", "false_positive_rate", self.false_positive_rate),
        ):
            if value is not None:
                filled.setdefault(section, {})[key] = _plain(value)
        try:
            config = CategoryConfig.model_validate({"dataset": size, **filled})
            runtime = RuntimeSection(device=self.device)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "device"
            raise ConfigError(f"{where}: {first['msg']}") from None
        if config.dataset.imagesize == "auto":
            raise ConfigError("imagesize: auto is for configurations; give numbers here")
        return config, runtime


class _OwnFolder:
    """A temporary folder that goes with this object; not with its copy in a forked process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="patchcore-"))
        weakref.finalize(self, _remove, self.path, os.getpid())


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _plain(value: Any) -> Any:
    """Return a number of numpy, such as searches over a grid give, as Python's own."""
    if isinstance(value, tuple | list):
        return type(value)(_plain(one) for one in value)
    return value.item() if isinstance(value, np.generic) else value


def _calibrated(
    embedded: EmbeddedImages,
    embeddings: Path,
    bank: Path,
    index: Path,
    config: CategoryConfig,
    runtime: RuntimeSection,
) -> Calibration:
    chosen = sampled(embedded.images, config.calibration.images, config.coreset.seed)
    scores = leave_one_out_scores(embeddings, bank, index, config, runtime, chosen)
    insides = None if embedded.insides is None else embedded.insides[chosen]
    return calibrate_normal(scores, UNSCALED, config, insides).calibration
