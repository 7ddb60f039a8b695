"""Reads a YAML file as plain data, and refuses what a configuration never needs.

YAML can do much more than a configuration: build Python objects by tags, repeat an anchored part
until it fills the memory, nest until the stack is full, and give one key twice. Here tags are
refused, sizes have limits, and every value that is given twice is named with its line. Scalars mean
what they mean in YAML 1.1 as PyYAML reads it, but for three that surprise: dates, numbers to the
base 60 and numbers that begin with a zero are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from patchcore_ops.runtime.errors import ConfigError

MOST_BYTES = 1 << 20
DEEPEST_NESTING = 20
MOST_VALUES = 100_000
LONGEST_SHOWN = 80

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"yes|Yes|YES|true|True|TRUE|on|On|ON")
_FALSE = re.compile(r"no|No|NO|false|False|FALSE|off|Off|OFF")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,40})")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_NOT_A_NUMBER = re.compile(r"\.(?:nan|NaN|NAN)")
_MERGE = "<<"


@dataclass(frozen=True)
class Document:
    """The content of a YAML file.

    Attributes
    ----------
    content : dict
        Keys are text; values are dicts, lists, text, numbers, booleans and None.
    mistakes : mapping of str to str
        What is wrong though the file could be read, by dotted key: values that are given twice or
        carry a tag. The later of two is in `content`.
    """

    content: dict[str, Any]
    mistakes: Mapping[str, str]


def read_document(file: Path) -> Document:
    """Read a YAML file whose top level is a mapping, or which is empty.

    Raises
    ------
    ConfigError
        If there is no such file, or it is too large, no UTF-8, no YAML, nested too deeply, or no
        mapping.
    """
    text = _read_text(file)
    builder = _Builder()
    try:
        content = builder.build(yaml.parse(text, Loader=yaml.SafeLoader))
    except _Refused as refusal:
        raise ConfigError(f"{file}: {refusal}") from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{file}: {_unreadable(error)}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets Python's own errors through where an escape or a version is out of range.
        raise ConfigError(
            f"{file}: not valid YAML ({shorten(' '.join(str(error).split()))})"
        ) from None
    if content is None:
        return Document({}, builder.mistakes)
    if not isinstance(content, dict):
        raise ConfigError(
            f"{file}: must be a mapping of section names to sections, such as "
            f"'coreset: {{percentage: 0.1}}' (got {shorten(repr(content))})"
        )
    return Document(content, builder.mistakes)


def join_key(where: str, key: str) -> str:
    """Append a key to a dotted one; a key that is no plain word is written as Python would."""
    is_plain = key.isprintable() and key
    part = shorten(key if is_plain else repr(key))
    return f"{where}.{part}" if where else part


def printable(text: str) -> str:
    """Write characters that cannot be seen as Python would."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def shorten(text: str) -> str:
    """Cut a text to what can be read in a sentence."""
    text = printable(text)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def _read_text(file: Path) -> str:
    try:
        if file.is_dir():
            raise ConfigError(f"{file}: is a folder; name the YAML file in it")
        if file.exists() and not file.is_file():
            raise ConfigError(f"{file}: is no regular file; write the configuration into one")
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{file}: no such configuration file; set PATCHCORE_CONFIG to an existing one, "
            "or start from patchcore.yaml of this repository"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file}: cannot be read ({reason}); make it readable") from None
    if len(content) > MOST_BYTES:
        raise ConfigError(
            f"{file}: larger than {MOST_BYTES >> 20} MiB, which no configuration is; "
            "correct the path of the configuration"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{file}: cannot be read as UTF-8 text (line {line}, byte "
            f"0x{content[error.start]:02x}); save it as UTF-8"
        ) from None
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ConfigError(
            f"{file}: line {line} holds the control character U+{ord(found[0]):04X}; remove it"
        )
    return text


def _unreadable(error: yaml.MarkedYAMLError) -> str:
    """Say in one sentence what PyYAML found, and where."""
    mark = error.problem_mark or error.context_mark
    what = shorten(" ".join((error.problem or error.context or "it cannot be parsed").split()))
    remedy = "; indent with spaces, not with tabs" if r"'\t'" in what else ""
    return f"not valid YAML (line {mark.line + 1 if mark else 1}: {what}){remedy}"


class _Refused(Exception):
    """The document is not one that is read; the message continues `file: `."""


@dataclass
class _Value:
    """A value, how many values it consists of where all aliases are written out, and its line."""

    content: Any
    size: int
    line: int


@dataclass
class _Builder:
    """Builds plain data from parser events, within limits.

    Building by hand keeps the limits exact: PyYAML's own composer has none.
    """

    mistakes: dict[str, str] = field(default_factory=dict)
    _anchors: dict[str, _Value | None] = field(default_factory=dict)
    _events: Iterator[yaml.Event] = field(default_factory=lambda: iter(()))
    _values: int = 0

    def build(self, events: Iterator[yaml.Event]) -> Any:
        """Build the one document of a stream; None if it holds none."""
        self._events = events
        content, documents = None, 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Refused(
                        f"line {_line(event)} begins a second document; keep one, without '---'"
                    )
                content = self._value(next(events), "", 0).content
        return content

    def _value(self, event: yaml.Event, where: str, depth: int) -> _Value:
        if depth > DEEPEST_NESTING:
            raise _Refused(f"line {_line(event)} is nested more than {DEEPEST_NESTING} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            self._anchors[anchor] = None
        if tag not in (None, "!"):
            self._blame(
                where,
                f"line {_line(event)} carries the tag {shorten(repr(tag))}, and tags are not read; "
                "write the plain value",
            )
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(event, where, depth)
        else:
            value = self._mapping(event, where, depth)
        if anchor is not None:
            self._anchors[anchor] = value
        return value

    def _scalar(self, event: yaml.ScalarEvent) -> _Value:
        self._count(1)
        is_plain = event.style is None
        return _Value(plain_scalar(event.value) if is_plain else event.value, 1, _line(event))

    def _sequence(self, event: yaml.Event, where: str, depth: int) -> _Value:
        items: list[Any] = []
        size = 1
        while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
            item = self._value(inner, join_key(where, str(len(items))), depth + 1)
            items.append(item.content)
            size += item.size
        self._count(1)
        return _Value(items, size, _line(event))

    def _mapping(self, event: yaml.Event, where: str, depth: int) -> _Value:
        content: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        lines: dict[str, int] = {}
        size = 1
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            if not isinstance(inner, yaml.ScalarEvent):
                raise _Refused(f"line {_line(inner)}: a key must be a plain word")
            key = inner.value
            value = self._value(next(self._events), join_key(where, key), depth + 1)
            size += value.size
            if key == _MERGE and inner.style is None:
                merged = {**self._merged(value, where), **merged}
                continue
            if key in lines:
                self._blame(
                    join_key(where, key),
                    f"is given in line {lines[key]} and again in line {_line(inner)}; keep one",
                )
            lines[key] = _line(inner)
            content[key] = value.content
        self._count(1)
        return _Value({**merged, **content}, size, _line(event))

    def _merged(self, value: _Value, where: str) -> dict[str, Any]:
        """Return what `<<` adds: one mapping, or several of which the first has precedence."""
        parts = value.content if isinstance(value.content, list) else [value.content]
        merged: dict[str, Any] = {}
        for part in reversed(parts):
            if not isinstance(part, dict):
                self._blame(join_key(where, _MERGE), "takes mappings only, such as '*anchor'")
                return {}
            merged.update(part)
        return merged

    def _alias(self, event: yaml.AliasEvent) -> _Value:
        name = str(event.anchor)
        if name not in self._anchors:
            raise _Refused(f"line {_line(event)}: there is no anchor &{shorten(name)} before it")
        value = self._anchors[name]
        if value is None:
            raise _Refused(f"line {_line(event)}: *{shorten(name)} lies within itself")
        self._count(value.size)
        return value

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            values_shown = f"{MOST_VALUES:,} values, aliases written out"
            raise _Refused(f"holds more than {values_shown}; write less, or use fewer aliases")

    def _blame(self, where: str, mistake: str) -> None:
        self.mistakes.setdefault(where or "the whole file", mistake)


def _line(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else int(event.start_mark.line) + 1


def plain_scalar(text: str) -> str | int | float | bool | None:
    """Read a scalar that is not in quotes."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return _TRUE.fullmatch(text) is not None
    if _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if found := _INFINITE.fullmatch(text):
        return -math.inf if found[1] == "-" else math.inf
    return math.nan if _NOT_A_NUMBER.fullmatch(text) else text
