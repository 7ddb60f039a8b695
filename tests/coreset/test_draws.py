"""numpy's draws against torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchcore_ops.coreset.torch_draws import Draws

SEEDS = [0, 12345, 2**32 - 1, 2**32, 2**63 - 1]


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="without fused multiply-add, torch rounds twice",
)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (128, 1024), (7, 17)])
def test_uniform_draws_are_those_of_torch_one_after_the_other(
    seed: int, shape: tuple[int, int]
) -> None:
    draws, generator = Draws(seed), torch.Generator().manual_seed(seed)
    for bound in (shape[1] ** -0.5, 0.1, 3.0):
        expected = torch.empty(shape).uniform_(-bound, bound, generator=generator)
        drawn = draws.uniform(bound, shape)
        assert drawn.dtype == np.float32
        np.testing.assert_array_equal(drawn, expected.numpy())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("count", "rows"), [(10, 163_856), (10, 10), (10, 5), (1, 1), (300, 300), (299, 300), (0, 4)]
)
def test_rows_are_drawn_as_torch_permutes_them(seed: int, count: int, rows: int) -> None:
    draws, generator = Draws(seed), torch.Generator().manual_seed(seed)
    draws.uniform(1.0, (3, 7))
    torch.empty(3, 7).uniform_(-1, 1, generator=generator)
    expected = torch.randperm(rows, generator=generator)[:count]
    np.testing.assert_array_equal(draws.some_of(count, rows), expected.numpy())
