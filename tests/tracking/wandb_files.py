"""Reads the `.wandb` file of an offline run: LevelDB's log format around W&B's own messages."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

_FILE_HEADER = 7
_BLOCK = 32768
_CHUNK = struct.Struct("<IHB")
_FULL, _LAST = 1, 4


def records(file: Path) -> Iterator[Record]:
    """Yield what a run has written."""
    content = file.read_bytes()
    assert content.startswith(b":W&B")
    at, parts = _FILE_HEADER, b""
    while at + _CHUNK.size <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < _CHUNK.size:
            at += left
            continue
        _, length, kind = _CHUNK.unpack_from(content, at)
        at += _CHUNK.size
        parts += content[at : at + length]
        at += length
        if kind in (_FULL, _LAST):
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
