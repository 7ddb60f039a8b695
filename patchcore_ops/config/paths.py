"""Paths that a configuration names: relative to its file, absolute in a file at a URL."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from patchcore_ops.config.addresses import (
    CREDENTIALS_IN_URL,
    holds_credentials,
    is_url,
)
from patchcore_ops.config.mistakes import Mistakes, shown
from patchcore_ops.runtime.errors import ConfigError

DATASET_ROOT_VARIABLE = "PATCHCORE_DATASET_ROOT"
STORAGE_ROOT_VARIABLE = "PATCHCORE_STORAGE_ROOT"

# Where a configuration can be read, but nothing can be stored beside it.
_ONLY_READ = ("http", "https")


def configuration_place(path: str | os.PathLike[str]) -> str:
    """Return the absolute path, or the URL, of a configuration file.

    Raises ConfigError if a URL holds credentials, or `~` names no home folder.
    """
    place = os.fspath(path).removeprefix("file://")
    if holds_credentials(place):
        raise ConfigError(f"the configuration's URL {CREDENTIALS_IN_URL}")
    if is_url(place):
        return place
    try:
        return str(Path(place).expanduser().absolute())
    except RuntimeError:
        raise ConfigError(f"{place}: '~' names no home folder; write the whole path") from None


def resolve_dataset_root(configured: str, mistakes: Mistakes) -> str | None:
    """Make the root of the images absolute; it is on this machine."""
    key, root, base = _root("dataset", configured, DATASET_ROOT_VARIABLE, mistakes)
    if holds_credentials(root):
        mistakes.add(key, CREDENTIALS_IN_URL)
        return None
    if is_url(root):
        mistakes.add(
            key,
            f"must be a folder on this machine (got {shown(root)}); copy or mount the images, "
            "for only storage.root may be a URL",
        )
        return None
    return _absolute(key, root, base, mistakes, f", or set {DATASET_ROOT_VARIABLE}")


def resolve_storage_root(configured: str, mistakes: Mistakes) -> str | None:
    """Make the root of the artefacts absolute: a folder or a URL."""
    key, root, base = _root("storage", configured, STORAGE_ROOT_VARIABLE, mistakes)
    if holds_credentials(root):
        mistakes.add(key, CREDENTIALS_IN_URL)
        return None
    if is_url(root):
        protocol, _, path = root.partition("://")
        return f"{protocol}://{path.rstrip('/')}"
    if base is None and (beside := _beside(mistakes.file, root)):
        return beside
    return _absolute(key, root, base, mistakes, f" or a URL, or set {STORAGE_ROOT_VARIABLE}")


def resolve_path(key: str, path: str, mistakes: Mistakes) -> str | None:
    """Make the path of a key absolute; it is on this machine."""
    return _absolute(key, path, mistakes.folder, mistakes)


def resolve_folder(key: str, folder: str | None, mistakes: Mistakes) -> Path | None:
    """Make the folder of a key absolute; refuse a URL."""
    if folder is None:
        return None
    if is_url(folder):
        mistakes.add(key, f"must be a folder on this machine (got {shown(folder)})")
        return None
    resolved = resolve_path(key, folder, mistakes)
    return None if resolved is None else Path(resolved)


def resolve_place(key: str, place: str, mistakes: Mistakes) -> str | None:
    """Make the place of a key absolute: a folder or a URL."""
    if holds_credentials(place):
        mistakes.add(key, CREDENTIALS_IN_URL)
        return None
    place = place.removeprefix("file://")
    return place.rstrip("/") if is_url(place) else resolve_path(key, place, mistakes)


def _root(
    section: str, configured: str, variable: str, mistakes: Mistakes
) -> tuple[str, str, Path | None]:
    """Return the key or variable of a root, the root, and the folder to which it is relative."""
    if from_environment := os.environ.get(variable):
        return variable, from_environment.removeprefix("file://"), Path.cwd()
    return f"{section}.root", configured.removeprefix("file://"), mistakes.folder


def _beside(url: str, path: str) -> str | None:
    """Return the URL of a relative path beside a file at a URL; None where nothing is stored."""
    inside = PurePosixPath(path)
    is_relative = not inside.is_absolute() and not path.startswith("~") and ".." not in inside.parts
    if not is_relative or url.partition("://")[0] in _ONLY_READ:
        return None
    return f"{url.rpartition('/')[0]}/{inside}"


def _absolute(
    key: str, path: str, base: Path | None, mistakes: Mistakes, remedy: str = ""
) -> str | None:
    try:
        expanded = Path(path).expanduser()
    except RuntimeError:
        mistakes.add(key, f"'~' names no home folder in {shown(path)}")
        return None
    if base is None and not expanded.is_absolute():
        mistakes.add(
            key,
            f"must be an absolute path{remedy}, for a configuration at a URL is in no folder "
            f"(got {shown(path)})",
        )
        return None
    return os.path.normpath(expanded if base is None else base / expanded)
