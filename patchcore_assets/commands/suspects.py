"""`patchcore suspects`: train images that look as if they were no normal ones."""

from __future__ import annotations

import argparse

from patchcore_assets.commands.config_option import add_config_option
from patchcore_assets.location import config_path

NAME = "suspects"
HELP = "List train images whose scores are far above the others, as those of defects would be."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subcommand."""
    add_config_option(parser)
    parser.add_argument(
        "categories", nargs="*", help="only these categories; default: all of the file"
    )


def run(options: argparse.Namespace) -> int:
    """Print a line for each suspect; return 1 if a category has no calibration to look at."""
    import pandas as pd

    from patchcore_assets.assets.score_calibration import SCORE_CALIBRATION
    from patchcore_assets.storage import MissingArtefact, StorageBusy, store_of
    from patchcore_ops.calibration import suspects
    from patchcore_ops.config import load_config
    from patchcore_ops.runtime.errors import EnvironmentProblem
    from patchcore_ops.stages.layout import NORMAL_SCORES

    config = load_config(options.config or config_path())
    for category in options.categories:
        config.for_category(category)
    store = store_of(config)
    code = 0
    for category in options.categories or config.categories:
        try:
            with store.open(SCORE_CALIBRATION, category) as artefact:
                normal = pd.read_parquet(artefact.folder / NORMAL_SCORES)
        except MissingArtefact as missing:
            print(f"{category}: {missing}")
            code = 1
            continue
        except StorageBusy as busy:
            raise EnvironmentProblem(f"{busy}; run again when it answers") from None
        found = normal.iloc[suspects(normal["score"])]
        print(f"{category}: {len(found)} of {len(normal)} train images")
        median = normal["score"].median()
        for path, score in zip(found["path"], found["score"], strict=True):
            print(f"  {config.dataset_root / path}  {score:.6g}, {score / median:.2f} x the median")
    return code
