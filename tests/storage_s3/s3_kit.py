"""What the tests of the S3 storage share: stores of fresh machines, and a look into a bucket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3

from patchcore_assets.storage.remote.cache import ArtefactCache
from patchcore_assets.storage.remote.store import RemoteStore

OLD = {"a.bin": b"old" * 10, "0/b.bin": b"old" * 20, "0/c.bin": b"", "only_old.bin": b"old"}
NEW = {"a.bin": b"newer" * 10, "0/b.bin": b"newer" * 20, "1/d.bin": b"newer"}


def fresh(root: str, folder: Path) -> RemoteStore:
    """Open a store as a machine does that has nothing in its cache."""
    number = len(list(folder.glob("machine-*")))
    return RemoteStore(root, ArtefactCache(folder / f"machine-{number}"))


class Bucket:
    """A bucket, seen without the project's own code."""

    def __init__(self, name: str, endpoint: str) -> None:
        self.name = name
        self._client: Any = boto3.client("s3", endpoint_url=endpoint)

    @property
    def root(self) -> str:
        """A storage root in the bucket."""
        return f"s3://{self.name}/some/where"

    def objects(self, below: str = "some/where/") -> dict[str, bytes]:
        """Return all objects below a prefix, by the rest of their names."""
        listed = self._client.list_objects_v2(Bucket=self.name, Prefix=below)
        assert not listed["IsTruncated"]
        return {
            entry["Key"].removeprefix(below): self.get(entry["Key"])
            for entry in listed.get("Contents", ())
        }

    def get(self, key: str) -> bytes:
        """Return one object."""
        return bytes(self._client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def write(self, key: str, content: bytes) -> None:
        """Write one object, by its name below the root."""
        self._client.put_object(Bucket=self.name, Key=f"some/where/{key}", Body=content)

    def delete(self, key: str) -> None:
        """Delete one object, by its name below the root."""
        self._client.delete_object(Bucket=self.name, Key=f"some/where/{key}")

    def version(self, place: str = "asset/c") -> str:
        """Return the name of the version that a pointer names."""
        return str(json.loads(self.get(f"some/where/{place}/artefact.json"))["version"])

    def versions(self, place: str = "asset/c") -> set[str]:
        """Return the names of all versions that are there."""
        names = self.objects(f"some/where/{place}/").keys() - {"artefact.json"}
        return {name.split("/")[0] for name in names}

    def files(self, place: str = "asset/c") -> dict[str, bytes]:
        """Return the files of the version that a pointer names."""
        return self.objects(f"some/where/{place}/{self.version(place)}/")
