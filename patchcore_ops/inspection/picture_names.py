"""Names for the pictures of images, unique in one folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from patchcore_ops.dataset.image_formats import printable

# Most file systems take 255 bytes; extension, number and the name's beginning while it is written
# have to fit as well.
_MOST_BYTES = 200


def picture_names(paths: Iterable[Path], given: Mapping[str, str]) -> dict[str, str]:
    """Name the pictures of images by their paths; names that are `given` by path stay.

    A name is what the path has beyond the folder that holds all images, without extension, `-`
    between its parts; with a number where that is taken, also by an image not among `paths`.

    Examples
    --------
    >>> picture_names([Path("new/a/1.png"), Path("new/b/1.png"), Path("new/a/1.jpg")], {})
    {'new/a/1.png': 'a-1', 'new/b/1.png': 'b-1', 'new/a/1.jpg': 'a-1-2'}
    """
    absolute = {str(path): Path(os.path.abspath(path)) for path in paths}  # noqa: PTH100 - a link stays
    if not absolute:
        return {}
    root = Path(os.path.commonpath([path.parent for path in absolute.values()]))
    # Some file systems do not tell capitals from small letters.
    taken = {name.casefold() for name in given.values()}
    names = {}
    for key, path in absolute.items():
        name = given.get(key)
        if name is None:
            name = _unique(_short("-".join(path.relative_to(root).with_suffix("").parts)), taken)
            taken.add(name.casefold())
        names[key] = name
    return names


def _short(name: str) -> str:
    return printable(name).encode()[-_MOST_BYTES:].decode(errors="ignore")


def _unique(name: str, taken: set[str]) -> str:
    if name.casefold() not in taken:
        return name
    number = 2
    while f"{name}-{number}".casefold() in taken:
        number += 1
    return f"{name}-{number}"
