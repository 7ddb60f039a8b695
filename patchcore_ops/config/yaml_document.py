"""Reads a YAML file as plain data; errors name the line.

Scalars follow YAML 1.1 as PyYAML reads it, but dates, numbers to the base 60 and numbers with a
leading zero are text. Keys are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from patchcore_ops.config.addresses import is_url
from patchcore_ops.config.remote_file import read_url
from patchcore_ops.runtime.errors import ConfigError

LONGEST_SHOWN = 80

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Document:
    """The content of a YAML file, and mistakes by dotted key.

    Mistakes are duplicate keys, of which the later is in `content`, and tags.
    """

    content: dict[str, Any]
    mistakes: Mapping[str, str]


def read_document(file: str) -> Document:
    """Read a YAML file, or a URL, that is empty or a mapping; raise ConfigError otherwise."""
    text = _read_text(file)
    try:
        loader = _Loader(text)
        content = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{file}: {_unreadable(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{file}: line {line} holds the control character U+{error.character:04X}; remove it"
        ) from None
    except RecursionError:
        raise ConfigError(f"{file}: nested too deeply; write fewer levels") from None
    except (ValueError, OverflowError) as error:
        # PyYAML lets Python's own errors through where an escape or a version is out of range.
        raise ConfigError(f"{file}: not valid YAML ({shorten(str(error))})") from None
    if content is None:
        return Document({}, loader.mistakes)
    if not isinstance(content, dict):
        raise ConfigError(
            f"{file}: must be a mapping of section names to sections, such as "
            f"'coreset: {{percentage: 0.1}}' (got {shorten(repr(content))})"
        )
    return Document(content, loader.mistakes)


def join_key(where: str, key: str) -> str:
    """Append a key to a dotted one; quote a key that is no plain word."""
    is_plain = key.isprintable() and key
    part = shorten(key if is_plain else repr(key))
    return f"{where}.{part}" if where else part


def printable(text: str) -> str:
    """Escape characters that cannot be printed."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def shorten(text: str) -> str:
    """Cut a text to a readable length."""
    text = printable(text)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def _read_text(file: str) -> str:
    try:
        content = read_url(file) if is_url(file) else _read_file(Path(file))
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{file}: no such configuration file; set PATCHCORE_CONFIG to an existing one, "
            "or start from patchcore.yaml of this repository"
        ) from None
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file}: cannot be read ({reason}); make it readable") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{file}: cannot be read as UTF-8 text (line {line}, byte "
            f"0x{content[error.start]:02x}); save it as UTF-8"
        ) from None


def _read_file(file: Path) -> bytes:
    if file.is_dir():
        raise ConfigError(f"{file}: is a folder; name the YAML file in it")
    if file.exists() and not file.is_file():
        raise ConfigError(f"{file}: is no regular file; write the configuration into one")
    return file.read_bytes()


def _unreadable(error: yaml.MarkedYAMLError) -> str:
    """Say in one sentence what PyYAML found, and where."""
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "it cannot be parsed"
    if problem.startswith("but "):
        problem = f"{error.context}, {problem}"
    what = shorten(" ".join(problem.split()))
    remedy = "; indent with spaces, not with tabs" if r"'\t'" in what else ""
    return f"not valid YAML (line {mark.line + 1 if mark else 1}: {what}){remedy}"


class _Loader(yaml.SafeLoader):
    """Notes keys that are given twice and tags, and takes every key as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.mistakes: dict[str, str] = {}
        self._checked: set[yaml.Node] = set()

    def get_single_node(self) -> yaml.Node | None:
        root: yaml.Node | None = super().get_single_node()
        if root is not None:
            self._check(root, "", ())
        return root

    def _check(self, node: yaml.Node, where: str, around: tuple[yaml.Node, ...]) -> None:
        if node in around:
            raise _refusal(node, "an alias lies within what it stands for")
        if node in self._checked:
            return
        self._checked.add(node)
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        untagged = self.resolve(type(node), node.value, (is_plain, False))  # type: ignore[no-untyped-call]
        if node.tag != untagged:
            self._blame(
                where,
                f"line {_line(node)} carries the tag {shorten(repr(node.tag))}, and tags are not "
                "read; write the plain value",
            )
            node.tag = untagged
        if isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                self._check(item, join_key(where, str(position)), (*around, node))
        elif isinstance(node, yaml.MappingNode):
            self._check_mapping(node, where, (*around, node))

    def _check_mapping(
        self, node: yaml.MappingNode, where: str, around: tuple[yaml.Node, ...]
    ) -> None:
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal(key, "a key must be a plain word")
            inner = join_key(where, key.value)
            self._check(value, inner, around)
            if key.tag == f"{_TAG}merge":
                continue
            key.tag = f"{_TAG}str"
            if key.value in lines:
                self._blame(
                    inner,
                    f"is given in line {lines[key.value]} and again in line {_line(key)}; keep one",
                )
            lines[key.value] = _line(key)

    def _blame(self, where: str, mistake: str) -> None:
        self.mistakes.setdefault(where or "the whole file", mistake)


_Loader.yaml_implicit_resolvers = {
    first: [one for one in resolvers if one[0] in {f"{_TAG}null", f"{_TAG}bool", f"{_TAG}merge"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    f"{_TAG}int", re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,40})$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(
        r"(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def _refusal(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
