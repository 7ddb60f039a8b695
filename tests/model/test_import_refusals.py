"""What is no model that the reference saved is refused, and nothing is left of it."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from reference_kit import SIDE, TARGET, Saved, imported, write_parameters

from patchcore_ops.model import ModelError
from patchcore_ops.model.reference_import import import_reference
from patchcore_ops.runtime.errors import UserError, WeightsError


def index_of(factory: str, metric: int = faiss.METRIC_L2, rows: int = 64) -> Any:
    features = np.random.default_rng(0).normal(size=(rows, TARGET)).astype(np.float32)
    index = faiss.index_factory(TARGET, factory, metric)
    index.train(features)
    index.add(features)
    return index


def rewritten(change: Callable[[bytearray], Any]) -> Callable[[Path], None]:
    def rewrite(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content = change(content) or content
        file.write_bytes(content)

    return rewrite


def with_index(index: Any) -> Callable[[Path], None]:
    return lambda file: faiss.write_index(index, str(file))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_index(index_of("IVF2,Flat")), "is no flat FAISS index .*its kind is b'IwFl'"),
        (with_index(index_of("Flat", faiss.METRIC_INNER_PRODUCT)), "is no flat FAISS index"),
        (with_index(faiss.IndexFlatL2(TARGET)), "holds no features"),
        (with_index(faiss.IndexFlatL2(3)), r"have 3 numbers and not target_embed_dimension \(40\)"),
        (rewritten(lambda content: content[:-1]), "does not hold the .* features that it names"),
        (rewritten(lambda content: content + b"\0"), "does not hold the .* features that it names"),
        (rewritten(lambda content: content[:20]), "ends within its header"),
        (rewritten(lambda _content: b"version https://git-lfs"), "git lfs pull|within its header"),
        (
            rewritten(lambda content: content.__setitem__(slice(-4, None), b"\xff\xff\xff\x7f")),
            "holds NaN or infinity",
        ),
        (rewritten(lambda content: content.__setitem__(slice(8, 16), b"\xff" * 8)), "no features"),
        (
            rewritten(lambda content: content.__setitem__(slice(8, 16), b"\x7f" * 8)),
            "does not hold",
        ),
        (Path.unlink, "lacks nnscorer_search_index.faiss; copy the whole folder"),
    ],
)
def test_what_is_no_bank_is_refused_and_nothing_is_left(
    copied: Path, saved_single: Saved, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    change(copied / "nnscorer_search_index.faiss")
    refused(saved_single._replace(folder=copied), tmp_path, said)


def refused(source: Saved, folder: Path, said: str, kind: type[UserError] = ModelError) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(kind, match=said):
        imported(source, folder / "model")
    assert sorted(folder.iterdir()) == before, "nothing is left"


def test_a_malicious_file_in_its_place_is_refused(
    copied: Path, saved_single: Saved, tmp_path: Path
) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'marker'}",)

    write_parameters(copied / "patchcore_params.pkl", Evil())
    refused(saved_single._replace(folder=copied), tmp_path, "refused, and nothing in it was run")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Ensemble-2-2_patchcore_params.pkl": None}, "lacks Ensemble-2-2_patchcore_params.pkl"),
        (
            {
                "Ensemble-2-2_patchcore_params.pkl": None,
                "Ensemble-2-2_nnscorer_search_index.faiss": None,
            },
            "lacks Ensemble-2-2_nnscorer_search_index.faiss, Ensemble-2-2_patchcore_params.pkl",
        ),
        (
            {"Ensemble-1-2_patchcore_params.pkl": "patchcore_params.pkl"},
            "models of different numbers of members",
        ),
        (
            {"Ensemble-1-2_patchcore_params.pkl": "Ensemble-3-2_patchcore_params.pkl"},
            "lacks Ensemble-1-2_patchcore_params.pkl",
        ),
    ],
)
def test_a_part_of_an_ensemble_is_refused(
    saved_ensemble: Saved, tmp_path: Path, change: dict[str, str | None], said: str
) -> None:
    folder = Path(shutil.copytree(saved_ensemble.folder, tmp_path / "saved"))
    for name, other in change.items():
        if other is None:
            (folder / name).unlink()
        else:
            (folder / name).rename(folder / other)
    refused(saved_ensemble._replace(folder=folder), tmp_path, said)


def test_a_member_too_many_is_refused(saved_ensemble: Saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved_ensemble.folder, tmp_path / "saved"))
    (folder / "Ensemble-3-2_patchcore_params.pkl").touch()
    refused(saved_ensemble._replace(folder=folder), tmp_path, "belong to no ensemble")


def test_members_share_what_an_ensemble_shares(saved_ensemble: Saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved_ensemble.folder, tmp_path / "saved"))
    file = folder / "Ensemble-2-2_patchcore_params.pkl"
    write_parameters(file, {**pickle.loads(file.read_bytes()), "patchsize": 5})
    refused(
        saved_ensemble._replace(folder=folder), tmp_path, "its patchsize is 5, and that of .* 3;"
    )


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_without_a_saved_model_is_refused(
    saved_single: Saved, tmp_path: Path, folder: str
) -> None:
    refused(
        saved_single._replace(folder=tmp_path / folder), tmp_path, "name the folder of one category"
    )


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"backbone.name": "resnet1"}, WeightsError, "did you mean resnet18"),
        ({"layers_to_extract_from": ["blocks.99"]}, WeightsError, r"blocks\.99"),
        ({"patchsize": 4}, ModelError, r"embedding\.patchsize: must be odd"),
        ({"layers_to_extract_from": ["blocks.1"] * 2}, ModelError, "lists one layer twice"),
    ],
)
def test_what_cannot_be_a_model_of_ours_is_refused(
    copied: Path,
    saved_single: Saved,
    tmp_path: Path,
    changed: dict[str, Any],
    kind: type[UserError],
    said: str,
) -> None:
    file = copied / "patchcore_params.pkl"
    write_parameters(file, {**pickle.loads(file.read_bytes()), **changed})
    refused(saved_single._replace(folder=copied), tmp_path, said, kind)


def test_weights_are_given_for_every_member(saved_ensemble: Saved, tmp_path: Path) -> None:
    one = saved_ensemble._replace(weights=saved_ensemble.weights[:1])
    refused(one, tmp_path, "has 2 members, and 1 weights files are given")
    none = saved_ensemble._replace(weights=[tmp_path / "nowhere.pth"] * 2)
    refused(none, tmp_path, r"nowhere\.pth: cannot be read", WeightsError)


def test_a_category_is_a_plain_name(saved_single: Saved, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"category: '\.\./bottle' cannot be a category"):
        import_reference(
            saved_single.folder, "../bottle", tmp_path / "model", saved_single.weights, SIDE
        )
