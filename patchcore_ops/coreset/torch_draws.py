"""Random draws, number for number those that torch's generator gives on a CPU.

The reference draws its projection and its starting points so. Both generators are the Mersenne
Twister with the same seeding; of each draw torch takes 32 bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# What a float32 holds, as torch makes one of 32 bits.
_MANTISSA = 24


class Draws:
    """What a `torch.Generator` with this seed would draw, one call after the other.

    Seeds are not negative. As in torch, only their lower 32 bits count.
    """

    def __init__(self, seed: int) -> None:
        # The old class, for its draws are promised to stay what they are.
        self._generator = np.random.RandomState(seed % 2**32)

    def uniform(self, bound: float, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Draw from [-bound, bound), as `torch.empty(shape).uniform_(-bound, bound)` does."""
        raw = self._bits(int(np.prod(shape, dtype=np.int64))) & np.uint32(2**_MANTISSA - 1)
        low, high = float(np.float32(-bound)), float(np.float32(bound))
        # Doubles hold product and sum exactly, so that this rounds once, as torch's kernels do.
        drawn = raw * 2.0**-_MANTISSA * (high - low) + low
        return drawn.astype(np.float32).reshape(shape)

    def some_of(self, count: int, rows: int) -> npt.NDArray[np.int64]:
        """Draw `count` of so many rows without replacement, or all if there are not so many.

        As `torch.randperm(rows)[:count]` does for fewer than 2**32 / 20 rows. Let it be the last
        draw: torch goes on to place the other rows.
        """
        count = min(count, rows)
        moved: dict[int, int] = {}
        drawn = np.empty(count, dtype=np.int64)
        for place, bits in enumerate(self._bits(count).tolist()):
            other = place + bits % (rows - place)
            drawn[place] = moved.get(other, other)
            moved[other] = moved.get(place, place)
        return drawn

    def _bits(self, count: int) -> npt.NDArray[np.uint32]:
        return self._generator.randint(0, 2**32, size=count, dtype=np.uint32)
