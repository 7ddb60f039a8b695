"""Parameters of the reference's saved models: plain values are read, and nothing is ever run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patchcore_ops.model import ModelError
from patchcore_ops.model.plain_pickle import read_plain_pickle
from patchcore_ops.model.reference_parameters import read_parameters

PARAMETERS: dict[str, Any] = {
    "backbone.name": "wideresnet50",
    "layers_to_extract_from": ("layer2", "layer3"),
    "input_shape": (3, 224, 224),
    "pretrain_embed_dimension": 1024,
    "target_embed_dimension": 1024,
    "patchsize": 3,
    "patchstride": 1,
    "anomaly_scorer_num_nn": 1,
}
# What the published models say, and the SHA-256 of their files.
PUBLISHED = {
    "3cddb4fe0c5b830a634abd810e36d7221c1d0d7743ff9920e8a3809545187bcb": {},
    "d82835ea79a9c755ef32390ec4757105dcaf28870930c6423f964bd0a885d3f8": {
        "input_shape": (3, 320, 320),
        "patchsize": 5,
        "anomaly_scorer_num_nn": 3,
    },
    "3250f10f80a0588884907aa04eb9c7a81b8a33ee0be271bbd4a607f35c540e5c": {
        "backbone.name": "wideresnet101",
        "layers_to_extract_from": ["layer2", "layer3"],
        "target_embed_dimension": 384,
    },
}
PLAIN = {
    **{"nothing": None, "yes": True, "no": False, "real": -1.5e300, "text": "Grüße \U0001f600\n"},
    **{"least": -(2**63), "small": -1, "byte": 255, "short": 65535, "greatest": 2**63 - 1},
    **{"empty": [(), [], {}], "nested": {"a": [1, (2, [3, {"b": (4, 5, 6, 7)}])]}},
    "again": ["long enough to be kept in the memo"] * 3,
}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
KNOWN = {
    *("MARK", "STOP", "PROTO", "FRAME", "NONE", "NEWTRUE", "NEWFALSE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND"),
    *("APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
}
OTHERS = [one for one in pickletools.opcodes if one.name not in KNOWN]
PROOF = """
import codecs, pickle, sys
from pathlib import Path
from patchcore_ops.model import ModelError
from patchcore_ops.model.plain_pickle import read_plain_pickle
file, marker = map(Path, sys.argv[1:])
codecs.lookup("raw-unicode-escape")  # the texts of protocol 0; Python imports it when it is needed
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event))
try:
    read_plain_pickle(file)
except ModelError as refusal:
    said = str(refusal)
of_reading = sorted(set(seen))
print(said)
print(*of_reading)
print(marker.exists())
seen.clear()
pickle.loads(file.read_bytes())
print(*sorted(set(seen)))
print(marker.exists())
"""


def written(folder: Path, content: bytes) -> Path:
    file = folder / "patchcore_params.pkl"
    file.write_bytes(content)
    return file


def without(*keys: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in PARAMETERS.items() if key not in keys} | more


class Calls:
    """Becomes, when it is unpickled, what a function returns."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_are_what_unpickling_gives(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(PLAIN, protocol)
    assert read_plain_pickle(written(tmp_path, content)) == pickle.loads(content) == PLAIN


@pytest.mark.parametrize("digest", PUBLISHED)
def test_the_published_models_are_read(tmp_path: Path, digest: str) -> None:
    stated = PARAMETERS | PUBLISHED[digest]
    file = written(tmp_path, pickle.dumps(stated, 5))
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    found = read_parameters(file)
    assert found.backbone == stated["backbone.name"]
    assert found.layers_to_extract_from == ("layer2", "layer3")
    assert found.imagesize == stated["input_shape"][1]
    assert found.anomaly_scorer_num_nn == stated["anomaly_scorer_num_nn"]


@pytest.mark.parametrize(("protocol", "place"), [(0, "in"), (2, "in"), (5, "in"), (5, "instead")])
def test_what_would_run_is_refused_and_does_not_run(
    tmp_path: Path, protocol: int, place: str
) -> None:
    """By the interpreter's own account: no import, no look-up, no process; then what it does."""
    marker = tmp_path / "marker"
    call = Calls(os.system, f"touch {marker}")
    evil = call if place == "instead" else PARAMETERS | {"patchsize": call}
    file = written(tmp_path, pickle.dumps(evil, protocol))
    ran = subprocess.run(
        [sys.executable, "-c", PROOF, str(file), str(marker)],
        capture_output=True,
        text=True,
        check=True,
    )
    said, of_reading, made, of_unpickling, made_then = ran.stdout.splitlines()
    assert said.startswith(f"{file}: refused, and nothing in it was run")
    assert (of_reading, made) == ("open", "False")
    assert {"pickle.find_class", "os.system"} <= set(of_unpickling.split())
    assert made_then == "True"


@pytest.mark.parametrize(
    "opcode",
    OTHERS,
    ids=lambda one: one.name,
)
def test_every_other_opcode_is_refused(tmp_path: Path, opcode: pickletools.OpcodeInfo) -> None:
    arguments = {
        None: b"",
        pickletools.stringnl: b"'a'\n",
        pickletools.stringnl_noescape: b"a\n",
        pickletools.stringnl_noescape_pair: b"os\nsystem\n",
        pickletools.uint1: b"\1",
        pickletools.uint2: b"\1\0",
        pickletools.int4: b"\1\0\0\0",
        pickletools.string1: b"\1a",
        pickletools.string4: b"\1\0\0\0a",
        pickletools.bytes1: b"\1a",
        pickletools.bytes4: b"\1\0\0\0a",
        pickletools.bytes8: struct.pack("<Q", 1) + b"a",
        pickletools.bytearray8: struct.pack("<Q", 1) + b"a",
    }
    code = opcode.code.encode("latin-1") + arguments[opcode.arg]
    with pytest.raises(ModelError, match=rf"refused, .* \(opcode {opcode.name}\b"):
        read_plain_pickle(written(tmp_path, b"}(" + code + b"u."))


