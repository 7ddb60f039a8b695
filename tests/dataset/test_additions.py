"""`patchcore accept` and `patchcore reject`: images that become part of a category, or stay out."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from category_kit import build, draw, scan

from patchcore_assets.commands.main import main
from patchcore_ops.dataset import additions
from patchcore_ops.runtime.fingerprints import file_hash


@pytest.fixture
def nut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a sound category, which the default configuration names."""
    config = tmp_path / "patchcore.yaml"
    dataset = {"root": str(tmp_path / "data"), "categories": ["nut"], "resize": 8, "imagesize": 8}
    config.write_text(json.dumps({"dataset": dataset}))
    monkeypatch.setenv("PATCHCORE_CONFIG", str(config))
    monkeypatch.delenv("PATCHCORE_DATASET_ROOT", raising=False)
    return build(tmp_path / "data")


def new_name(origin: str, file: Path, stem: str | None = None) -> str:
    day = datetime.now(UTC).strftime("%Y%m%d")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    return f"{origin}-{day}-{stem or file.stem}-{digest}"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_accepted_images_are_train_images_byte_for_byte(
    nut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [draw(tmp_path / "line 3/a b.png", 91), draw(tmp_path / "photo.JPG", 92)]
    before = files_of(nut)
    assert main(["accept", "nut", *map(str, files)]) == 0
    added = {
        f"train/good/{new_name('accepted', files[0], 'a_b')}.png": files[0].read_bytes(),
        f"train/good/{new_name('accepted', files[1])}.jpg": files[1].read_bytes(),
    }
    assert files_of(nut) == {**before, **added}
    assert (scan(nut).images["split"] == "train").sum() == 4
    said = capsys.readouterr().out
    assert (
        "dagster asset materialize -m patchcore_assets --select 'image_manifest*' --partition nut"
    ) in said

    config = Path(os.environ["PATCHCORE_CONFIG"])
    config.write_text(json.dumps({**json.loads(config.read_text()), "inbox": {"root": "inbox"}}))
    more = draw(tmp_path / "more.png", 93)
    assert main(["accept", "nut", str(more)]) == 0
    assert (
        " --select 'key:image_manifest+ and not key:inspections' --partition nut"
    ) in capsys.readouterr().out
    (nut / f"train/good/{new_name('accepted', more)}.png").unlink()

    assert main(["accept", "nut", *map(str, files), str(nut / "test/good/c.png")]) == 0
    assert files_of(nut) == {**before, **added}
    said = capsys.readouterr().out
    assert said.count("not copied, for it is there as train/good/accepted-") == 2
    assert "test/good/c.png: not copied, for it is there as test/good/c.png" in said
    assert "next" not in said


def test_an_image_is_added_where_its_size_is_decided_later(nut: Path, tmp_path: Path) -> None:
    config = Path(os.environ["PATCHCORE_CONFIG"])
    content = json.loads(config.read_text())
    content["dataset"].update(resize=32, imagesize="auto")
    config.write_text(json.dumps(content))
    good, bad = draw(tmp_path / "good.png", 91), draw(tmp_path / "bad.png", 92)
    mask = draw(tmp_path / "mask.png", 255)
    assert main(["accept", "nut", str(good)]) == 0
    assert main(["reject", "nut", str(bad), "--mask", str(mask)]) == 0
    name = new_name("rejected", bad)
    assert (nut / f"train/good/{new_name('accepted', good)}.png").is_file()
    assert (nut / f"test/rejected/{name}.png").is_file()
    assert (nut / f"ground_truth/rejected/{name}_mask.png").is_file()


def test_an_image_of_the_category_that_may_not_be_read_is_named(
    nut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(file: Path) -> str:
        if file.parent.name == "good":
            raise PermissionError(13, "Permission denied", str(file))
        return file_hash(file)

    monkeypatch.setattr(additions, "file_hash", refused)
    (nut / "train/good/a.png").write_bytes(draw(tmp_path / "new.png", 91).read_bytes())
    before = files_of(nut)
    assert main(["accept", "nut", str(tmp_path / "new.png")]) == 2
    assert f"{nut / 'train/good/a.png'}: cannot be read (Perm" in capsys.readouterr().err
    assert files_of(nut) == before


def test_an_image_that_is_given_twice_is_added_once(nut: Path, tmp_path: Path) -> None:
    one = draw(tmp_path / "one.png", 91)
    other = tmp_path / "other.png"
    other.write_bytes(one.read_bytes())
    assert main(["accept", "nut", str(one), str(other)]) == 0
    assert len(list((nut / "train/good").iterdir())) == 3


def test_rejected_images_are_test_images_of_their_defect(
    nut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = draw(tmp_path / "plain.png", 91)
    assert main(["reject", "nut", str(plain)]) == 0
    assert "counts in the metrics of images and not in those of pixels" in capsys.readouterr().out
    masked = draw(tmp_path / "masked.png", 92)
    mask = draw(tmp_path / "drawn.png", 255)
    arguments = ["reject", "nut", str(masked), "--defect", "deep scratch", "--mask", str(mask)]
    assert main(arguments) == 0
    images = scan(nut).images.set_index("path")
    name = f"nut/test/rejected/{new_name('rejected', plain)}.png"
    assert images.loc[name, "defect_type"] == "rejected"
    assert images.loc[[name], "mask_path"].isna().all()
    name = new_name("rejected", masked)
    assert images.loc[f"nut/test/deep scratch/{name}.png", "mask_path"] == (
        f"nut/ground_truth/deep scratch/{name}_mask.png"
    )
    assert main(arguments) == 2
    assert "is the image's mask already" in capsys.readouterr().err


def test_a_mask_is_added_to_an_image_that_is_there(nut: Path, tmp_path: Path) -> None:
    plain = draw(tmp_path / "plain.png", 91)
    assert main(["reject", "nut", str(plain)]) == 0
    assert main(["reject", "nut", str(plain), "--mask", str(draw(tmp_path / "m.png", 255))]) == 0
    assert (scan(nut).images["label"] == "rejected").sum() == 1
    assert scan(nut).images["mask_path"].notna().sum() == 2


def test_one_bad_image_keeps_all_out(
    nut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = draw(tmp_path / "good.png", 91)
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:-30])
    text = tmp_path / "text.png"
    text.write_text("text")
    before = files_of(nut)
    files = [good, cut, text, tmp_path / "gone.png", tmp_path, nut / "test/cut/d.png"]
    assert main(["accept", "nut", *map(str, files)]) == 2
    assert files_of(nut) == before
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0] for line in said] == [str(file) for file in files[1:]]
    assert "is none of PNG, JPEG, BMP, TIFF and WebP" in said[1]
    assert said[2].endswith("no such file; name an image")
    assert said[3].endswith("is a folder; name the images in it")
    assert said[4].endswith(
        "is test/cut/d.png of 'nut' already, so it would be both; remove it there first"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["accept", "bolt"], "'bolt' is not one of the configured categories (nut)"),
        (["reject", "nut", "--defect", "Good"], "use patchcore accept for normal images"),
        (["reject", "nut", "--defect", "../x"], "becomes a folder's name"),
        (["reject", "nut", "--defect", "good "], "end with no blank"),
        (["reject", "nut", "--defect", " "], "becomes a folder's name"),
        (["reject", "nut", "--mask", "gone.png"], "gone.png: no such file"),
        (["reject", "nut", "--mask", "{large}"], "has 9 x 9 pixels, but its image 8 x 8"),
        (["reject", "nut", "{large}", "--mask", "gone.png"], "reject one at a time"),
    ],
)
def test_what_cannot_be_added_is_said_in_a_sentence(
    nut: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    large = draw(tmp_path / "large.png", 90, side=9)
    image = draw(tmp_path / "image.png", 91)
    before = files_of(nut)
    command, category, *rest = (one.format(large=large) for one in arguments)
    assert main([command, category, str(image), *rest]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert sentence in said
    assert files_of(nut) == before


def test_a_dataset_that_is_not_there_is_named(
    nut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = draw(tmp_path / "image.png", 91)
    nut.rename(nut.with_name("other"))
    assert main(["accept", "nut", str(image)]) == 2
    assert f"{nut}/train/good: no such folder; set dataset.root" in capsys.readouterr().err


def test_a_failed_copy_takes_all_away_again(
    nut: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [draw(tmp_path / f"{grey}.png", grey) for grey in (91, 92)]
    before = files_of(nut)
    rename = Path.rename

    def fail_at_second(self: Path, target: Path) -> Path:
        if "92" in target.name:
            raise OSError(28, os.strerror(28), str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_at_second)
    assert main(["accept", "nut", *map(str, files)]) == 2
    assert "No space left on device); nothing was added" in capsys.readouterr().err
    assert files_of(nut) == before
