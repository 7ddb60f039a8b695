"""What the reference's `patchcore_params.pkl` says, checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from patchcore_ops.config.mistakes import locate, unknown_key
from patchcore_ops.config.setting_types import Name, Section
from patchcore_ops.model.description import ModelError
from patchcore_ops.model.plain_pickle import read_plain_pickle
from patchcore_ops.model.reference_files import SAVE_AGAIN

_NAME = "backbone.name"
_SEED = re.compile(r"\.seed-[0-9]+")


class ReferenceParameters(Section):
    """The parameters of one saved model of the reference, under its own names.

    `anomaly_scorer_num_nn` is what was asked for; the reference scores by one neighbour all the
    same, for its scorer takes the number under another name.
    """

    backbone: Name
    layers_to_extract_from: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)]
    input_shape: Annotated[tuple[int, int, int], Field(strict=False)]
    pretrain_embed_dimension: int = Field(ge=1, le=65536)
    target_embed_dimension: int = Field(ge=1, le=65536)
    patchsize: int = Field(ge=1, le=31)
    patchstride: Literal[1]
    anomaly_scorer_num_nn: int = Field(ge=1, le=65536)

    @field_validator("backbone")
    @classmethod
    def _without_seed(cls, backbone: str) -> str:
        # The reference's option -b takes NAME.seed-N; N seeds its coreset.
        return _SEED.sub("", backbone)

    @field_validator("input_shape")
    @classmethod
    def _is_square(cls, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        channels, height, width = shape
        if channels != 3 or height != width:
            raise ValueError(
                f"must be 3 channels and a square, such as (3, 224, 224) (got {shape})"
            )
        return shape

    @property
    def imagesize(self) -> int:
        """Side of the network's input, in pixels."""
        return self.input_shape[-1]


_KEYS = tuple(_NAME if key == "backbone" else key for key in ReferenceParameters.model_fields)


def read_parameters(file: Path) -> ReferenceParameters:
    """Read and check `patchcore_params.pkl`; it is not unpickled.

    Raises ModelError if the file holds anything but the plain parameters, or one is missing,
    unknown or wrong.
    """
    content = read_plain_pickle(file)
    if missing := [key for key in _KEYS if key not in content]:
        raise ModelError(f"{file}: lacks {', '.join(missing)}; {SAVE_AGAIN}")
    for key in content:
        if key not in _KEYS:
            raise ModelError(f"{file}: {key[:60]!r} is an {unknown_key(key, _KEYS)}")
    values: dict[str, Any] = {**content, "backbone": content[_NAME]}
    del values[_NAME]
    try:
        return ReferenceParameters.model_validate(values)
    except ValidationError as error:
        where, sentence = next(iter(locate(error, ReferenceParameters)))
        key = _NAME if where[0] == "backbone" else ".".join(map(str, where))
        raise ModelError(f"{file}: {key}: {sentence}; {SAVE_AGAIN}") from None
