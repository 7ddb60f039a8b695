"""Records that wait for a tracker: kept whole, sent once, in order, and not for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from tracking_kit import make_record

from patchcore_assets.step import deliveries
from patchcore_assets.step.deliveries import UNDELIVERED, Report, Sent, deliver
from patchcore_assets.storage import ArtefactStore
from patchcore_ops.config.sections import TrackerSection


class Waves:
    """Waves whose records go to TensorBoard, which is `down` while a file is in its place."""

    def __init__(self, store: ArtefactStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.board = folder / "board"
        self.trackers = [TrackerSection(kind="tensorboard", folder=str(self.board))]
        self.had: dict[str, list[str]] = {}
        self.said: list[str] = []

    def go_down(self) -> None:
        self.board.write_text("no folder")

    def run(self, number: int) -> list[Report]:
        folder = self.folder / f"made{number}"
        record = make_record(folder, number)
        pictures = {one.category: record.pictures(one.category) for one in record.results}
        reports = deliver(
            self.store, self.trackers, self.had, Sent(record, pictures, {}), self.said.append
        )
        self.had = {report.tracker: list(report.delivered) for report in reports}
        return reports

    def on_the_board(self) -> list[str]:
        return sorted({file.parent.parent.name for file in self.board.rglob("events.*")})


@pytest.fixture
def waves(store: ArtefactStore, tmp_path: Path) -> Waves:
    return Waves(store, tmp_path)


def test_what_a_tracker_did_not_take_goes_with_the_next_wave(waves: Waves) -> None:
    waves.go_down()
    [report] = waves.run(1)
    assert (report.sent, report.waiting) == (0, ["record1"])
    [said] = waves.said
    assert said.startswith("tensorboard MVTecAD_Results ")
    assert "1 of the latest waves must wait in" in said
    assert waves.store.categories(UNDELIVERED) == ["record1"]
    waves.board.unlink()
    [report] = waves.run(2)
    assert (report.sent, report.delivered, report.waiting) == (2, ["record1", "record2"], [])
    assert waves.on_the_board() == ["record1", "record2"]
    assert len(list(waves.board.rglob("events.*"))) == 6
    assert waves.store.categories(UNDELIVERED) == []


def test_a_record_is_sent_once_to_each_tracker(waves: Waves, tmp_path: Path) -> None:
    [report] = waves.run(1)
    assert report.sent == 1
    waves.folder = tmp_path / "again"
    later = TrackerSection(kind="tensorboard", folder=str(tmp_path / "other"))
    waves.trackers.append(later)
    first, second = waves.run(1)
    assert (first.sent, second.sent) == (0, 1)
    assert (first.delivered, second.delivered) == (["record1"], ["record1"])
    assert waves.store.categories(UNDELIVERED) == []


def test_only_the_latest_records_wait_also_where_the_clock_went_back(
    waves: Waves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "KEPT_RECORDS", 2)
    waves.go_down()
    for number in (4, 5, 3):
        [report] = waves.run(number)
    assert report.waiting == ["record5", "record3"]
    assert "wave wave 4 is given up: 2 later ones wait for a tracker too" in waves.said
    assert waves.store.categories(UNDELIVERED) == ["record3", "record5"]
