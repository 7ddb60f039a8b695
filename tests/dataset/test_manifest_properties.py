"""Properties of the manifest, over random folder trees."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from patchcore_ops.dataset.category_folder import list_category, relative_name
from patchcore_ops.dataset.manifest import CategoryScan, scan_category
from patchcore_ops.dataset.mask_pairing import pair_masks
from patchcore_ops.runtime.errors import DatasetError

IMAGE, EMPTY, TEXT = "image", "empty", "text"
Tree = dict[str, str]

_FOLDERS = st.sampled_from(
    [
        "train/good",
        "test/good",
        "test/cut",
        "test/ü ber",
        "ground_truth/cut",
        "ground_truth/ü ber",
        "train",
        "test",
        "ground_truth",
        "train/bad",
        "test/Good",
        "test/cut/more",
        "test/.hidden",
        "valid/good",
        ".",
    ]
)
_STEMS = st.one_of(
    st.sampled_from(["a", "b", "a_mask", "b_mask", ".a", "two\nlines", "ä ", "10", "9"]),
    st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=4
    ).filter(lambda stem: stem not in (".", "..")),
)
_EXTENSIONS = st.sampled_from([".png", ".PNG", ".jpg", ".bmp", ".txt", ""])
_NAMES = st.builds(
    lambda folder, stem, extension: (PurePosixPath(folder) / (stem + extension)).as_posix(),
    _FOLDERS,
    _STEMS,
    _EXTENSIONS,
)
# Sound images and now and then a damaged one, which makes the whole category a refusal.
TREES = st.dictionaries(
    _NAMES, st.sampled_from([IMAGE] * 12 + [EMPTY, TEXT]), min_size=1, max_size=16
)
SOUND = {"train/good/a.png": IMAGE, "test/good/a.png": IMAGE}
_QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_CONTENT: dict[str, bytes] = {EMPTY: b"", TEXT: b"text"}


@contextmanager
def on_disk(tree: Tree) -> Iterator[tuple[Path, list[str]]]:
    """Write a tree as the category `nut`; return the root and what could be written."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "nut").mkdir()
        if IMAGE not in _CONTENT:
            Image.new("L", (3, 3), 255).save(root / "image.png")
            _CONTENT[IMAGE] = (root / "image.png").read_bytes()
        written = []
        for name, kind in tree.items():
            file = root / "nut" / name
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(_CONTENT[kind])
                written.append(f"nut/{name}")
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                # The name of another file's folder.
                continue
        yield root, [name for name in written if (root / name).is_file()]


def scanned(root: Path) -> CategoryScan | str:
    try:
        return scan_category(root, "nut")
    except DatasetError as problem:
        return str(problem)


def described(scan: CategoryScan | str) -> object:
    if isinstance(scan, str):
        return scan
    return {**vars(scan), "images": scan.images.to_json(orient="records")}


@_QUICK
@given(TREES)
@example({"test/cut/a.png": IMAGE, "test/cut/a.bmp": IMAGE, "ground_truth/cut/a.png": IMAGE})
def test_by_its_name_every_file_is_exactly_one_thing(tree: Tree) -> None:
    with on_disk(tree) as (root, files):
        listing = list_category(root, "nut")
        masks, _ = pair_masks(listing)
        accounted = Counter(relative_name(candidate.path, root) for candidate in listing.images)
        accounted.update(skipped.path for skipped in listing.skipped)
        accounted.update(relative_name(file, root) for file in listing.beside)
        accounted.update(relative_name(file, root) for file in listing.other_truth)
        accounted.update(
            relative_name(file, root) for masks_of in listing.masks.values() for file in masks_of
        )
        refused = [problem.path for problem in listing.problems]
        for file in files:
            named = sum((root / file).is_relative_to(path) for path in refused)
            assert accounted[relative_name(root / file, root)] + named == 1, file
        assert sum(accounted.values()) == len(files) - sum(
            any((root / file).is_relative_to(path) for path in refused) for file in files
        )
        assert set(masks) <= {candidate.path for candidate in listing.images}


@_QUICK
@given(TREES)
def test_every_file_of_a_category_is_accounted_for_exactly_once(tree: Tree) -> None:
    with on_disk({**tree, **SOUND}) as (root, files):
        scan = scanned(root)
        if isinstance(scan, str):
            # What is refused for its content is named on a line of its own.
            lines = scan.splitlines()
            assert len(lines) == len(set(lines))
            assert all(
                (line.isprintable() and str(root) in line) or line[:4] == "nut/" for line in lines
            )
            for name, kind in tree.items():
                place = PurePosixPath(name)
                is_candidate = place.suffix.lower() in {".png", ".jpg", ".bmp"}
                if (
                    kind != IMAGE
                    and is_candidate
                    and name not in SOUND
                    and not place.name.startswith(".")
                    and place.parent.as_posix() in ("train/good", "test/good", "test/cut")
                ):
                    shown = relative_name(root / "nut" / name, root)
                    assert sum(line.startswith(f"{root}/{shown}: ") for line in lines) == 1
            return
        used = Counter(scan.images["path"])
        used.update(scan.images["mask_path"].dropna())
        used.update(misfit.mask for misfit in scan.misfits)
        shown_use = Counter({relative_name(root / name, root): n for name, n in used.items()})
        shown_use.update(skipped.path for skipped in scan.skipped)
        shown_use.update(scan.unused_masks)
        shown_use.update(scan.beside)
        assert shown_use == Counter(relative_name(root / name, root) for name in files)


@_QUICK
@given(TREES)
def test_the_order_is_as_documented_and_a_second_scan_is_equal(tree: Tree) -> None:
    images = {name: kind for name, kind in tree.items() if kind == IMAGE}
    with on_disk({**images, **SOUND}) as (root, _):
        first, second = scanned(root), scanned(root)
        assert described(first) == described(second)
        if isinstance(first, str):
            return
        keys = [
            (row.split == "test", row.label, PurePosixPath(row.path).name)
            for row in first.images.itertuples()
        ]
        assert keys == sorted(keys)
        assert first.images["path"].is_unique
        for row in first.images.itertuples():
            assert row.path.split("/")[:3] == ["nut", row.split, row.label]
            assert row.is_anomaly == (row.label != "good")
            assert (root / row.path).stat().st_size == row.bytes
            if isinstance(row.mask_path, str):
                assert row.mask_path.startswith(f"nut/ground_truth/{row.label}/")
                stem = PurePosixPath(row.mask_path).stem
                image = PurePosixPath(row.path).stem
                assert stem in (image, f"{image}_mask")
