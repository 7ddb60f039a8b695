"""A model for other programs: networks, memory banks, and a note of all that is around them.

`README.md` and `export.json` are the note, as text and as numbers. For each member a sub-folder has
the network alone, `network.onnx` or the model's own `network.xml`, and `index.faiss`, the bank.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from patchcore_ops.embedding.exported_network import DESCRIPTION, GRAPH, WEIGHTS_OF_GRAPH
from patchcore_ops.embedding.openvino_library import import_openvino
from patchcore_ops.model.description import ModelDescription, ModelError
from patchcore_ops.model.export_note import (
    ExportNote,
    Format,
    MemberNote,
    NetworkNote,
    TensorNote,
    text_of,
)
from patchcore_ops.model.folder import INDEX, new_folder, read_model
from patchcore_ops.runtime.errors import EnvironmentProblem
from patchcore_ops.runtime.fingerprints import file_hash
from patchcore_ops.runtime.progress import Progress

NUMBERS, TEXT = "export.json", "README.md"
# Packages by the names that they are imported by, which are those that pip knows.
_NEEDED: Final[Mapping[Format, Sequence[str]]] = {
    "onnx": ("torch", "timm", "onnx", "onnxscript"),
    "openvino": ("openvino",),
}


def export_model(
    model: Path,
    output: Path,
    form: Format,
    weights: Sequence[Path] = (),
    on_progress: Progress | None = None,
) -> ExportNote:
    """Write a model's networks for other programs, with its banks and a note.

    ONNX graphs are made from torch; OpenVINO's are copies of those in the model. `weights` are
    files with weights of members, in any order, for a model keeps only their hash; a network of
    published weights needs none.

    Raises ModelError if the model is damaged, a member has other weights than those that are found,
    one of `weights` is no file, a network cannot be exported or then gives other embeddings, or
    `output` holds something; EnvironmentProblem if a package is not installed.
    """
    _require(form)
    if missing := [str(file) for file in weights if not file.is_file()]:
        raise ModelError(f"weights: no file at {', '.join(missing)}; name the weights file")
    description = read_model(model)
    with new_folder(output) as folder:
        members = []
        for number, member in enumerate(description.members):
            (folder / str(number)).mkdir()
            _copy(description, model, f"{number}/{INDEX}", folder)
            if form == "openvino":
                network = _copied_network(description, number, model, folder)
            else:
                from patchcore_ops.model.onnx_member import export_onnx

                network = export_onnx(description, number, model, weights, folder / str(number))
            members.append(
                MemberNote(
                    network=network,
                    dimension=description.embedding.target_embed_dimension,
                    bank=INDEX,
                    **member.model_dump(exclude={"network"}),
                )
            )
            if on_progress is not None:
                on_progress(number + 1, len(description.members))
        note = ExportNote(
            category=description.category,
            networks=form,
            precision_of_the_benchmark=description.embedding.precision,
            storage_of_the_benchmark=description.embedding.storage,
            preprocessing=description.preprocessing,
            scoring=description.scoring,
            members=tuple(members),
            versions={name: metadata.version(name) for name in _NEEDED[form]},
        )
        (folder / NUMBERS).write_text(note.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / TEXT).write_text(text_of(note), encoding="utf-8")
    return note


def _require(form: Format) -> None:
    if missing := [name for name in _NEEDED[form] if find_spec(name) is None]:
        raise EnvironmentProblem(
            f"exporting to {form} needs {' and '.join(missing)}, not installed here; run: "
            f"pip install {' '.join(missing)}"
        )


def _copy(description: ModelDescription, model: Path, name: str, folder: Path) -> None:
    """Copy a file of the model, and compare the copy with its hash."""
    shutil.copyfile(model / name, folder / name)
    if file_hash(folder / name) != description.files[name].sha256:
        raise ModelError(f"{model / name}: has changed while it was copied; export again")


def _copied_network(
    description: ModelDescription, number: int, model: Path, folder: Path
) -> NetworkNote:
    if not description.members[number].network:
        raise ModelError(
            f"{model}: member {number} is run by torch, and has no network of OpenVINO; export it "
            "to onnx"
        )
    for name in (GRAPH, WEIGHTS_OF_GRAPH, DESCRIPTION):
        _copy(description, model, f"{number}/{name}", folder)
    graph = import_openvino().Core().read_model(folder / str(number) / GRAPH)
    (images,), (rows,) = graph.inputs, graph.outputs
    return NetworkNote(
        file=GRAPH,
        input=TensorNote(name=images.any_name, dtype="uint8", shape=tuple(images.shape)),
        output=TensorNote(name=rows.any_name, dtype="float32", shape=tuple(rows.shape)),
        operators=tuple(sorted({node.get_type_name() for node in graph.get_ops()})),
    )
