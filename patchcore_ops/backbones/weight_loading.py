"""Fills a network with weights that are to be its own, and says why where they are not."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch

from patchcore_ops.runtime.errors import WeightsError

_NAMED = 3


def fill(model: torch.nn.Module, state: Mapping[str, torch.Tensor], source: str, name: str) -> None:
    """Fill a network in place; numbers of another precision are converted to its own.

    The classifier, which PatchCore never runs, may be absent or another. Raises WeightsError if
    tensors are missing, unknown, of another shape, no numbers of that kind, or not finite; the
    message names the first of each kind.
    """
    own = model.state_dict()
    state = _with_a_classifier(state, own, _classifiers(model))
    _refuse_misfit(state, own, source, name)
    _refuse_damaged(state, own, source)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{source}: cannot be put into '{name}' ({reason})") from None


def _classifiers(model: torch.nn.Module) -> tuple[str, ...]:
    names = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _with_a_classifier(
    state: Mapping[str, torch.Tensor],
    own: Mapping[str, torch.Tensor],
    classifiers: Collection[str],
) -> dict[str, torch.Tensor]:
    """Replace a classifier that does not fit by zeros, so that equal files give equal networks."""
    kept = {
        key: value for key, value in state.items() if key in own or not _is_of(key, classifiers)
    }
    for key, value in own.items():
        if _is_of(key, classifiers) and (key not in kept or kept[key].shape != value.shape):
            kept[key] = torch.zeros_like(value)
    return kept


def _is_of(key: str, classifiers: Collection[str]) -> bool:
    return key.rpartition(".")[0] in classifiers


def _refuse_misfit(
    state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], source: str, name: str
) -> None:
    missing = [f"{key} {_shape(own[key])}" for key in own if key not in state]
    unknown = [f"{key} {_shape(state[key])}" for key in state if key not in own]
    other = [
        f"{key} {_shape(state[key])} instead of {_shape(value)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    faults = [
        f"{verb} {len(tensors)} {what} ({', '.join(tensors[:_NAMED])}"
        + (", ...)" if len(tensors) > _NAMED else ")")
        for verb, what, tensors in (
            ("lacks", f"of its {len(own)} tensors", missing),
            ("has", "that it does not know", unknown),
            ("has", "of another shape", other),
        )
        if tensors
    ]
    if faults:
        raise WeightsError(
            f"{source}: does not fit the backbone '{name}': it {'; it '.join(faults)}; name the "
            "backbone that it was saved from"
        )


def _shape(tensor: torch.Tensor) -> str:
    return str(list(tensor.shape))


def _refuse_damaged(
    state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], source: str
) -> None:
    for key, value in state.items():
        if own[key].is_floating_point() and not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise WeightsError(
                f"{source}: its tensor {key} holds {kind} numbers instead of floating-point ones; "
                "save the weights before they are quantised"
            )
        # A sum is finite only if all are, and is much cheaper; it overflows for huge ones, though.
        if (
            value.is_floating_point()
            and not bool(value.sum().isfinite())
            and not bool(value.isfinite().all())
        ):
            count = int((~value.isfinite()).sum())
            raise WeightsError(
                f"{source}: {count} of {value.numel()} values of its tensor {key} are NaN or "
                "infinite; train or save the weights again"
            )
