"""A model applied to images: the same code, and the same numbers, as in the benchmark."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from patchcore_ops.config.sections import RuntimeSection
from patchcore_ops.dataset.image_stream import Pixels
from patchcore_ops.embedding.engine import Embeddings
from patchcore_ops.embedding.ensemble import Networks
from patchcore_ops.model.description import ModelDescription, ModelError
from patchcore_ops.model.folder import INDEX, read_model
from patchcore_ops.model.member_engine import open_member, settings_of
from patchcore_ops.model.pixels import AnyImage, NamedImage, named, pixels_of
from patchcore_ops.scoring.index_file import read_index
from patchcore_ops.scoring.maps import Range, anomaly_maps, combine, image_scores, patch_scores
from patchcore_ops.scoring.neighbours import Searcher

Floats = npt.NDArray[np.float32]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of an image.

    Attributes
    ----------
    name : str
        The image's path, or its position among the images.
    score : float
        The anomaly score, as `scores.parquet` has it.
    anomaly_map : ndarray of float32, shape [imagesize, imagesize]
        Of the crop that the network saw.
    member_scores : tuple of float
        Each member's own score, not scaled.
    """

    name: str
    score: float
    anomaly_map: npt.NDArray[np.float32]
    member_scores: tuple[float, ...]


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
    ) -> None:
        self.description = description
        self._networks = networks
        self._searchers = searchers
        self._decoders = decoders

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
        return cls(description, networks, searchers, max(runtime.num_workers, 1))

    def predict(self, images: AnyImage | Iterable[AnyImage]) -> list[Prediction]:
        """Score images, as the benchmark scores its test images.

        Parameters
        ----------
        images : path, PIL image or array, or an iterable of them
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
        scores, maps = self._ranges("score_range"), self._ranges("map_range")
        scored = self.patch_scores(images)
        try:
            for name, of_members in scored:
                yield self._prediction(name, of_members, scores, maps)
        finally:
            scored.close()

    def patch_scores(
        self, images: AnyImage | Iterable[AnyImage]
    ) -> Generator[tuple[str, list[Floats]]]:
        """Yield each image's name, and each member's patch scores of it, shape [1, h, w]."""
        names: deque[str] = deque()
        size = self.description.image_size

        def batches() -> Iterator[tuple[Pixels, list[object]]]:
            def load(one: NamedImage) -> tuple[str, Pixels]:
                return one.name, pixels_of(one, size)

            for name, pixels in _ahead(load, named(images), self._decoders):
                names.append(name)
                yield np.stack([pixels]), [name]

        embedded = self._networks.embed_all(batches())
        try:
            for of_members in embedded:
                yield names.popleft(), self._search(of_members)
        finally:
            embedded.close()

    def _search(self, embedded: Sequence[Embeddings]) -> list[Floats]:
        """Score the patches of one image by each member's embeddings of it."""
        described = self.description
        neighbours = described.scoring.anomaly_scorer_num_nn
        return [
            patch_scores(searcher.search(rows, neighbours)[0], 1, member.grid)
            for member, searcher, rows in zip(
                described.members, self._searchers, embedded, strict=True
            )
        ]

    def _prediction(
        self,
        name: str,
        of_members: Sequence[Floats],
        score_ranges: Sequence[Range],
        map_ranges: Sequence[Range],
    ) -> Prediction:
        side = self.description.preprocessing.imagesize
        sigma = self.description.scoring.smoothing_sigma
        scores = [image_scores(patches) for patches in of_members]
        maps = [anomaly_maps(patches, side, sigma) for patches in of_members]
        return Prediction(
            name,
            float(combine(scores, score_ranges)[0]),
            combine(maps, map_ranges)[0],
            tuple(float(one[0]) for one in scores),
        )

    def _ranges(self, which: str) -> list[Range]:
        ranges: list[Range | None] = [getattr(one, which) for one in self.description.members]
        known = [one for one in ranges if one is not None]
        if len(ranges) > 1 and len(known) < len(ranges):
            raise ModelError(
                f"the model of '{self.description.category}' has several members, and their ranges "
                "are unknown, so their scores cannot be averaged; `patchcore evaluate` takes them "
                "over the test images"
            )
        return known


def _ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int
) -> Iterator[_Result]:
    """Apply a function in threads, in order, only a few items ahead."""
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as executor:
        pending: deque[Future[_Result]] = deque()
        try:
            for item in items:
                pending.append(executor.submit(function, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)
