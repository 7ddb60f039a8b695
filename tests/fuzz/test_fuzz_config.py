"""Damaged configurations: each loads or is refused with sentences, soon and in little memory."""

# ruff: noqa: E501 - the tables are clearer in wide lines

from __future__ import annotations

import collections
import copy
import random
import resource
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_budget import Budget

from patchcore_ops.config import BenchmarkConfig, load_config
from patchcore_ops.config.sections import ConfigFile
from patchcore_ops.runtime.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
MOST_SECONDS = 20.0
MOST_MEMORY = 500 << 20
LONGEST_LINE = 4096

SEEDS = [
    *((REPOSITORY / name).read_bytes() for name in ("patchcore.yaml", "configs/ensemble.yaml")),
    b"coreset: &c {percentage: 1e-2, seed: 3}\noverrides: {screw: {coreset: {<<: *c, seed: 2}}}\n",
    b"dataset: {categories: [a, 'b', \"c\"], resize: 64, imagesize: 64}\n"
    b"overrides: {a: {index: {factory: 'IVF4,Flat'}}, b: {dataset: {resize: 128}}}\n",
    b"%YAML 1.1\n---\nstorage: {root: '${HOME}/x'}\nschedule:\n  cron: >-\n    0 3 * * 0\n...\n",
    b"embedding: {members: [{backbone: x, layers: [a, b], weights: ../w.pth}, {layers: [c]}]}\n",
]
TOKENS = [
    b"&a ", b"*a", b"<<: ", b"!!python/object/apply:os.system ", b"!x ", b"? ", b": ", b"- ", b"---\n",
    b"...\n", b"%YAML 1.1\n", b"{", b"}", b"[", b"]", b"|\n", b">-\n", b"'", b'"', b"#", b"\t", b"\r",
    b"\n", b"\0", b"\x85", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", b"${HOME}",
    b"${NO_SUCH_VARIABLE}", b"~", b"null", b"yes", b".nan", b".inf", b"1e-2", b"1e999", b"0x_", b"0b",
    b"1:30", b"2024-01-01", b"9" * 50, b"9" * 5000, b"\\U00110000", b'"\\ud800"', b'"\\x00"', b"`", b"@",
    b"[" * 50, b"{a: " * 50, b"- " * 50, b"? " * 50, b"&b " * 20, b"a" * 5000, b"../x", b"a/b", b"discover",
    b"overrides: ", b"percentage: ", b"!<tag:yaml.org,2002:int> ", b"!!binary ", b"!!set ", b"!!timestamp ",
]  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**40, 0.0, -0.0, 1e-320, 1e308,
    float("nan"), float("inf"), "", " ", "x", "../x", "a/b", "\n", "\x7f", "\ud7ff", "~x/y", "mvtec",
    "discover", "${NO_SUCH_VARIABLE}", "${HOME}", "s3://bucket/x", "s3://user:secret@host/x", "1e-2", "Flat",
    "IVF0,Flat", [], {}, [[]], [{}], {"a": {}}, {"": ""}, [None], ["a", "a"], "a" * 5000, "Mean", "a...b",
]  # fmt: skip
WORDS = [
    *ConfigFile.model_fields,
    *{key for field in ConfigFile.model_fields.values() for key in getattr(field.annotation, "model_fields", {})},
    "backbone", "layers", "weights", "screw", "bottle", "unknown", "<<", "", "a\nb", "\x1b[31m", "0", "é",
]  # fmt: skip


def mutated_bytes(rng: random.Random) -> bytes:
    """Damage the bytes of a configuration: flip, cut, double, insert, splice."""
    content = bytearray(rng.choice(SEEDS))
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(content) + 1)
        upto = min(len(content), at + rng.choice([1, 4, 40, 400]))
        match rng.randrange(7):
            case 0 if content:
                content[at % len(content)] ^= 1 << rng.randrange(8)
            case 1:
                del content[at:upto]
            case 2:
                content[at:at] = content[at:upto] * rng.choice([1, 2, 50])
            case 3:
                content[at:at] = rng.choice(TOKENS)
            case 4:
                content[at:upto] = rng.choice(TOKENS) * rng.choice([1, 1, 3, 200])
            case 5:
                other = rng.choice(SEEDS)
                content[at:] = other[rng.randrange(len(other)) :]
            case _:
                content[at:at] = rng.randbytes(rng.choice([1, 3, 30]))
    return bytes(content)


def mutated_document(rng: random.Random) -> bytes:
    """Damage the content of a configuration: odd values, and keys where they do not belong."""
    content = copy.deepcopy(yaml.safe_load(rng.choice(SEEDS[:2])))
    for _ in range(rng.choice([1, 2, 3, 8])):
        inner = content
        for _ in range(rng.randrange(5)):
            places = [
                value
                for value in (inner.values() if isinstance(inner, dict) else inner)
                if isinstance(value, dict | list) and value
            ]
            if not places:
                break
            inner = rng.choice(places)
        value = copy.deepcopy(rng.choice([*ODD, content]) if rng.random() < 0.9 else inner)
        if isinstance(inner, list):
            inner.insert(rng.randrange(len(inner) + 1), value)
        else:
            inner[rng.choice([*WORDS, *inner])] = value
    return yaml.safe_dump(content, allow_unicode=rng.random() < 0.5).encode(
        "utf-8", "surrogatepass"
    )


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("mutate", [mutated_bytes, mutated_document])
def test_a_damaged_configuration_loads_or_is_refused(
    budget: Budget, tmp_path: Path, mutate: Any
) -> None:
    budget.seconds /= 2
    file = tmp_path / "bench.yaml"
    before = peak_memory()
    outcomes: collections.Counter[str] = collections.Counter()
    for rng in budget:
        content = mutate(rng)
        file.write_bytes(content)
        started = time.monotonic()
        try:
            config = load_config(file)
        except ConfigError as refusal:
            lines = str(refusal).split("\n")
            assert all(line.startswith(f"{file}: ") for line in lines), (content, lines)
            assert all(line.isprintable() for line in lines), (content, lines)
            assert max(map(len, lines)) < LONGEST_LINE, (content, lines)
            assert "secret" not in str(refusal), content
            outcomes["refused"] += 1
        except BaseException as error:
            pytest.fail(f"{type(error).__name__}: {error}\n{content!r}")
        else:
            assert isinstance(config, BenchmarkConfig)
            assert config.categories
            for category in config.categories:
                assert Path(category).name == category, content
            outcomes["accepted"] += 1
        assert time.monotonic() - started < MOST_SECONDS, content
    grown = (peak_memory() - before) >> 20
    assert grown < MOST_MEMORY >> 20
    budget.say(
        f"{mutate.__name__}: {budget.attempts} configurations, {outcomes['accepted']} accepted, "
        f"{outcomes['refused']} refused, the slowest took {budget.slowest:.2f} s, "
        f"peak memory grew by {grown} MiB"
    )
