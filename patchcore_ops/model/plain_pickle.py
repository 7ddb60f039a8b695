"""Plain values from a pickle, without unpickling: its opcodes are interpreted here.

Numbers, texts, lists, tuples and dictionaries need few of a pickle's opcodes. Those that import,
call or build something are not among them, so a file can only hold values or be refused.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from patchcore_ops.model.description import ModelError
from patchcore_ops.model.reference_files import SAVE_AGAIN, refuse_pointer

_MOST_BYTES = 1 << 20
_MOST_OPCODES = 10_000
# Values may contain one value many times, so what they hold is counted, not the opcodes alone.
_MOST_VALUES = 10_000
_DEEPEST = 16
_LARGEST_NUMBER = 2**63
_SHOWN = 80

_CONSTANTS: Mapping[str, Any] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
}
_LITERALS = frozenset(
    {
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
    }
)
_KEEP = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_RECALL = frozenset({"GET", "BINGET", "LONG_BINGET"})
_SMALL_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING_TO_DO = frozenset({"PROTO", "FRAME", "STOP"})
# What the machine or the decoding of an opcode's argument may raise for a damaged file.
_DAMAGE = (ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError, struct.error)


class _Mark:
    """Where the items of a collection begin on the stack."""


_MARK: Final = _Mark()


def read_plain_pickle(file: Path) -> dict[str, Any]:
    """Read a dictionary of plain values from a pickle of any protocol; nothing is run or imported.

    Its values are None, bool, int, float, str, list, tuple and dict with text keys. Raises
    ModelError if the file cannot be read, is damaged, is larger than parameters are, or needs any
    other opcode, such as one that imports or calls something.
    """
    content = _content(file)
    stream = io.BytesIO(content)
    machine = _Machine(file)
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            if count > _MOST_OPCODES:
                raise ModelError(f"{file}: has too many opcodes to hold parameters; {SAVE_AGAIN}")
            machine.step(opcode.name, argument, position)
        value = machine.result()
        if stream.tell() != len(content):
            raise ValueError("bytes follow its end")
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
        raise ModelError(f"{file}: is no readable pickle ({reason}); {SAVE_AGAIN}") from None
    if not isinstance(value, dict):
        raise ModelError(
            f"{file}: holds {type(value).__name__} instead of a dictionary; {SAVE_AGAIN}"
        )
    _refuse_too_much(file, value)
    return value


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error})") from None
    refuse_pointer(file, content)
    if len(content) > _MOST_BYTES:
        raise ModelError(
            f"{file}: is larger than {_MOST_BYTES} bytes, and parameters take a few hundred; "
            f"{SAVE_AGAIN}"
        )
    return content


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._actions: Mapping[str, Callable[[], None]] = {
            "MARK": lambda: self._stack.append(_MARK),
            "MEMOIZE": lambda: self._keep(len(self._memo)),
            "EMPTY_TUPLE": lambda: self._stack.append(()),
            "EMPTY_LIST": lambda: self._stack.append([]),
            "EMPTY_DICT": lambda: self._stack.append({}),
            "TUPLE": lambda: self._stack.append(tuple(self._since_mark())),
            "LIST": lambda: self._stack.append(self._since_mark()),
            "DICT": lambda: self._stack.append(_paired(self._since_mark())),
            "APPEND": lambda: self._extend([self._pop()]),
            "APPENDS": lambda: self._extend(self._since_mark()),
            "SETITEM": lambda: self._update(self._last(2)),
            "SETITEMS": lambda: self._update(self._since_mark()),
        }

    def step(self, name: str, argument: Any, position: int | None) -> None:
        """Take one opcode."""
        if name in _NOTHING_TO_DO:
            return
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self._stack.append(_limited(argument))
        elif name in _KEEP:
            self._keep(int(argument))
        elif name in _RECALL:
            self._stack.append(self._memo[int(argument)])
        elif name in _SMALL_TUPLES:
            self._stack.append(tuple(self._last(_SMALL_TUPLES[name])))
        elif name in self._actions:
            self._actions[name]()
        else:
            said = "" if argument is None else f" {argument!r:.{_SHOWN}}"
            raise ModelError(
                f"{self._file}: refused, and nothing in it was run, for it holds more than plain "
                f"numbers, texts, lists and dictionaries (opcode {name}{said} at byte {position}); "
                "get the model from who saved it with the reference's --save_patchcore_model"
            )

    def result(self) -> Any:
        """Return the only value that is left."""
        value = self._pop()
        if self._stack:
            raise ValueError("it leaves more than one value")
        return value

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def _last(self, count: int) -> list[Any]:
        return [self._pop() for _ in range(count)][::-1]

    def _since_mark(self) -> list[Any]:
        items = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _keep(self, key: int) -> None:
        value = self._stack[-1]
        if value is _MARK:
            raise ValueError("a value is missing")
        self._memo[key] = value

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise TypeError("it appends to what is no list")
        target.extend(items)

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise TypeError("it sets an item of what is no dictionary")
        target.update(_paired(items))


def _limited(literal: Any) -> Any:
    if isinstance(literal, int) and not -_LARGEST_NUMBER <= literal < _LARGEST_NUMBER:
        raise ValueError("a number has more than 64 bits")
    return literal


def _paired(items: list[Any]) -> dict[str, Any]:
    keys = items[::2]
    if not all(isinstance(key, str) for key in keys):
        raise TypeError("a key is no text")
    return dict(zip(keys, items[1::2], strict=True))


def _refuse_too_much(file: Path, value: dict[str, Any]) -> None:
    for count, (depth, _) in enumerate(_walk(value)):
        if count > _MOST_VALUES or depth > _DEEPEST:
            raise ModelError(f"{file}: nests too many values to hold parameters; {SAVE_AGAIN}")


def _walk(value: Any) -> Iterator[tuple[int, Any]]:
    """Yield every value with its depth; one that contains itself never ends."""
    pending = [(0, value)]
    while pending:
        depth, one = pending.pop()
        yield depth, one
        if isinstance(one, dict):
            pending.extend((depth + 1, inner) for inner in one.values())
        elif isinstance(one, list | tuple):
            pending.extend((depth + 1, inner) for inner in one)
