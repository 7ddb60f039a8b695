"""Checks that no image is there twice, as a file or as decoded pixels."""

from __future__ import annotations

import pandas as pd

from patchcore_ops.checks.finding import NAMED_FILES, Fact, Finding, counted, such_as
from patchcore_ops.dataset.same_images import repeated, same_in

_FILE, _PIXELS = "fingerprint", "pixels"


def train_and_test_differ(images: pd.DataFrame) -> Finding:
    """Check that no file of the manifest is in both train and test."""
    train, test = _splits(images)
    leaks = same_in(test, train, _FILE)
    pairs = leaks.set_axis(["path_in_test", "path_in_train"], axis="columns")
    return Finding.of(
        leaks.empty,
        f"None of the {counted(len(test), 'test image')} is a train image too.",
        f"{counted(len(leaks), 'test image is', 'test images are')} among the train images too "
        f"({such_as(leaks['path'].tolist())}): scores of images that were learnt mean nothing; "
        "remove them from train or from test.",
        {"shared_images": len(leaks)} | ({} if leaks.empty else {"pairs": pairs[:NAMED_FILES]}),
    )


def train_images_differ(images: pd.DataFrame) -> Finding:
    """Check that no file is twice among the train images."""
    train, _ = _splits(images)
    copies = repeated(train, _FILE)
    return Finding.of(
        copies.empty,
        f"The {counted(len(train), 'train image')} differ from each other.",
        f"{counted(len(copies), 'train image repeats', 'train images repeat')} another one "
        f"({such_as(copies['path'].tolist())}): copies cost time and teach nothing; remove them.",
        {"copies": len(copies)},
        copies,
        is_error=False,
    )


def test_images_differ(images: pd.DataFrame) -> Finding:
    """Check that no file is twice among the test images, under one label or two."""
    _, test = _splits(images)
    good, defective = _classes(test)
    copies = pd.concat([repeated(good, _FILE), repeated(defective, _FILE)], ignore_index=True)
    contradictions = same_in(good, defective, _FILE)
    return _finding(
        f"The {counted(len(test), 'test image')} differ from each other.",
        {"copies": copies, "contradictions": contradictions},
        [_copies(copies, "another one"), _contradiction(contradictions, "in the same file")],
    )


def images_differ_as_decoded(images: pd.DataFrame) -> Finding:
    """Check that no two different files hold the same pixels, as when one was saved anew.

    `images` has the manifest's rows and `pixels`, a hash of each image as the network sees it.
    """
    train, test = _splits(images)
    good, defective = _classes(test)
    found = {
        "shared_images": same_in(test, train, _PIXELS, unlike=_FILE),
        "contradictions": same_in(good, defective, _PIXELS, unlike=_FILE),
        "copies": pd.concat([_saved_anew(good), _saved_anew(defective)], ignore_index=True),
        "train_copies": _saved_anew(train),
    }
    leaks, contradictions, copies, train_copies = found.values()
    return _finding(
        f"No two files of the {counted(len(images), 'image')} hold the same pixels.",
        found,
        [
            f"{counted(len(leaks), 'test image shows', 'test images show')} the pixels of a train "
            f"image in another file ({_named(leaks)}): scores of images that were learnt mean "
            "nothing; remove them from train or from test.",
            _contradiction(contradictions, "with the same pixels"),
            _copies(copies, "the pixels of another one"),
            f"{counted(len(train_copies), 'train image repeats', 'train images repeat')} the "
            f"pixels of another one ({_named(train_copies)}): copies cost time and teach nothing; "
            "remove them.",
        ],
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
    return such_as([f"{path}, the same as {other}" for path, other in pairs.to_numpy()])


def _copies(pairs: pd.DataFrame, of_what: str) -> str:
    return (
        f"{counted(len(pairs), 'test image repeats', 'test images repeat')} {of_what} "
        f"({_named(pairs)}) and {'counts' if len(pairs) == 1 else 'count'} once more in every "
        "metric; remove the copies."
    )


def _contradiction(pairs: pd.DataFrame, how: str) -> str:
    return (
        f"{counted(len(pairs), 'normal test image is', 'normal test images are')} in a defect "
        f"folder too, {how} ({_named(pairs)}): one of the two labels is wrong and counts as an "
        "error whatever the score, so that no AUROC of the images can reach 1; remove the one that "
        "is wrong."
    )


def _finding(passed: str, found: dict[str, pd.DataFrame], sentences: list[str]) -> Finding:
    """Join the sentence of each table of `found` that is not empty."""
    facts: dict[str, Fact] = {name: len(pairs) for name, pairs in found.items()}
    facts |= {f"{name}_files": pairs[:NAMED_FILES] for name, pairs in found.items() if len(pairs)}
    problems = [
        sentence
        for sentence, pairs in zip(sentences, found.values(), strict=True)
        if not pairs.empty
    ]
    return Finding.of(not problems, passed, " ".join(problems), facts, is_error=False)
