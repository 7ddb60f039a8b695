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
    """What a request may ask for, and how much of it is held at once.

    Attributes
    ----------
    body_bytes : int
        Of a request's body.
    held_bytes : int
        Of all bodies that are being read or wait for their turn.
    pixels : int
        Of an image; a model's own limit holds too.
    images : int
        Of a request.
    waiting_images : int
        Of all requests, not yet begun.
    seconds : float
        From a request's first byte to its answer.
    """

    body_bytes: int = 32 * 2**20
    held_bytes: int = 256 * 2**20
    pixels: int = 50_000_000
    images: int = 16
    waiting_images: int = 64
    seconds: float = 30.0


@dataclass(frozen=True)
class ServiceSettings:
    """How a service is run.

    Attributes
    ----------
    models : Path
        A folder of models, or one model's folder.
    token : str, optional
        What clients must send; None lets everyone in.
    batch_seconds : float
        How long the first image of a batch waits for others.
    batch_images : int
        How many images are scored together.
    poll_seconds : float
        How often the models' folders are looked at.
    """

    models: Path
    token: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
    batch_seconds: float = 0.002
    batch_images: int = 16
    poll_seconds: float = 2.0
