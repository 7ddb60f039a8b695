"""A model applied to images: the same code, and the same numbers, as in the benchmark."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, NamedTuple, TypeVar

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
from patchcore_ops.model.pixels import AnyImage, NamedImage, ahead, count_up_to, named, pixels_of
from patchcore_ops.model.prediction import Prediction, Unreadable
from patchcore_ops.model.regions import regions_above
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.scoring.ensemble import MemberScales, score_images
from patchcore_ops.scoring.index_file import read_index
from patchcore_ops.scoring.maps import patch_scores
from patchcore_ops.scoring.neighbours import Searcher

Floats = npt.NDArray[np.float32]
_Result = TypeVar("_Result")
_SAMPLE_TOLERANCE = 1e-4


def _rounded(rows: Embeddings) -> Embeddings:
    """Round embeddings as the benchmark's are that are kept in float16."""
    most = np.finfo(np.float16).max
    return rows.clip(-most, most).astype(np.float16).astype(np.float32)


class _Scored(NamedTuple):
    """An image, and each member's patch scores of it, shape [1, h, w]."""

    name: str
    crop: Crop
    pixels: Pixels
    patch_scores: list[Floats]


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
        self._search_threads = max(searcher.threads for searcher in searchers)
        self._images_at_once = max(decoders, networks.calls_at_once, self._search_threads)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], runtime: RuntimeSection | None = None) -> Model:
        """Load a model from its folder.

        Parameters
        ----------
        folder : path-like
            The folder of a category below the asset `model`, or a copy of it.
        runtime : RuntimeSection, optional
            Images at once (`num_workers`, `batch_size` in the network), threads of searches.

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

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError(
            "a model cannot be pickled or copied, for it holds open networks; read it where it is "
            "needed by Model.load(folder), and write that of an estimator by save(folder) before"
        )

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
        with closing(self.attempt(images)) as attempts:
            for found in attempts:
                if isinstance(found, Unreadable):
                    raise DatasetError(found.reason)
                yield found

    def attempt(self, images: AnyImage | Iterable[AnyImage]) -> Generator[Prediction | Unreadable]:
        """Score images as `stream`; one that cannot be used is said in its place, and goes on."""
        scales = self._scales()
        yield from self._of_each(images, lambda scored: self._prediction(scored, scales))

    def patch_scores(
        self, images: AnyImage | Iterable[AnyImage]
    ) -> Generator[tuple[str, list[Floats]]]:
        """Yield each image's name, and each member's patch scores of it, shape [1, h, w]."""
        with closing(self._of_each(images, lambda scored: scored)) as of_each:
            for one in of_each:
                if isinstance(one, Unreadable):
                    raise DatasetError(one.reason)
                yield one.name, one.patch_scores

    def _of_each(
        self, images: AnyImage | Iterable[AnyImage], finish: Callable[[_Scored], _Result]
    ) -> Generator[_Result | Unreadable]:
        """Take each image from its file to the result in one thread, several images at once.

        An unreadable image comes in its place. The fewer the images, the more threads search.
        """
        size = self.description.image_size
        at_once = count_up_to(self._images_at_once, images)
        threads = max(self._search_threads // at_once, 1)
        searching = BoundedSemaphore(self._search_threads // threads)

        def whole(one: NamedImage) -> _Result | Unreadable:
            try:
                pixels, crop = pixels_of(one, size)
            except DatasetError as problem:
                return Unreadable(one.name, str(problem))
            embedded = self._networks.embed(pixels[np.newaxis], [one.name])
            if self.description.embedding.storage == "float16":
                embedded = [_rounded(rows) for rows in embedded]
            with searching:
                scores = self._search(embedded, threads)
            return finish(_Scored(one.name, crop, pixels, scores))

        return ahead(whole, named(images), at_once)

    def check_sample(self) -> None:
        """Score the sample image of the model; refuse the model if its score is another.

        Raises
        ------
        ModelError
            If the score differs by more than 1e-4 of it, or of the members' range: libraries here
            decode, resize or compute in another way than where the model was made.
        """
        sample = self.description.sample
        if sample is None or self._folder is None:
            raise ModelError(
                f"the model of '{self.description.category}' has no sample image, which the "
                "benchmark alone adds; compare a score that you know, or let the benchmark make it"
            )
        found = self.predict(self._folder / sample.file)[0].score
        # The least score of an ensemble with ranges is 0, or almost.
        at_zero = _SAMPLE_TOLERANCE if self._scales().scores else 0.0
        if not np.isclose(found, sample.score, rtol=_SAMPLE_TOLERANCE, atol=at_zero):
            raise ModelError(
                f"{self._folder / sample.file}: scores {found:.6g} here, and {sample.score:.6g} "
                "where the model was made; install the versions of Pillow, openvino, torch and "
                "faiss that its settings name"
            )

    def _search(self, embedded: Sequence[Embeddings], threads: int) -> list[Floats]:
        """Score the patches of an image by each member's embeddings of it."""
        scoring = self.description.scoring
        of_members = []
        for member, searcher, rows in zip(
            self.description.members, self._searchers, embedded, strict=True
        ):
            found = searcher.find(rows, scoring.anomaly_scorer_num_nn, threads=threads)
            of_members.append(patch_scores(found.distances, 1, member.grid, scoring.distance))
        return of_members

    def _prediction(self, scored: _Scored, scales: MemberScales) -> Prediction:
        scoring, size = self.description.scoring_section, self.description.image_size.crop_size
        insides = None
        if self.description.preprocessing.fit == "pad":
            insides = np.array([scored.crop.inside])
        found = score_images(scored.patch_scores, scales, scoring, size, insides)
        score = float(found.scores[0])
        [[anomaly_map]] = found.maps
        prediction = Prediction(
            scored.name,
            score,
            anomaly_map,
            tuple(float(one[0]) for one in found.of_members),
            scored.crop,
            scored.pixels,
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
            regions=() if threshold is None else regions_above(anomaly_map, threshold, scored.crop),
            pixel_threshold=threshold,
        )

    def _scales(self) -> MemberScales:
        scales = self.description.scales
        if scales is None:
            raise ModelError(
                f"the model of '{self.description.category}' has several members, and their ranges "
                "are unknown or empty, as over a single image, so their scores cannot be averaged; "
                "`patchcore evaluate` takes them over the test images, and with scoring.ensemble: "
                "leave_one_out none are needed"
            )
        return scales
