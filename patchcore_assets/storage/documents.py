"""Small texts beside the artefacts, such as the configuration of a run: written whole, or not."""

from __future__ import annotations

from pathlib import Path

from patchcore_assets.storage.local.durable import flush, flush_entries

_ASIDE = ".document"


def write_document(root: str, name: str, text: str, scratch: Path) -> str:
    """Write a text below a storage root, unless it is there already.

    Raises
    ------
    StorageBusy, StorageRefused, OSError
        If it cannot be written.
    """
    if "://" in root:
        from patchcore_assets.storage.remote.objects import Objects

        objects = Objects(root)
        objects.write(name, text.encode())
        return f"{objects.root}/{name}"
    file = Path(root, name)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = scratch / _ASIDE
        aside.write_text(text, encoding="utf-8")
        flush([aside])
        aside.replace(file)
        flush_entries(file.parent)
    return str(file)


def read_document(location: str) -> str | None:
    """Read a document; None if it is not there.

    Raises
    ------
    StorageBusy, StorageRefused, OSError
        If it cannot be read.
    """
    if "://" in location:
        from patchcore_assets.storage.remote.objects import Objects

        root, _, name = location.rpartition("/")
        content = Objects(root).read(name)
        return None if content is None else content.decode()
    try:
        return Path(location).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