def endless() -> Any:
    values: list[Any] = []
    values.append(values)
    return values


def shared(levels: int) -> Any:
    values: Any = ["a"] * 20
    for _ in range(levels):
        values = [values] * 20
    return values


def deep(levels: int) -> Any:
    values: Any = []
    for _ in range(levels):
        values = [values]
    return values


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no readable pickle"),
        (b"hello", "no readable pickle"),
        (pickle.dumps(PARAMETERS)[:-1], "no readable pickle"),
        (pickle.dumps(PARAMETERS)[:40], "no readable pickle"),
        (pickle.dumps(PARAMETERS) + b".", "bytes follow its end"),
        (b"}}.", "leaves more than one value"),
        (b".", "no readable pickle"),
        (b"(.", "a value is missing"),
        (b"(0.", "opcode POP"),
        (b"]}a}.", "leaves more"),
        (b"}K\1a.", "appends to what is no list"),
        (b"]K\1K\2s.", "sets an item of what is no dictionary"),
        (b"}K\1K\2s.", "a key is no text"),
        (b"}(K\1u.", "a key is no text"),
        (b"}(X\1\0\0\0au.", "no readable pickle"),
        (b"h\5.", "no readable pickle"),
        (pickle.dumps([1]), "holds list instead of a dictionary"),
        (pickle.dumps({"a": 2**64}), "more than 64 bits"),
        (b"I" + b"9" * 5000 + b"\n.", "no readable pickle"),
        (pickle.dumps({"a": "b" * (1 << 20)}), "is larger than"),
        (pickle.dumps({"a": list(range(20_000))}), "too many opcodes"),
        (pickle.dumps({"a": deep(100)}), "nests too many"),
        (pickle.dumps({"a": shared(6)}), "nests too many"),
        (pickle.dumps({"a": endless()}), "nests too many"),
        (b"version https://git-lfs.github.com/spec/v1\n", "run in its folder: git lfs pull"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damage_is_refused_in_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(ModelError, match=said) as refused:
        read_plain_pickle(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert len(str(refused.value)) < 1000


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.pkl: cannot be read \(No such file"):
        read_plain_pickle(tmp_path / "nowhere.pkl")


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (without("patchsize", "patchstride"), "lacks patchsize, patchstride"),
        (without(code="x"), "'code' is an unknown key; there are backbone.name"),
        (PARAMETERS | {"backbone.name": 5}, "backbone.name: input should be a valid string"),
        (PARAMETERS | {"backbone.name": ""}, "backbone.name: "),
        (without(layers_to_extract_from="layer2"), "layers_to_extract_from: "),
        (without(layers_to_extract_from=["layer2", 3]), r"layers_to_extract_from\.1: "),
        (without(layers_to_extract_from=[]), "layers_to_extract_from: "),
        (without(input_shape=(3, 224, 320)), "input_shape: must be 3 channels and a square"),
        (without(input_shape=(1, 224, 224)), "input_shape: must be 3 channels and a square"),
        (without(input_shape=(3, 224)), "input_shape"),
        (without(input_shape=(3, 224.0, 224.0)), r"input_shape\.1: "),
        (without(pretrain_embed_dimension=0), "pretrain_embed_dimension: "),
        (without(target_embed_dimension=True), "target_embed_dimension: "),
        (without(target_embed_dimension=10**9), "target_embed_dimension: "),
        (without(patchsize="3"), "patchsize: "),
        (without(patchstride=2), "patchstride: input should be 1"),
        (without(anomaly_scorer_num_nn=None), "anomaly_scorer_num_nn: "),
    ],
)
def test_wrong_parameters_are_refused_by_name(
    tmp_path: Path, stated: dict[str, Any], said: str
) -> None:
    file = written(tmp_path, pickle.dumps(stated))
    with pytest.raises(ModelError, match=said) as refused:
        read_parameters(file)
    assert str(refused.value).startswith(f"{file}: ")


def test_the_seed_of_a_backbone_is_left_out(tmp_path: Path) -> None:
    stated = PARAMETERS | {"backbone.name": "wideresnet50.seed-40"}
    assert read_parameters(written(tmp_path, pickle.dumps(stated))).backbone == "wideresnet50"


def mutated(content: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(content)
    for place, byte in changes:
        changed[place % len(changed)] = byte
    return bytes(changed[: len(changed) - cut % len(changed)])


BYTES = st.integers(0, 255)
MUTATIONS = st.builds(
    mutated,
    st.builds(pickle.dumps, st.sampled_from([PARAMETERS, PLAIN]), st.sampled_from(PROTOCOLS)),
    st.lists(st.tuples(st.integers(0, 1000), BYTES), max_size=6),
    st.one_of(st.just(0), st.integers(0, 1000)),
)
OPCODES = st.lists(
    st.sampled_from([one.code.encode("latin-1") for one in pickletools.opcodes])
    | st.binary(max_size=3),
    max_size=40,
).map(b"".join)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200) | OPCODES | MUTATIONS)
@example(b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\xff.")
@example(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.")
@example(b"\x8b\xff\xff\xff\xff.")
def test_any_bytes_give_a_dictionary_or_a_refusal(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ModelError):
        assert isinstance(read_plain_pickle(written(Path(folder), content)), dict)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ModelError):
        read_parameters(written(Path(folder), content))
