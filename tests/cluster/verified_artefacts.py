"""Open every artefact below a root with an empty cache, which verifies it; print who made it."""

from __future__ import annotations

import json
import sys

from patchcore_assets.storage import open_store


def main(root: str, assets: str, categories: str) -> None:
    store = open_store(root)
    made = {}
    for asset in assets.split(","):
        for category in categories.split(","):
            with store.open(asset, category or None) as artefact:
                artefact.verify()
                provenance = artefact.provenance
                made[f"{asset}/{category}"] = [provenance["host"], artefact.data_version]
    sys.stdout.write(json.dumps(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
