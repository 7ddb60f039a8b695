"""Finds equal images by a content hash."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from patchcore_ops.dataset.image_formats import printable


def same_in(
    images: pd.DataFrame, others: pd.DataFrame, content: str, unlike: str | None = None
) -> pd.DataFrame:
    """Pair images with the first of `others` of equal `content`, as columns `path` and `same_as`.

    No row may be in both. With `unlike`, a pair must differ in that column.
    """
    differing = [content] if unlike is None else [content, unlike]
    # One of any two that differ from each other differs from a third.
    candidates = others.drop_duplicates(differing).groupby(content, sort=False).head(len(differing))
    candidates = candidates[["path", *differing]].rename(columns={"path": "same_as"})
    pairs = images.merge(candidates, on=content, suffixes=("", "_of_other"))
    if unlike is not None:
        pairs = pairs[pairs[unlike] != pairs[f"{unlike}_of_other"]]
    return pairs[["path", "same_as"]].drop_duplicates("path").reset_index(drop=True)


def repeated(images: pd.DataFrame, content: str) -> pd.DataFrame:
    """Pair each repeated image with the first of its content, as `same_in`."""
    first = images.groupby(content)["path"].transform("first")
    copies = images.assign(same_as=first)[images.duplicated(content)]
    return copies[["path", "same_as"]].reset_index(drop=True)


def leaks(images: pd.DataFrame) -> Iterator[str]:
    """Name each test image that is also a train image, with the remedy."""
    is_train = images["split"] == "train"
    for row in same_in(images[~is_train], images[is_train], "fingerprint").itertuples():
        yield (
            f"{printable(str(row.path))}: is the train image {printable(str(row.same_as))} too; "
            "remove it from train or from test"
        )
