"""Which engine computes the embeddings of an ensemble member, and why."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path

from patchcore_ops.config.sections import CategoryConfig, RuntimeSection
from patchcore_ops.embedding.engine import Engine
from patchcore_ops.embedding.exported_network import (
    ExportedNetwork,
    NetworkSettings,
    NetworkStore,
    network_settings,
)
from patchcore_ops.runtime.devices import device_name
from patchcore_ops.runtime.errors import EnvironmentProblem, WeightsError
from patchcore_ops.runtime.fingerprints import HashOf, file_hash
from patchcore_ops.runtime.processors import available_processors


def open_engine(
    config: CategoryConfig,
    member: int,
    runtime: RuntimeSection,
    networks: NetworkStore,
    hash_of: HashOf,
) -> tuple[Engine, str]:
    """Open the engine of an ensemble member; its network is exported first where it has to be.

    Raises WeightsError or EnvironmentProblem if the backbone, the device or the engine cannot be
    used.
    """
    if not computes_by_openvino(runtime):
        device = device_name(runtime.device)
        return _torch_engine(config, member, runtime, device, hash_of), ""
    if find_spec("openvino") is None:
        if runtime.engine == "openvino":
            raise EnvironmentProblem(
                'runtime.engine: openvino is not installed; run: pip install "openvino>=2026.4", '
                "or set engine: torch"
            )
        return _torch_engine(config, member, runtime, "cpu", hash_of), "openvino is not installed"
    from patchcore_ops.embedding.openvino_engine import OpenVinoEngine

    try:
        settings = network_settings(config, member, hash_of)
    except OSError:
        # Who loads the weights says what is wrong with their file.
        return _torch_engine(config, member, runtime, "cpu", hash_of), ""

    with exported(config, member, settings, networks) as folder:
        if refusal := ExportedNetwork.read(folder).refusal:
            reason = f"{settings.backbone} cannot be exported to OpenVINO ({refusal})"
        else:
            try:
                return OpenVinoEngine(folder, available_processors(), runtime.batch_size), ""
            # It may have been exported on another processor.
            except RuntimeError as error:
                said = " ".join(str(error).split())[:200]
                reason = f"OpenVINO cannot run {settings.backbone} on this processor ({said})"
    return _torch_engine(config, member, runtime, "cpu", hash_of), reason


def exported(
    config: CategoryConfig, member: int, settings: NetworkSettings, networks: NetworkStore
) -> AbstractContextManager[Path]:
    """Open the folder of a member's exported network, which is made first where it has to be."""

    def export(folder: Path) -> None:
        from patchcore_ops.embedding.network_export import export_network

        export_network(config, member, settings, folder)
        _refuse_changed_weights(config, member, settings.weights)

    return networks.opened(settings, export)


def computes_by_openvino(runtime: RuntimeSection) -> bool:
    """Tell whether the embeddings are to be computed by OpenVINO: on a CPU, unless by torch."""
    if runtime.engine == "auto":
        return device_name(runtime.device) == "cpu"
    return runtime.engine == "openvino"


def exported_identities(
    config: CategoryConfig, runtime: RuntimeSection, hash_of: HashOf
) -> list[str] | None:
    """Return the identities of the networks that OpenVINO is to run; None where torch computes."""
    if not computes_by_openvino(runtime) or find_spec("openvino") is None:
        return None
    try:
        members = range(len(config.embedding.members))
        return [network_settings(config, member, hash_of).identity for member in members]
    except (OSError, WeightsError):
        # Who loads the weights says what is wrong with them.
        return None


def _torch_engine(
    config: CategoryConfig, member: int, runtime: RuntimeSection, device: str, hash_of: HashOf
) -> Engine:
    import torch

    from patchcore_ops.embedding.torch_engine import TorchEngine, load_embedder

    embedder = load_embedder(config, member, torch.device(device))
    if (weights := config.embedding.members[member].weights) is not None:
        _refuse_changed_weights(config, member, hash_of(Path(weights)))
    return TorchEngine(embedder, config.embedding.precision, runtime.batch_size)


def _refuse_changed_weights(config: CategoryConfig, member: int, digest: str) -> None:
    """Refuse weights of a file that has another content than the one that is recorded."""
    weights = config.embedding.members[member].weights
    if weights is not None and file_hash(Path(weights)) != digest:
        raise WeightsError(f"{weights}: has changed since this step began; run it again")
