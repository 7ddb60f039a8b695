"""Mistakes of a configuration, collected by key, one sentence each."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from patchcore_ops.config.addresses import is_url, without_credentials
from patchcore_ops.config.yaml_document import join_key, printable, shorten
from patchcore_ops.runtime.errors import ConfigError

MOST_REPORTED = 50
MOST_LISTED = 20
_TEXT_WANTED = ("string_type", "literal_error")
_NUMBER_WANTED = ("int_type", "float_type", "int_parsing", "float_parsing")


class Mistakes:
    """The mistakes of one file or URL, in the order found; the first at a key counts."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._by_key: dict[str, str] = {}

    @property
    def folder(self) -> Path | None:
        """The folder of the file; None at a URL."""
        return None if is_url(self.file) else Path(self.file).parent

    def add(self, key: str, sentence: str) -> None:
        """Note what is wrong at a dotted key."""
        self._by_key.setdefault(key, sentence)

    def update(self, sentences: Mapping[str, str]) -> None:
        """Note several, by key."""
        for key, sentence in sentences.items():
            self.add(key, sentence)

    @property
    def are_many(self) -> bool:
        """Whether there are more already than are reported."""
        return len(self._by_key) > MOST_REPORTED

    def at(self, key: str) -> str | None:
        """Return what is wrong at a key, if anything is."""
        return self._by_key.get(key)

    def raise_if_any(self) -> None:
        """Raise a ConfigError with one line per mistake, if there is one."""
        if not self._by_key:
            return
        lines = [
            f"{self.file}: {printable(without_credentials(f'{key}: {sentence}'))}"
            for key, sentence in self._by_key.items()
        ]
        if (more := len(lines) - MOST_REPORTED) > 0:
            lines[MOST_REPORTED:] = [f"{self.file}: and {more} more mistakes"]
        raise ConfigError("\n".join(lines))


def describe(error: ValidationError, model: type[BaseModel], where: str) -> dict[str, str]:
    """Map dotted keys to sentences for a validation error of the model at `where`."""
    sentences: dict[str, str] = {}
    for location, sentence in locate(error, model):
        sentences.setdefault(dotted(where, location), sentence)
    return sentences


def locate(
    error: ValidationError, model: type[BaseModel]
) -> Iterator[tuple[Sequence[int | str], str]]:
    """Yield the location and the sentence of each problem."""
    for problem in error.errors():
        location: list[int | str] = list(problem["loc"])
        if location[:1] == ["categories"]:
            # Of a union, pydantic adds the names of the alternatives, and reports each of them.
            if problem["type"] == "literal_error" and isinstance(problem["input"], list):
                continue
            location = [part for part in location if part == "categories" or isinstance(part, int)]
        yield location, _sentence(problem, model, location)


def dotted(where: str, location: Iterable[int | str]) -> str:
    """Write a location as one dotted key."""
    for part in location:
        where = join_key(where, str(part))
    return where


def unknown_key(name: str, known: Collection[str]) -> str:
    """Say that a key is unknown; name close keys, or all."""
    return "unknown key" + (did_you_mean(name, known) or f"; there are {', '.join(known)}")


def shown(value: Any) -> str:
    """Write a value as Python would, without passwords in URLs, cut to a readable length."""
    return shorten(without_credentials(repr(value)))


def listed(names: Collection[str]) -> str:
    """Join names with commas; count those beyond `MOST_LISTED`."""
    more = len(names) - MOST_LISTED
    return ", ".join(list(names)[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean a, b?`, or nothing where no known name is near."""
    close = difflib.get_close_matches(name[:100], list(known), n=3)
    return f"; did you mean {', '.join(close)}?" if close else ""


def _sentence(problem: ErrorDetails, model: type[BaseModel], location: Sequence[int | str]) -> str:
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        return unknown_key(str(location[-1]), _keys_at(model, location[:-1]))
    if kind == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    if location == ["categories"] and not isinstance(value, list):
        message, kind = "must be 'mvtec', 'discover' or a list of names", "categories"
    if kind == "model_type":
        message = "must be a mapping of keys to values"
    return f"{message} (got {shown(value)}){_remedy(kind, value)}"


def _remedy(kind: str, value: Any) -> str:
    """Say what to write where YAML read another type than was meant."""
    if kind in _TEXT_WANTED and isinstance(value, bool | int | float):
        return "; put it in quotes"
    if kind in _NUMBER_WANTED and isinstance(value, bool):
        return "; yes, no, on and off mean true and false in YAML"
    if kind in _NUMBER_WANTED and isinstance(value, str):
        return "; write a plain number, without quotes or ${...}"
    if kind == "bool_type":
        return "; write true or false"
    return ""


def _keys_at(model: Any, location: Sequence[int | str]) -> list[str]:
    """List the keys that a model knows at a location."""
    for part in location:
        if isinstance(part, str):
            model = model.model_fields[part].annotation
        else:
            (model,) = get_args(model)
    return list(model.model_fields)
