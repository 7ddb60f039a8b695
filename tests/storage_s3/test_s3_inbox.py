"""An inbox in a bucket: objects are arrivals, by the time at which they were written."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from s3_kit import Bucket

from patchcore_ops.inspection.inbox import InboxOutOfReach, InboxProblem, open_inbox


def test_objects_arrive_and_are_brought_here(bucket: Bucket) -> None:
    bucket.write("bottle/line 1/a.png", b"first")
    bucket.write("bottle/b.JPG", b"second")
    bucket.write("bottle/notes.txt", b"no image")
    bucket.write("bottle/.b.jpg", b"hidden")
    bucket.write("bottle/../c.png", b"no path")
    bucket.write("cable/d.png", b"of another category")
    inbox = open_inbox(bucket.root)
    assert inbox.categories() == ["bottle", "cable"]
    found = inbox.arrivals("bottle")
    assert [(one.path, one.bytes) for one in found] == [("b.JPG", 6), ("line 1/a.png", 5)]
    assert all(abs(one.changed - time.time()) < 60 for one in found)
    bucket.delete("bottle/b.JPG")
    with inbox.brought(found) as files:
        assert not inbox.is_as_listed(found[0], files[0]), "gone since"
        assert inbox.is_as_listed(found[1], files[1])
        assert files[1].read_bytes() == b"first"
    assert [one.path for one in inbox.arrivals("bottle")] == ["line 1/a.png"]
    bucket.write("bottle/line 1/a.png", b"third")
    [again] = inbox.arrivals("bottle")
    assert again.path == "line 1/a.png"
    assert inbox.arrivals("nothing") == []


def test_what_a_bucket_refuses_is_one_sentence(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(InboxProblem, match=r"^nosuch://x: nothing here speaks its protocol"):
        open_inbox("nosuch://x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(InboxOutOfReach, match=r"cannot be read \(\w+\); see that it can be"):
        open_inbox(f"{bucket.root}-elsewhere").arrivals("bottle")


def test_a_bucket_that_is_not_there_is_no_empty_inbox(bucket: Bucket) -> None:
    inbox = open_inbox(bucket.root.replace(bucket.name, "not-there-at-all"))
    sentence = r"^s3://not-there-at-all/some/where: there is no such bucket; correct inbox.root"
    with pytest.raises(InboxProblem, match=sentence):
        inbox.categories()
    with pytest.raises(InboxProblem, match=sentence):
        inbox.arrivals("bottle")
    assert open_inbox(f"s3://{bucket.name}").categories() == []
