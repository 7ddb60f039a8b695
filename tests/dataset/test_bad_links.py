"""Links, permissions and manifests: what may be read, and from where."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from category_kit import IMAGES, add, build, draw, refusal, scan
from rights_kit import closed

from patchcore_assets.commands.main import main
from patchcore_ops.dataset.manifest import refuse_paths_outside
from patchcore_ops.runtime.errors import DatasetError
from patchcore_ops.runtime.fingerprints import folder_version
from patchcore_ops.stages.layout import MANIFEST, read_manifest


def test_links_to_files_and_to_folders_of_the_layout_are_followed_out_of_the_dataset(
    nut: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "nas"
    shutil.move(nut / "train/good/a.png", draw(outside / "one/x.png"))
    (nut / "train/good/a.png").symlink_to(outside / "one/x.png")
    for part in ("test/cut", "ground_truth"):
        shutil.move(nut / part, outside / part.replace("/", "_"))
        (nut / part).symlink_to(outside / part.replace("/", "_"))
    shutil.move(nut, outside / "nut")
    nut.symlink_to(outside / "nut")
    found = scan(nut)
    assert found.images["path"].tolist() == [f"nut/{name}.png" for name in IMAGES]
    assert found.images["mask_path"].notna().sum() == 1
    assert found.skipped == ()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
@pytest.mark.parametrize("what", ["file", "mask", "label", "split", "truth"])
def test_what_may_not_be_read_is_named(what: str) -> None:
    # A folder of its own, since an ordinary user may not look into root's temporary folder.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        nut = build(Path(folder))
        name = {
            "file": "train/good/a.png",
            "mask": "ground_truth/cut/d_mask.png",
            "label": "test/good",
            "split": "train",
            "truth": "ground_truth",
        }[what]
        (nut / "test/cut/e.png").touch()
        with closed(nut / name):
            lines = refusal(nut)
    assert len(lines) == 2
    said = sorted(lines, key=lambda line: "e.png" in line)[0]
    assert said.startswith(f"{nut / name}: cannot be read (Permission denied); let the user who")


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_dataset_that_may_not_be_entered_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        nut = build(Path(folder, "data"))
        image = draw(Path(folder, "new.png"), 77)
        config = Path(folder, "patchcore.yaml")
        config.write_text(
            f"dataset: {{root: {nut.parent}, categories: [nut, Größe]}}\n", encoding="utf-8"
        )
        accept = ["accept", "--config", str(config), "nut", str(image)]
        # Once with all rights: what Python imports, an ordinary user may not see.
        assert main(accept) == 0
        with closed(nut.parent):
            [line] = refusal(nut)
            with pytest.raises(DatasetError) as caught:
                folder_version(nut.parent, nut.name)
            assert main(accept) == 2
    assert line.startswith(f"{nut}: cannot be read (Permission denied); let the user who runs")
    assert str(caught.value).startswith(f"{nut}: cannot be read (Permission denied); make it rea")
    assert f"{nut}: cannot be read (Permission denied)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "nut/../../x.png", "", "..", "a/..", "nut/a\0.png", "."],
)
@pytest.mark.parametrize("column", ["path", "mask_path"])
def test_a_manifest_cannot_lead_out_of_the_root(nut: Path, path: str, column: str) -> None:
    images = scan(nut).images.astype({"path": object, "mask_path": object})
    refuse_paths_outside(images)
    images.loc[2, column] = path
    folder = nut.parent / "artefact"
    folder.mkdir()
    images.to_parquet(folder / MANIFEST)
    with pytest.raises(
        DatasetError, match=r"leads out of the dataset's root; materialise image_ma"
    ):
        read_manifest(folder)


def test_a_manifest_is_read_as_it_was_written(nut: Path) -> None:
    add("test/cut/two\nlines ü.png")(nut)
    images = scan(nut).images
    images.to_parquet(nut / MANIFEST, index=False)
    pd.testing.assert_frame_equal(read_manifest(nut), images, check_dtype=False)
    assert (nut.parent / images["path"][2]).is_file() or images["path"][2].endswith("d.png")
