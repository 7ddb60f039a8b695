"""What an artefact is of: a category, a day of one, or everything."""

from __future__ import annotations

from typing import NamedTuple

import dagster as dg

# The dimensions of an asset that has days as well.
CATEGORY, DAY = "category", "day"
# Parts the two in Dagster's keys, and is in the name of no category.
OF_DAYS = "|"


class Partition(NamedTuple):
    """A category, or a day of it, ISO 8601; None where an asset has neither."""

    category: str | None
    day: str | None = None

    @property
    def place(self) -> str | None:
        """What stands for it in the store."""
        return f"{self.category}/{self.day}" if self.day else self.category

    @property
    def key(self) -> str:
        """What Dagster calls it."""
        if self.day is None:
            return str(self.category)
        return dg.MultiPartitionKey({CATEGORY: str(self.category), DAY: self.day})

    @staticmethod
    def of(key: str) -> Partition:
        """Return the partition of a key of Dagster."""
        if isinstance(key, dg.MultiPartitionKey):
            return Partition(key.keys_by_dimension[CATEGORY], key.keys_by_dimension[DAY])
        return Partition(key)
