"""Files that are no configuration, and the one sentence that each gets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.runtime.errors import ConfigError

Load = Callable[[str | bytes], BenchmarkConfig]


@pytest.fixture(autouse=True)
def no_roots_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATCHCORE_DATASET_ROOT", "PATCHCORE_STORAGE_ROOT", "NOWHERE", "NO_SUCH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bench.yaml"


@pytest.fixture
def load(file: Path) -> Load:
    """Return a function that loads a configuration from its text or its bytes."""

    def load_text(text: str | bytes) -> BenchmarkConfig:
        file.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
        return load_config(file)

    return load_text


# (name, text, what the one line says after the file's name, what else is in it)
FILES = [
    (
        "list",
        "- a\n- b",
        "must be a mapping of section names to sections, such as 'coreset:",
        "['a",
    ),
    ("text", "coreset", "must be a mapping of section names", "(got 'coreset')"),
    ("number", "3", "must be a mapping of section names", "(got 3)"),
    ("unclosed", "coreset: {percentage: 0.1", "not valid YAML (line 1: ", "expected ',' or '}'"),
    (
        "tab",
        "coreset:\n\tpercentage: 0.1",
        "not valid YAML (line 2: ",
        "with spaces, not with tabs",
    ),
    ("bad indent", "coreset:\n  seed: 1\n percentage: 1", "not valid YAML (line 3: ", ""),
    ("colons", "coreset: percentage: 0.1", "not valid YAML (line 1: ", "mapping values"),
    ("unclosed quote", "dataset: {root: 'a}\n", "not valid YAML (line 2: ", "end of stream"),
    ("escape", r'dataset: {root: "\UFFFFFFFF"}', "not valid YAML (", ""),
    ("version", "%YAML 3.0\n---\na: b", "not valid YAML (line 1: ", "version"),
    (
        "two documents",
        "coreset: {}\n---\nindex: {}",
        "not valid YAML (line 2: ",
        "another document",
    ),
    ("deep list", "a: " + "[" * 5000, "nested too deeply", ""),
    ("deep mapping", "{a: " * 5000, "nested too deeply", ""),
    ("deep blocks", "- " * 5000, "nested too deeply", ""),
    ("self", "a: &a [*a]", "not valid YAML (line 1: an alias lies within", ""),
    ("no anchor", "a: *b", "not valid YAML (line 1: ", "undefined alias 'b'"),
    ("list as key", "{[a]: b}", "not valid YAML (line 1: a key must be a plain word", ""),
    (
        "utf-16",
        "coreset: {}".encode("utf-16"),
        "cannot be read as UTF-8 text (line 1, byte 0xff)",
        "",
    ),
    (
        "latin-1",
        "# Maße\nx: \xe9".encode("latin-1"),
        "cannot be read as UTF-8 text (line 1",
        "save it",
    ),
    ("binary", b"a: b\n\x00\x01", "line 2 holds the control character U+0000; remove it", ""),
    ("bell", b"a: b\nc: \x07", "line 2 holds the control character U+0007; remove it", ""),
    ("merge", "a: {<<: 3}", "not valid YAML (line 1: ", "expected a mapping or list of mappings"),
]


@pytest.mark.parametrize(
    ("text", "begins", "holds"), [row[1:] for row in FILES], ids=[row[0] for row in FILES]
)
def test_a_file_that_is_no_configuration_is_one_sentence(
    load: Load, file: Path, text: str | bytes, begins: str, holds: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    message = str(caught.value)
    assert message.startswith(f"{file}: {begins}")
    assert holds in message
    assert "\n" not in message
    assert len(message) < len(str(file)) + 250


def test_files_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    for path, sentence in (
        (tmp_path, "is a folder; name the YAML file in it"),
        (tmp_path / "absent.yaml", "no such configuration file; set PATCHCORE_CONFIG"),
        (tmp_path / "absent" / "bench.yaml", "no such configuration file"),
        (tmp_path / "pipe.yaml", "is no regular file"),
        (Path("/dev/zero"), "is no regular file"),
        (tmp_path / "loop.yaml", "cannot be read ("),
        (tmp_path / ("a" * 300), "cannot be read (File name too long)"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert str(caught.value).startswith(f"{path}: {sentence}")
    with pytest.raises(ConfigError, match="'~' names no home folder"):
        load_config("~nobody-has-this-name/bench.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read_says_so(file: Path) -> None:
    file.write_text("", encoding="utf-8")
    file.chmod(0)
    with pytest.raises(
        ConfigError, match=r"cannot be read \(Permission denied\); make it readable"
    ):
        load_config(file)
