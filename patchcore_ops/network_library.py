"""timm, without torch's compiler.

Importing timm, and torchvision below it, imports torch's compiler (`torch._dynamo`, with sympy and
triton behind it), although all that they ask of it then is to note that some functions shall not be
compiled. Nothing here is ever compiled, and the compiler would take longer to import than torch
itself. So a stand-in answers those questions while timm is imported. What it has no answer to it
passes on to the real compiler, which then is imported after all.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

_COMPILER = "torch._dynamo"
_ITS_CHECKS = "torch._dynamo.utils"
_Function = TypeVar("_Function", bound=Callable[..., Any])


def import_timm() -> Any:
    """Import timm as fast as it goes.

    Returns
    -------
    module
        timm; in a process that has imported torch's compiler before, with all that belongs to it.
    """
    with _compiler_left_out():
        return importlib.import_module("timm")


@contextmanager
def _compiler_left_out() -> Iterator[None]:
    """Put stand-ins where the import system looks for torch's compiler."""
    if _COMPILER in sys.modules:
        yield
        return
    stand_ins = [
        _StandIn(_COMPILER, {"disable": _disable}),
        _StandIn(_ITS_CHECKS, {"is_compile_supported": _is_compile_supported}),
    ]
    sys.modules.update({stand_in.__name__: stand_in for stand_in in stand_ins})
    try:
        yield
    finally:
        _take_away_stand_ins()


class _StandIn(ModuleType):
    """A module that knows a few answers and passes everything else on to the module it stands for.

    Parameters
    ----------
    name : str
        Of the real module.
    answers : dict
        Its attributes, by name.
    """

    def __init__(self, name: str, answers: dict[str, Callable[..., Any]]) -> None:
        super().__init__(name)
        self.__dict__.update(answers)

    def __getattr__(self, name: str) -> Any:
        # Who looks at all modules, as `inspect` does, wants nothing of this one; who looks for
        # further modules inside a package asks for its path.
        is_wanted = name == "__path__" and self.__name__ == _COMPILER
        if name.startswith("__") and not is_wanted:
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _real(name: str) -> ModuleType:
    _take_away_stand_ins()
    compiler = importlib.import_module("torch._dynamo")
    return compiler if name == _COMPILER else importlib.import_module("torch._dynamo.utils")


def _take_away_stand_ins() -> None:
    for name in (_COMPILER, _ITS_CHECKS):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _disable(
    function: _Function | None = None, *_arguments: object, **_options: object
) -> _Function | Callable[[_Function], _Function]:
    """Mark a function as one that the compiler shall leave alone; the compiler heeds the mark."""

    def mark(function: _Function) -> _Function:
        function._torchdynamo_disable = True  # type: ignore[attr-defined]
        return function

    return mark if function is None else mark(function)


def _is_compile_supported(device_type: str) -> bool:
    """Ask the real compiler; torchvision does so when it is about to compile, not before."""
    return bool(_real(_ITS_CHECKS).is_compile_supported(device_type))
