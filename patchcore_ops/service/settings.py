"""What a service is told, and the limits that it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TOKEN_VARIABLE: Final = "PATCHCORE_TOKEN"  # noqa: S105 - the variable's name
# What a client that was sent away waits at least.
RETRY_SECONDS: Final = 2


@dataclass(frozen=True)
class Limits:
    """What a request may ask for, and how much of it is held at once."""

    body_bytes: int = 32 * 2**20  # of a request's body
    held_bytes: int = 256 * 2**20  # of all bodies that are being read or wait for their turn
    pixels: int = 50_000_000  # of an image; a model's own limit holds too
    images: int = 16  # of a request
    waiting_images: int = 64  # of all requests, not yet begun
    seconds: float = 30.0  # from a request's first byte to its answer


@dataclass(frozen=True)
class ServiceSettings:
    """How a service is run."""

    models: Path  # a folder of models, or one model's folder
    token: str | None = field(default=None, repr=False)  # clients must send it; None lets all in
    limits: Limits = field(default_factory=Limits)
    batch_seconds: float = 0.002  # how long the first image of a batch waits for others
    batch_images: int = 16  # how many images are scored together
    poll_seconds: float = 2.0  # how often the models' folders are looked at
