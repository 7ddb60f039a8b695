"""The sensor `inspect_inbox`: which days it asks for, and when."""

from __future__ import annotations

import time
import uuid

import dagster as dg
import fsspec
from inspection_kit import DAY, INBOX, NEXT, NOON, Line
from pipeline_kit import CATEGORY, OTHER

from patchcore_assets.automation.inbox import MOST_REQUESTED, InboxLook, Look
from patchcore_assets.graph import INSPECTIONS_JOB, define
from patchcore_ops.config import load_config
from patchcore_ops.inspection.inbox import BATCH_IMAGES, open_inbox

ASSET, MODEL = dg.AssetKey("inspections"), dg.AssetKey("model")
KEY, NEXT_KEY = f"{CATEGORY}|{DAY}", f"{CATEGORY}|{NEXT}"


def look(line: Line, before: Look | None = None, later: float = 0.0) -> Look:
    """Look at the inbox as a tick does, some seconds later than now."""
    config = load_config(line.file)
    assert config.inbox is not None
    one = InboxLook(line.instance, config, config, config.inbox, ASSET, MODEL, {})
    return one.at_all(before and before.memory.written(), time.time() + later)


def asked(found: Look) -> list[str]:
    return [str(one.partition_key) for one in found.requests]


def test_a_day_is_asked_for_when_its_images_no_longer_change(line: Line) -> None:
    line.configure(inbox={**INBOX, "settled_seconds": 60})
    growing = line.put(b"half", "growing.png")
    line.put(b"whole", "whole.png", NOON + 86400)
    first = look(line, later=61)
    assert asked(first) == [], "a look has nothing to compare with"
    assert asked(look(line, first, later=1)) == [], "written a moment ago"
    growing.write_bytes(b"half and half")
    line.put(growing, "growing.png")
    second = look(line, first, later=61)
    assert asked(second) == [NEXT_KEY], "one has another size than before"
    third = look(line, second, later=61)
    assert asked(third) == [KEY], "what was asked for is not asked for again"
    assert asked(look(line, third, later=61)) == []


def test_what_was_inspected_is_not_asked_for_again(line: Line) -> None:
    images = line.images("test")
    line.put(images[0], "a.png")
    first = look(line)
    second = look(line, first)
    assert asked(second) == [KEY]
    assert {one.run_key for one in second.requests} == {
        one.run_key for one in look(line, first).requests
    }
    line.inspect()
    assert asked(look(line, second)) == []
    # That images are taken away is no reason; one more is, also if a run has failed.
    (line.inbox / CATEGORY / "a.png").unlink()
    line.put(images[1], "b.png")
    third = look(line, look(line, second))
    assert asked(third) == [KEY]
    line.put(images[2], "c.png")
    fourth = look(line, third)
    assert asked(fourth) == [], "b.png was asked for, and c.png is new"
    fifth = look(line, fourth)
    assert asked(fifth) == [KEY]


def test_one_run_a_day_and_few_at_a_time(line: Line) -> None:
    for day in range(MOST_REQUESTED + 2):
        line.put(b"x", f"{day}.png", NOON + 86400 * day)
    line.instance.add_run(
        dg.DagsterRun(
            INSPECTIONS_JOB,
            run_id=str(uuid.uuid4()),
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": NEXT_KEY},
        )
    )
    first = look(line, look(line))
    assert asked(first) == [f"{CATEGORY}|2025-03-{day:02}" for day in range(12, 2, -1)]
    assert asked(look(line, first)) == [KEY]


def test_what_belongs_nowhere_is_named(line: Line) -> None:
    line.put(b"x", "a.png", NOON, "fabric_z")
    line.put(b"x", "a.png", NOON, OTHER)
    line.put(b"x", "a.png", NOON - 86400 * 365)
    found = look(line, look(line))
    assert asked(found) == []
    assert found.summary() == (
        "no new images; no category is called fabric_z: rename or remove those; there is no model "
        f"of {OTHER} yet: materialise it; 1 images are of days before 2025-01-01 or after today: "
        "see inbox.first_day, and the clock of who writes them"
    )
    sensor = define(load_config(line.file)).resolve_sensor_def("inspect_inbox")
    with dg.build_sensor_context(line.instance) as context:
        tick = sensor.evaluate_tick(context)
    assert tick.skip_message == found.summary()
    line.inbox.rename(line.inbox.with_name("elsewhere"))
    with dg.build_sensor_context(line.instance) as context:
        tick = sensor.evaluate_tick(context)
    assert str(tick.skip_message).startswith(f"nothing was looked at: {line.inbox}: cannot be read")


def test_an_edited_time_zone_waits_for_a_reload(line: Line) -> None:
    image = line.images("test")[0]
    # In another zone it has arrived on the next day, where a run would look for it in vain.
    line.put(image, "late.png", NOON + 11 * 3600)
    sensor = define(load_config(line.file)).resolve_sensor_def("inspect_inbox")
    line.configure(schedule={"timezone": "Asia/Tokyo"})
    cursor = None
    for _ in range(2):
        with dg.build_sensor_context(line.instance, cursor=cursor) as context:
            tick = sensor.evaluate_tick(context)
        assert not tick.run_requests
        cursor = tick.cursor
    assert "schedule.timezone has been edited" in (tick.skip_message or "")


def test_an_inbox_at_a_url_is_read_in_batches(line: Line) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    line.configure(inbox={**INBOX, "root": root})
    image = line.images("test")[0].read_bytes()
    for number in range(BATCH_IMAGES + 1):
        with fsspec.open(f"{root}/{CATEGORY}/line 1/{number}.png", "wb") as stream:
            stream.write(image)
    inbox = open_inbox(root)
    arrivals = inbox.arrivals(CATEGORY)
    assert [len(batch) for batch in inbox.batches(arrivals)] == [BATCH_IMAGES, 1]
    with inbox.brought(arrivals[:2]) as files:
        assert [file.read_bytes() for file in files] == [image, image]
    assert not files[0].parent.exists()
    found = look(line, look(line))
    [key] = asked(found)
    today = key.partition("|")[2]
    metadata = line.inspect(today)
    assert (metadata["images"], metadata["scored_now"]) == (BATCH_IMAGES + 1, BATCH_IMAGES + 1)
    assert line.table(today)["score"].nunique() == 1
    assert asked(look(line, look(line, found))) == []
