"""What the storage tests run in processes of their own."""

from __future__ import annotations

import time

from patchcore_assets.storage import open_store

FILES = ("a.txt", "0/b.txt", "1/c.txt")


def commit_often(root: str, writer: str, times: int) -> None:
    """Commit versions whose files all hold the same word."""
    store = open_store(root)
    for number in range(times):
        with store.stage("asset", "category") as staging:
            for name in FILES:
                target = staging.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(f"{writer}-{number}", encoding="utf-8")
            staging.commit({"writer": writer})
        time.sleep(0.01)  # Readers get a turn, however busy the machine is.
