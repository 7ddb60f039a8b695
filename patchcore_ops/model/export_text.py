"""The note of an exported model as text, for who runs it without this project."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from patchcore_ops.config.setting_types import height_and_width
from patchcore_ops.model.export_note import ExportNote, TensorNote
from patchcore_ops.scoring.maps import Range

_TITLES = {"onnx": "ONNX", "openvino": "OpenVINO"}
_KINDS = {
    "squared": "squared Euclidean distance{} (no root)",
    "root": "Euclidean distance{} (the root of the squared ones)",
}
# Where SciPy's Gaussian ends, in standard deviations.
_TRUNCATED = 4.0


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
