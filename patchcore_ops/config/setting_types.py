"""Types of settings: text without control characters, numbers, FAISS factory strings."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
)

LARGEST_IN_FACTORY = 1 << 20
SMALLEST_SIDE, LARGEST_SIDE = 8, 4096

# YAML 1.1 reads a number with an exponent as text unless it has a point and a sign: 1e-2, 1.5e3.
_WITH_EXPONENT = re.compile(r"[-+]?[0-9]+\.?[0-9]*[eE][-+]?[0-9]{1,3}")
_DIGITS = re.compile(r"[0-9]+")
_SEARCHED = re.compile(r"(nprobe|efSearch|k_factor_rf|k_factor)\s*=\s*(-?[0-9]*\.?[0-9]+)")
_SINGLE_LINK_GRAPH = re.compile(r"HNSW1(?![0-9])")


def _without_control_characters(text: str) -> str:
    for character in text:
        # Cc are control characters; Cs are halves of characters, which no file system can store.
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise ValueError(
                f"must not contain the control character U+{ord(character):04X} (got {text[:60]!r})"
            )
    return text


def _number_with_exponent(value: Any) -> Any:
    is_number = isinstance(value, str) and _WITH_EXPONENT.fullmatch(value)
    return float(value) if is_number else value


def _safe_for_faiss(factory: str) -> str:
    """Refuse the numbers with which FAISS does not fail but crashes, or fills the memory."""
    numbers = [int(digits) for digits in _DIGITS.findall(factory[:1000])]
    if not factory.isascii() or any(not 1 <= number <= LARGEST_IN_FACTORY for number in numbers):
        raise ValueError(
            "must be a FAISS factory string such as Flat, 'IVF64,Flat' or HNSW32, its numbers from "
            f"1 to {LARGEST_IN_FACTORY} (got {factory[:60]!r})"
        )
    if _SINGLE_LINK_GRAPH.search(factory):
        raise ValueError(f"HNSW needs at least 2 links; write HNSW32 (got {factory[:60]!r})")
    return factory


def _within_reach(parameters: str) -> str:
    """Refuse search parameters with which FAISS finds nothing."""
    for name, value in _SEARCHED.findall(parameters):
        if float(value) < 1:
            raise ValueError(f"{name} must be at least 1 (got {parameters[:60]!r})")
    return parameters


def _sides(value: Any, others: str = "") -> int | tuple[int, int]:
    """Read one number, or a pair of them; a pair of equal ones is one number."""
    pair = (value, value) if isinstance(value, int) else value
    is_pair = isinstance(pair, list | tuple) and len(pair) == 2
    if not is_pair or any(
        type(side) is not int or not SMALLEST_SIDE <= side <= LARGEST_SIDE for side in pair
    ):
        raise ValueError(
            f"must be a number of pixels from {SMALLEST_SIDE} to {LARGEST_SIDE}, or two of them: "
            f"[height, width]{others} (got {repr(value)[:60]})"
        )
    height, width = pair
    return height if height == width else (height, width)


def height_and_width(sides: int | tuple[int, int]) -> tuple[int, int]:
    """Return the height and the width of what has one side, or both.

    Examples
    --------
    >>> height_and_width(224), height_and_width((704, 256))
    ((224, 224), (704, 256))
    """
    return (sides, sides) if isinstance(sides, int) else sides


def sides_text(sides: int | tuple[int, int]) -> str:
    """Write one number or a pair as a configuration has it."""
    return str(sides) if isinstance(sides, int) else f"[{sides[0]}, {sides[1]}]"


def _sides_or_auto(value: Any) -> int | tuple[int, int] | str:
    return "auto" if value == "auto" else _sides(value, ", or auto")


Sides = Annotated[int | tuple[int, int], BeforeValidator(_sides)]
SidesOrAuto = Annotated[int | tuple[int, int] | Literal["auto"], BeforeValidator(_sides_or_auto)]
Text = Annotated[
    str, StringConstraints(max_length=4096), AfterValidator(_without_control_characters)
]
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4096, strip_whitespace=True),
    AfterValidator(_without_control_characters),
]
Number = Annotated[float, BeforeValidator(_number_with_exponent)]
SearchParameters = Annotated[Text, AfterValidator(_within_reach)]
FactoryString = Annotated[Name, AfterValidator(_safe_for_faiss)]


class Section(BaseModel):
    """A part of the configuration: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, validate_default=True, allow_inf_nan=False
    )
