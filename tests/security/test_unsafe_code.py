"""No pickle, eval, shell or object construction in the code, and a scanner that sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from unsafe_code import scan, scan_file

REPOSITORY = Path(__file__).resolve().parents[2]
# What a user runs may import nothing by a computed name; a harness names its own modules.
SCANNED = {
    "patchcore_ops": frozenset(),
    "patchcore_assets": frozenset(),
    "benchmarks": frozenset({"imports by name"}),
    "tests/faults": frozenset({"imports by name"}),
}

UNSAFE = [
    "import pickle",
    "import pickle as harmless",
    "from pickle import loads",
    "def f():\n    import cPickle",
    "import _pickle",
    "import cloudpickle",
    "import dill",
    "import joblib",
    "from joblib import load",
    "import shelve",
    "import marshal",
    "import xml.etree.ElementTree as ET",
    "from xml.dom import minidom",
    "from xml import sax",
    "from lxml import etree",
    "import numpy as np\nnp.load(file)",
    "import numpy as np\nnp.load(file, allow_pickle=True)",
    "import numpy\nnumpy.load(file, mmap_mode='r')",
    "from numpy import load\nload(file)",
    "import numpy as np\nnp.load(file, allow_pickle=flag)",
    "anything(file, allow_pickle=True)",
    "import torch\ntorch.load(file)",
    "import torch\ntorch.load(file, weights_only=False)",
    "import torch as t\nt.load(file, map_location='cpu')",
    "from torch import load as read\nread(file)",
    "import torch\ntorch.save(model, file)",
    "import torch\ntorch.jit.load(file)",
    "from torch import hub\nhub.load('owner/name', 'model')",
    "eval(text)",
    "exec(text)",
    "compile(text, '', 'exec')",
    "__import__(name)",
    "import builtins\nbuiltins.eval(text)",
    "import importlib\nimportlib.import_module(name)",
    "from importlib import import_module\nimport_module('pickle')",
    "import os\nos.system('ls')",
    "from os import system",
    "import os\nos.popen('ls')",
    "import subprocess\nsubprocess.run('ls', shell=True)",
    "import subprocess\nsubprocess.Popen(command, shell=flag)",
    "import subprocess\nsubprocess.getoutput('ls')",
    "import asyncio\nasyncio.create_subprocess_shell('ls')",
    "import yaml\nyaml.load(text)",
    "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
    "import yaml\nyaml.unsafe_load(text)",
    "import yaml\nyaml.full_load(text)",
    "import yaml\nclass Mine(yaml.Loader): pass",
    "from yaml import UnsafeLoader\nread(text, UnsafeLoader)",
    "import pandas as pd\npd.read_pickle(file)",
    "frame.to_pickle(file)",
    "import tempfile\ntempfile.mktemp()",
    "import hashlib\nhashlib.md5(data)",
    "from hashlib import sha1\nsha1(data)",
    "import hashlib\nhashlib.new('md5')",
    "import hashlib\nhashlib.file_digest(stream, 'sha1')",
    "import requests\nrequests.get(url, verify=False)",
    "import ssl\nssl._create_unverified_context()",
    "serve(host='0.0.0.0')",
    "HOST = '::'",
    "listener.bind(('', 80))",
    "import jinja2\njinja2.Environment(loader=loader)",
    "from jinja2 import Environment\nEnvironment(autoescape=False)",
    "from jinja2 import Template\nTemplate(text)",
    "import shutil\nshutil.unpack_archive(file)",
    "archive.extractall(folder)",
    "from os import *",
]
SAFE = [
    "import numpy as np\nnp.load(file, mmap_mode='r', allow_pickle=False)",
    "import torch\ntorch.load(file, map_location='cpu', weights_only=True)",
    "import yaml\nyaml.safe_load(text)",
    "import yaml\nclass Mine(yaml.SafeLoader): pass",
    "import yaml\nyaml.parse(text, Loader=yaml.SafeLoader)",
    "import json\njson.load(stream)",
    "import re\nre.compile('a')",
    "model.eval()",
    "backbone.train(mode=False)",
    "frame.eval('a + b') if False else None",
    "import subprocess\nsubprocess.run(['ls'], check=True)",
    "import subprocess\nsubprocess.run(['ls'], shell=False)",
    "import hashlib\nhashlib.sha256(data)",
    "import hashlib\nhashlib.new('sha256')",
    "import tempfile\ntempfile.mkdtemp()",
    "from jinja2 import Environment\nEnvironment(loader=loader, autoescape=True)",
    "listener.bind(('127.0.0.1', 0))",
    "import importlib\nimportlib.import_module('torch')",
    "from .pickle import something",
    "text = 'pickle eval os.system'",
    "from safetensors.torch import load_file\nload_file(file)",
]


@pytest.mark.parametrize("source", UNSAFE)
def test_scanner_finds(source: str) -> None:
    assert scan(source), source


@pytest.mark.parametrize("source", SAFE)
def test_scanner_accepts(source: str) -> None:
    assert not scan(source)


def test_scanner_says_where_and_why() -> None:
    [found] = scan("import os\n\nos.system('ls')", "module.py")
    assert found == ("module.py", 3, "os.system", "starts a shell")


@pytest.mark.parametrize("folder", SCANNED)
def test_nothing_in_the_code_can_run_what_a_file_holds(folder: str) -> None:
    files = sorted((REPOSITORY / folder).rglob("*.py"))
    assert files, "something is scanned"
    found = [
        f"{one.file}:{one.line}: {one.what} {one.why}"
        for file in files
        for one in scan_file(file)
        if one.why not in SCANNED[folder]
    ]
    assert not found, "\n".join(found)


def test_templates_and_scripts_construct_nothing_either() -> None:
    templates = sorted((REPOSITORY / "patchcore_ops" / "report" / "page").glob("*.html"))
    scripts = sorted((REPOSITORY / "patchcore_ops").rglob("*.js"))
    assert templates
    assert scripts
    for file in templates:
        text = file.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", ""), file
        assert "autoescape" not in text, file
    for file in scripts:
        text = file.read_text(encoding="utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text, (file, word)
