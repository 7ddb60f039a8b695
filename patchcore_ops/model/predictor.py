"""A model applied to images: the same code, and the same numbers, as in the benchmark."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.dataset.crop import Crop
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding.engine import Embeddings
from patchcore_ops.embedding.ensemble import Networks
from patchcore_ops.model.description import ModelDescription, ModelError
from patchcore_ops.model.folder import INDEX, read_model
from patchcore_ops.model.member_engine import open_member, settings_of
from patchcore_ops.model.pixels import AnyImage, NamedImage, ahead, named, pixels_of
from patchcore_ops.model.prediction import Prediction, Unreadable
from patchcore_ops.model.regions import regions_above
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.scoring.ensemble import MemberScales, score_images
from patchcore_ops.scoring.index_file import read_index
from patchcore_ops.scoring.maps import patch_scores
from patchcore_ops.scoring.neighbours import Searcher

Floats = npt.NDArray[np.float32]
_SAMPLE_TOLERANCE = 1e-4


class _Scored(NamedTuple):
    """An image, and each member's patch scores of it, shape [1, h, w]."""

    loaded: _Loaded
    patch_scores: list[Floats]


class _Loaded(NamedTuple):
    name: str
    crop: Crop
    pixels: Pixels


class Model:
    """A trained category; `Model.load` reads one.

    Attributes
    ----------
    description : ModelDescription
        The content of `model.json`.
    """

    def __init__(
        self,
        description: ModelDescription,
        networks: Networks,
        searchers: list[Searcher],
        decoders: int,
        folder: Path | None = None,
    ) -> None:
        self.description = description
        self._folder = folder
        self._networks = networks
        self._searchers = searchers
        self._decoders = decoders
        # A thread searches for all patches of an image.
        self._searched_at_once = max(searcher.threads for searcher in searchers)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], runtime: RuntimeSection | None = None) -> Model:
        """Load a model from its folder.

        Parameters
        ----------
        folder : path-like
            The folder of a category below the asset `model`, or a copy of it.
        runtime : RuntimeSection, optional
            Images at once (`batch_size`), decoders, threads of a search.

        Returns
        -------
        Model

        Raises
        ------
        ModelError
            If a file is missing or is not what was written, or a newer release wrote the model.
        EnvironmentProblem
            If a package that the model needs is not installed.

        Examples
        --------
        >>> model = Model.load("storage/model/bottle")  # doctest: +SKIP
        >>> model.predict("new.png")[0].score  # doctest: +SKIP
        1.73
        """
        place, runtime = Path(folder), runtime or RuntimeSection()
        description = read_model(place)
        settings = settings_of(description)
        dimension = settings.embedding.target_embed_dimension
        engines, searchers = [], []
        for number, member in enumerate(description.members):
            of_member = place / str(number)
            engines.append(open_member(description, number, of_member, runtime))
            index = read_index(of_member / INDEX)
            if (index.ntotal, index.d) != (member.bank_rows, dimension):
                raise ModelError(
                    f"{of_member / INDEX}: holds {index.ntotal} x {index.d} features, and the "
                    "model says otherwise; make the model again"
                )
            searchers.append(Searcher(index, settings.index, runtime))
        networks = Networks(settings.embedding.members, engines, dimension)
        return cls(description, networks, searchers, max(runtime.num_workers, 1), place)

    def predict(self, images: AnyImage | Iterable[AnyImage]) -> list[Prediction]:
        """Score images, as the benchmark scores its test images.

        Parameters
        ----------
        images : path, EncodedImage, PIL image or array, or an iterable of them
            An array holds uint8, shape [H, W], [H, W, 3] (RGB) or [H, W, 4] (RGBA).

        Returns
        -------
        list of Prediction
            In the order of the images.

        Raises
        ------
        DatasetError
            If an image cannot be read or used.
        """
        return list(self.stream(images))

    def stream(self, images: AnyImage | Iterable[AnyImage]) -> Iterator[Prediction]:
        """Score images one after the other, as `predict`; only few are in memory at once."""
        attempts = self.attempt(images)
        try:
            for found in attempts:
                if isinstance(found, Unreadable):
                    raise DatasetError(found.reason)
                yield found
        finally:
            attempts.close()

    def attempt(self, images: AnyImage | Iterable[AnyImage]) -> Generator[Prediction | Unreadable]:
        """Score images as `stream`; one that cannot be used is said in its place, and goes on."""
        scales = self._scales()
        scored = self._scored(images)
        try:
            for one in scored:
                yield one if isinstance(one, Unreadable) else self._prediction(one, scales)
        finally:
            scored.close()

    def patch_scores(
        self, images: AnyImage | Iterable[AnyImage]
    ) -> Generator[tuple[str, list[Floats]]]:
        """Yield each image's name, and each member's patch scores of it, shape [1, h, w]."""
        scored = self._scored(images)
        try:
            for one in scored:
                if isinstance(one, Unreadable):
                    raise DatasetError(one.reason)
                yield one.loaded.name, one.patch_scores
        finally:
            scored.close()

    def _scored(self, images: AnyImage | Iterable[AnyImage]) -> Generator[_Scored | Unreadable]:
        """Search for the patches of each image; an unreadable one comes in its place."""
        size = self.description.image_size
        waiting: deque[_Loaded | Unreadable] = deque()

        def load(one: NamedImage) -> _Loaded | Unreadable:
            try:
                pixels, crop = pixels_of(one, size)
            except DatasetError as problem:
                return Unreadable(one.name, str(problem))
            return _Loaded(one.name, crop, pixels)

        def batches() -> Iterator[tuple[Pixels, list[object]]]:
            for loaded in ahead(load, named(images), self._decoders):
                waiting.append(loaded)
                if isinstance(loaded, _Loaded):
                    yield loaded.pixels[np.newaxis], [loaded.name]

        embedded = self._networks.embed_all(batches())
        try:
            while of_images := list(islice(embedded, self._searched_at_once)):
                for patches in self._search(of_images):
                    while isinstance(first := waiting.popleft(), Unreadable):
                        yield first
                    yield _Scored(first, patches)
            yield from (one for one in waiting if isinstance(one, Unreadable))
        finally:
            embedded.close()

    def check_sample(self) -> None:
        """Score the sample image of the model; refuse the model if its score is another.

        Raises
        ------
        ModelError
            If the score differs by more than 1e-4 of it: libraries here decode, resize or compute
            in another way than where the model was made.
        """
        sample = self.description.sample
        if sample is None or self._folder is None:
            raise ModelError(
                f"the model of '{self.description.category}' has no sample image; make it again"
            )
        found = self.predict(self._folder / sample.file)[0].score
        if not np.isclose(found, sample.score, rtol=_SAMPLE_TOLERANCE, atol=0):
            raise ModelError(
                f"{self._folder / sample.file}: scores {found:.6g} here, and {sample.score:.6g} "
                "where the model was made; install the versions of Pillow, openvino, torch and "
                "faiss that its settings name"
            )

    def _search(self, of_images: Sequence[Sequence[Embeddings]]) -> list[list[Floats]]:
        """Score the patches of some images by each member's embeddings of them."""
        scoring = self.description.scoring
        of_members = []
        for number, member in enumerate(self.description.members):
            height, width = member.grid
            rows = np.concatenate([of_image[number] for of_image in of_images])
            distances, _ = self._searchers[number].search(
                rows, scoring.anomaly_scorer_num_nn, height * width
            )
            scores = patch_scores(distances, len(of_images), member.grid, scoring.distance)
            of_members.append(np.split(scores, len(of_images)))
        return [list(of_image) for of_image in zip(*of_members, strict=True)]

    def _prediction(self, scored: _Scored, scales: MemberScales) -> Prediction:
        loaded = scored.loaded
        scoring, size = self.description.scoring_section, self.description.image_size.crop_size
        insides = None
        if self.description.preprocessing.fit == "pad":
            insides = np.array([loaded.crop.inside])
        found = score_images(scored.patch_scores, scales, scoring, size, insides)
        score = float(found.scores[0])
        [[anomaly_map]] = found.maps
        prediction = Prediction(
            loaded.name,
            score,
            anomaly_map,
            tuple(float(one[0]) for one in found.of_members),
            loaded.crop,
            loaded.pixels,
        )
        calibration = self.description.calibration
        if calibration is None:
            return prediction
        probability, threshold = calibration.probability, calibration.pixel_threshold
        return replace(
            prediction,
            p_value=calibration.p_value(score),
            is_anomaly=calibration.is_anomaly(score),
            probability=None if probability is None else float(probability.of(score)),
            regions=() if threshold is None else regions_above(anomaly_map, threshold, loaded.crop),
            pixel_threshold=threshold,
        )

    def _scales(self) -> MemberScales:
        scales = self.description.scales
        if scales is None:
            raise ModelError(
                f"the model of '{self.description.category}' has several members, and their ranges "
                "are unknown, so their scores cannot be averaged; `patchcore evaluate` takes them "
                "over the test images"
            )
        return scales
