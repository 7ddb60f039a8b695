"""Checks that no image is there twice, as a file or as decoded, and what it means if one is."""

from __future__ import annotations

import pandas as pd

from patchcore_ops.checks.finding import NAMED_FILES, Fact, Finding, counted, such_as
from patchcore_ops.dataset.same_images import repeated, same_in

_FILE, _PIXELS = "fingerprint", "pixels"


def train_and_test_differ(images: pd.DataFrame) -> Finding:
    """Check that no image is in both train and test, by content.

    Parameters
    ----------
    images : DataFrame
        The manifest.
    """
    train, test = _splits(images)
    leaks = same_in(test, train, _FILE)
    pairs = leaks.set_axis(["path_in_test", "path_in_train"], axis="columns")
    if leaks.empty:
        return Finding(
            True,
            f"None of the {counted(len(test), 'test image')} is a train image too.",
            facts={"shared_images": 0},
        )
    return Finding(
        False,
        f"{counted(len(leaks), 'test image is', 'test images are')} among the train images too "
        f"({such_as(leaks['path'].tolist())}): scores of images that were learnt mean nothing; "
        "remove them from train or from test.",
        facts={"shared_images": len(leaks), "pairs": pairs.head(NAMED_FILES)},
    )


def train_images_differ(images: pd.DataFrame) -> Finding:
    """Check that no image is twice among the train images, by content."""
    train, _ = _splits(images)
    copies = repeated(train, _FILE)
    return Finding(
        copies.empty,
        f"The {counted(len(train), 'train image')} differ from each other."
        if copies.empty
        else f"{counted(len(copies), 'train image repeats', 'train images repeat')} another one "
        f"({such_as(copies['path'].tolist())}): copies cost time and teach nothing; remove them.",
        is_error=False,
        facts={"copies": len(copies)} | ({} if copies.empty else {"files": copies[:NAMED_FILES]}),
    )


def test_images_differ(images: pd.DataFrame) -> Finding:
    """Check that no image is twice among the test images, by content.

    Parameters
    ----------
    images : DataFrame
        The manifest.
    """
    _, test = _splits(images)
    good, defective = _classes(test)
    copies = pd.concat([repeated(good, _FILE), repeated(defective, _FILE)], ignore_index=True)
    contradictions = same_in(good, defective, _FILE)
    found = {"copies": copies, "contradictions": contradictions}
    sentences = []
    if len(copies):
        sentences.append(
            f"{counted(len(copies), 'test image repeats', 'test images repeat')} another one "
            f"({_named(copies)}) and {'counts' if len(copies) == 1 else 'count'} once more in "
            "every metric; remove the copies."
        )
    if len(contradictions):
        sentences.append(_contradiction(contradictions, "in the same file"))
    return _finding(
        sentences, f"The {counted(len(test), 'test image')} differ from each other.", found
    )


def images_differ_as_decoded(images: pd.DataFrame) -> Finding:
    """Check that no two different files hold the same pixels, as when one was saved anew.

    Files that are equal are left to the checks of the manifest.

    Parameters
    ----------
    images : DataFrame
        One row per image of train and test, with `path`, `split`, `label`, `is_anomaly`,
        `fingerprint` and `pixels`, a hash of the image as the network sees it.
    """
    train, test = _splits(images)
    good, defective = _classes(test)
    leaks = same_in(test, train, _PIXELS, unlike=_FILE)
    contradictions = same_in(good, defective, _PIXELS, unlike=_FILE)
    copies = pd.concat([_saved_anew(good), _saved_anew(defective)], ignore_index=True)
    train_copies = _saved_anew(train)
    found = {
        "shared_images": leaks,
        "contradictions": contradictions,
        "copies": copies,
        "train_copies": train_copies,
    }
    sentences = []
    if len(leaks):
        sentences.append(
            f"{counted(len(leaks), 'test image shows', 'test images show')} the pixels of a train "
            f"image in another file ({_named(leaks)}): scores of images that were learnt mean "
            "nothing; remove them from train or from test."
        )
    if len(contradictions):
        sentences.append(_contradiction(contradictions, "with the same pixels"))
    if len(copies):
        sentences.append(
            f"{counted(len(copies), 'test image repeats', 'test images repeat')} the pixels of "
            f"another one ({_named(copies)}) and {'counts' if len(copies) == 1 else 'count'} once "
            "more in every metric; remove the copies."
        )
    if len(train_copies):
        sentences.append(
            f"{counted(len(train_copies), 'train image repeats', 'train images repeat')} the "
            f"pixels of another one ({_named(train_copies)}): copies cost time and teach nothing; "
            "remove them."
        )
    return _finding(
        sentences,
        f"No two files of the {counted(len(images), 'image')} hold the same pixels.",
        found,
    )


def _splits(images: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    is_train = images["split"] == "train"
    return images[is_train], images[~is_train]


def _classes(test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    is_anomaly = test["is_anomaly"].astype(bool)
    return test[~is_anomaly], test[is_anomaly]


def _saved_anew(images: pd.DataFrame) -> pd.DataFrame:
    return repeated(images.drop_duplicates([_PIXELS, _FILE]), _PIXELS)


def _named(pairs: pd.DataFrame) -> str:
    first = f"{pairs['path'][0]}, the same as {pairs['same_as'][0]}"
    return first if len(pairs) == 1 else f"such as {first}"


def _contradiction(pairs: pd.DataFrame, how: str) -> str:
    return (
        f"{counted(len(pairs), 'normal test image is', 'normal test images are')} in a defect "
        f"folder too, {how} ({_named(pairs)}): one of the two labels is wrong and counts as an "
        "error whatever the score, so that no AUROC of the images can reach 1; remove the one that "
        "is wrong."
    )


def _finding(sentences: list[str], passed: str, found: dict[str, pd.DataFrame]) -> Finding:
    facts: dict[str, Fact] = {name: len(pairs) for name, pairs in found.items()}
    facts |= {
        f"{name}_files": pairs[:NAMED_FILES] for name, pairs in found.items() if not pairs.empty
    }
    return Finding(
        not sentences, " ".join(sentences) if sentences else passed, is_error=False, facts=facts
    )
