"""What an engineer has to know to run an exported model, as numbers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from patchcore_ops.config.sections import Precision
from patchcore_ops.model.description import Preprocessing, Scoring
from patchcore_ops.scoring.maps import Range

Format = Literal["onnx", "openvino"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorNote(_Part):
    """An input or output of a network; a name in its shape stands for any number."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class NetworkNote(_Part):
    """An exported network.

    `relative_error` is the largest difference from the model's own network on images of noise,
    divided by the largest value; a copy of that network has none.
    """

    file: str
    input: TensorNote
    output: TensorNote
    operators: tuple[str, ...]
    opset: int | None = None
    relative_error: float | None = None


class MemberNote(_Part):
    """An exported ensemble member; the files lie in the sub-folder of its number."""

    backbone: str
    layers: tuple[str, ...]
    weights_sha256: str
    network: NetworkNote
    grid: tuple[int, int]
    dimension: int
    bank: str
    bank_rows: int
    score_range: Range | None
    map_range: Range | None
    unit: float | None


class ExportNote(_Part):
    """The content of `export.json`."""

    format: Literal[1] = 1
    category: str
    networks: Format
    precision_of_the_benchmark: Precision
    preprocessing: Preprocessing
    scoring: Scoring
    members: tuple[MemberNote, ...]
    versions: dict[str, str]
