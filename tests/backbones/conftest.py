"""The network that the tests of weights files and of their mistakes share."""

from __future__ import annotations

import pytest
import timm
import torch


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Return the state dict of timm's smallest residual network, with random weights."""
    torch.manual_seed(0)
    model: torch.nn.Module = timm.create_model("test_resnet", pretrained=False)
    return model.state_dict()
