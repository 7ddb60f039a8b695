"""Finds calls and imports in Python source that could run what a file or a name contains."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# Modules that must not be imported at all, with the reason.
MODULES = {
    "pickle": "unpickling runs code",
    "cPickle": "unpickling runs code",
    "_pickle": "unpickling runs code",
    "cloudpickle": "unpickling runs code",
    "dill": "unpickling runs code",
    "joblib": "its files are pickles",
    "shelve": "its files are pickles",
    "marshal": "its files are code",
    "telnetlib": "is not encrypted",
    "xml.sax": "resolves entities",
    "xml.dom": "resolves entities",
    "xml.etree": "resolves entities",
    "lxml": "resolves entities",
}
# Calls that must not be made, by dotted name after resolving imports, with the reason.
CALLS = {
    "eval": "runs a string",
    "exec": "runs a string",
    "compile": "runs a string",
    "__import__": "imports by name",
    "builtins.eval": "runs a string",
    "builtins.exec": "runs a string",
    "builtins.compile": "runs a string",
    "builtins.__import__": "imports by name",
    "os.system": "starts a shell",
    "os.popen": "starts a shell",
    "subprocess.getoutput": "starts a shell",
    "subprocess.getstatusoutput": "starts a shell",
    "asyncio.create_subprocess_shell": "starts a shell",
    "pandas.read_pickle": "unpickling runs code",
    "torch.save": "writes a pickle",
    "torch.jit.load": "runs what the file holds",
    "torch.hub.load": "runs what a repository holds",
    "torch.package.PackageImporter": "runs what the file holds",
    "yaml.load": "may construct objects",
    "yaml.load_all": "may construct objects",
    "yaml.full_load": "may construct objects",
    "yaml.full_load_all": "may construct objects",
    "yaml.unsafe_load": "constructs objects",
    "yaml.unsafe_load_all": "constructs objects",
    "tempfile.mktemp": "lets another process take the name",
    "hashlib.md5": "is no proof of integrity",
    "hashlib.sha1": "is no proof of integrity",
    "ssl._create_unverified_context": "trusts anybody",
    "tarfile.TarFile.extractall": "may write outside the folder",
    "shutil.unpack_archive": "may write outside the folder",
    "markupsafe.Markup.unescape": "undoes escaping",
}
# Methods by name alone, whatever they are called on.
METHODS = {
    "to_pickle": "writes a pickle",
    "read_pickle": "unpickling runs code",
    "extractall": "may write outside the folder",
}
# Classes that must not be named: loaders that construct objects.
NAMES = {
    "yaml.Loader": "constructs objects",
    "yaml.FullLoader": "may construct objects",
    "yaml.UnsafeLoader": "constructs objects",
    "yaml.CLoader": "constructs objects",
}
HASHES = frozenset({"md5", "sha1"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})
# Loading from .npy with pickles is off by default today, but was on once: it has to be written.
NUMPY_LOADERS = frozenset(
    {"numpy.load", "numpy.lib.format.read_array", "numpy.lib.format.open_memmap"}
)


class Found(NamedTuple):
    """One unsafe place: where, what is written there, and why it is unsafe."""

    file: str
    line: int
    what: str
    why: str


def scan_file(file: Path) -> list[Found]:
    """Scan one Python file."""
    return scan(file.read_text(encoding="utf-8"), str(file))


def scan(source: str, file: str = "<source>") -> list[Found]:
    """Scan Python source.

    Names are followed through `import a.b as c` and `from a import b as c`, at any depth of the
    file; what is assigned to another name, or reached by `getattr`, is not followed: `getattr`
    with a name that is computed is reported instead where the object is a module.

    Returns
    -------
    list of Found
        By line.
    """
    tree = ast.parse(source, file)
    names = _imported_names(tree)
    found = [
        Found(file, node.lineno, what, why)
        for node in ast.walk(tree)
        if isinstance(node, ast.expr | ast.stmt)
        for what, why in _unsafe(node, names)
    ]
    return sorted(set(found), key=lambda one: (one.line, one.what))


def _imported_names(tree: ast.AST) -> dict[str, str]:
    """Map every name that an import binds to the dotted name of what it binds."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                names[bound] = alias.name if alias.asname else bound
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _unsafe(node: ast.AST, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _unsafe_imports(node)
    elif isinstance(node, ast.Call):
        yield from _unsafe_call(node, names)
    elif isinstance(node, ast.Attribute | ast.Name):
        name = _dotted(node, names)
        if name in NAMES:
            yield name, NAMES[name]
    elif isinstance(node, ast.Constant) and node.value in EVERYWHERE:
        yield repr(node.value), "listens to every machine"


def _unsafe_imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        imported = [alias.name for alias in node.names]
    elif node.level:
        return
    else:
        imported = [f"{node.module}.{alias.name}" for alias in node.names]
        if any(alias.name == "*" for alias in node.names):
            yield f"{node.module}.*", "hides which names are imported"
    for name in imported:
        for module, why in MODULES.items():
            if f"{name}.".startswith(f"{module}."):
                yield name, why
        if name in CALLS:
            yield name, CALLS[name]


def _unsafe_call(call: ast.Call, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    name = _dotted(call.func, names)
    if name in CALLS:
        yield name, CALLS[name]
    method = name.rpartition(".")[2]
    if isinstance(call.func, ast.Attribute) and method in METHODS:
        yield method, METHODS[method]
    for rule in _RULES:
        if why := rule(name, call):
            yield name or "call", why


def _numpy_load(name: str, call: ast.Call) -> str | None:
    if name not in NUMPY_LOADERS or _is(_keyword(call, "allow_pickle"), False):
        return None
    return "may unpickle: say allow_pickle=False"


def _allow_pickle(_name: str, call: ast.Call) -> str | None:
    allowed = _keyword(call, "allow_pickle")
    return None if allowed is None or _is(allowed, False) else "unpickling runs code"


def _torch_load(name: str, call: ast.Call) -> str | None:
    if name != "torch.load" or _is(_keyword(call, "weights_only"), True):
        return None
    return "may unpickle: say weights_only=True"


def _shell(_name: str, call: ast.Call) -> str | None:
    shell = _keyword(call, "shell")
    return None if shell is None or _is(shell, False) else "starts a shell"


def _unverified(_name: str, call: ast.Call) -> str | None:
    return "trusts anybody" if _is(_keyword(call, "verify"), False) else None


def _jinja(name: str, call: ast.Call) -> str | None:
    if name not in {"jinja2.Environment", "jinja2.Template", "jinja2.sandbox.SandboxedEnvironment"}:
        return None
    return None if _is(_keyword(call, "autoescape"), True) else "does not escape: autoescape=True"


def _weak_hash(name: str, call: ast.Call) -> str | None:
    if name not in {"hashlib.new", "hashlib.file_digest"}:
        return None
    weak = any(isinstance(one, ast.Constant) and one.value in HASHES for one in call.args)
    return "is no proof of integrity" if weak else None


def _all_addresses(name: str, call: ast.Call) -> str | None:
    if not name.endswith("bind") or not call.args or not isinstance(call.args[0], ast.Tuple):
        return None
    host = call.args[0].elts[0]
    return "listens to every machine" if isinstance(host, ast.Constant) and not host.value else None


def _dynamic(name: str, call: ast.Call) -> str | None:
    if name not in {"importlib.import_module", "importlib.__import__"}:
        return None
    fixed = bool(call.args) and isinstance(call.args[0], ast.Constant)
    return None if fixed and call.args[0].value not in MODULES else "imports by name"


_RULES: tuple[Callable[[str, ast.Call], str | None], ...] = (
    _numpy_load,
    _allow_pickle,
    _torch_load,
    _shell,
    _unverified,
    _jinja,
    _weak_hash,
    _all_addresses,
    _dynamic,
)


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((one.value for one in call.keywords if one.arg == name), None)


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """Return the dotted name of an expression with imports resolved; empty where it has none."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        value = _dotted(node.value, names)
        return f"{value}.{node.attr}" if value else f".{node.attr}"
    return ""
