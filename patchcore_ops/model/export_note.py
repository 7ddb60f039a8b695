"""What an engineer has to know to run an exported model: as numbers, and as text."""

from __future__ import annotations

from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from patchcore_ops.config.sections import Precision, StoredPrecision
from patchcore_ops.config.setting_types import height_and_width
from patchcore_ops.model.description import Part, Preprocessing, Scoring
from patchcore_ops.scoring.maps import Range

Format = Literal["onnx", "openvino"]
_TITLES = {"onnx": "ONNX", "openvino": "OpenVINO"}
_KINDS = {
    "squared": "squared Euclidean distance{} (no root)",
    "root": "Euclidean distance{} (the root of the squared ones)",
}
# Where SciPy's Gaussian ends, in standard deviations.
_TRUNCATED = 4.0


class TensorNote(Part):
    """An input or output of a network; a name in its shape stands for any number."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class NetworkNote(Part):
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


class MemberNote(Part):
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


class ExportNote(Part):
    """The content of `export.json`."""

    format: Literal[1] = 1
    category: str
    networks: Format
    precision_of_the_benchmark: Precision
    storage_of_the_benchmark: StoredPrecision
    preprocessing: Preprocessing
    scoring: Scoring
    members: tuple[MemberNote, ...]
    versions: dict[str, str]


def text_of(note: ExportNote) -> str:
    """Write `README.md` of an exported model."""
    height, width = height_and_width(note.preprocessing.imagesize)
    environment = Environment(
        loader=PackageLoader("patchcore_ops.model", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    units = [member.unit for member in note.members if member.unit is not None]
    return environment.get_template("export_note.md").render(
        note=note,
        size=note.preprocessing,
        height=height,
        width=width,
        order="" if height == width else " (height x width)",
        title=_TITLES[note.networks],
        tensor=_tensor,
        limits=_limits,
        units=units,
        step=4 if units else 3,
        kind=_KINDS[note.scoring.distance].format(""),
        kinds=_KINDS[note.scoring.distance].format("s"),
        radius=int(_TRUNCATED * note.scoring.smoothing_sigma + 0.5),
        versions=", ".join(f"{name} {version}" for name, version in note.versions.items()),
    )


def _tensor(tensor: TensorNote) -> str:
    return f"`{tensor.name}`: {tensor.dtype} [{', '.join(map(str, tensor.shape))}]"


def _limits(of: Range | None) -> str:
    return "unknown | unknown" if of is None else f"{of[0]:.9g} | {of[1]:.9g}"
