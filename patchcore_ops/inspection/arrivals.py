"""Image files that arrive in an inbox: what a listing says of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, tzinfo
from pathlib import PurePosixPath
from typing import NamedTuple

from patchcore_ops.dataset.image_formats import IMAGE_EXTENSIONS


class Arrival(NamedTuple):
    """An image file below a category's folder."""

    path: str  # relative to the category's folder
    place: str  # where it is read: a path, or what the storage calls it
    bytes: int
    modified_ns: int  # when its content was last modified, in nanoseconds since 1970
    # When anything of it was last written, in seconds since 1970: a copy may keep the time of the
    # original as its own time of modification.
    changed: float

    @property
    def digest(self) -> str:
        """Twelve digits that stand for path, size and time."""
        content = f"{self.path}\0{self.bytes}\0{self.modified_ns}"
        return hashlib.blake2b(content.encode(), digest_size=6).hexdigest()

    def day(self, zone: tzinfo) -> str:
        """Return the day of its last modification, ISO 8601."""
        try:
            return datetime.fromtimestamp(self.modified_ns // 10**9, zone).date().isoformat()
        # Some network shares give times that no calendar has; other files shall not suffer for it.
        except (ValueError, OverflowError):
            return (date.max if self.modified_ns > 0 else date.min).isoformat()

    @property
    def arrived(self) -> str:
        """The time of its last modification in UTC, to the second."""
        moment = datetime.fromtimestamp(self.modified_ns // 10**9, UTC)
        return moment.isoformat(timespec="seconds")

    def is_settled(self, seconds: float, now: float) -> bool:
        """Tell whether nothing of it has changed for so long."""
        return now - self.changed >= seconds


def by_day(arrivals: Iterable[Arrival], zone: tzinfo) -> dict[str, list[Arrival]]:
    """Group files by the day of their last modification."""
    days: defaultdict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        days[arrival.day(zone)].append(arrival)
    return dict(days)


def digest_of(arrivals: Iterable[Arrival]) -> str:
    """Return what stands for a set of files, whatever their order."""
    lines = "\n".join(sorted(arrival.digest for arrival in arrivals))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def is_image(name: str) -> bool:
    """Tell whether a file has the suffix of an image, and no part of its path is hidden."""
    path = PurePosixPath(name)
    is_plain = str(path) == name and ".." not in path.parts
    is_hidden = any(part.startswith(".") for part in path.parts)
    return is_plain and not is_hidden and path.suffix.lower() in IMAGE_EXTENSIONS
