"""The reference implementation's stages as a task for a fresh process.

Its classes are used as they are in a checkout that the user names, wired together as its script
`bin/run_patchcore.py` does; nothing of it is copied. Two things are set from outside: the weights,
which it would download, and the constants that images are normalised with, which it fixes to
ImageNet's although they belong to the backbone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import Stopwatch
from benchmarks.workloads import Workload

_DIMENSION = 1024
_RESIZE, _IMAGESIZE = 256, 224


def run_reference(
    workload: dict[str, Any], checkout: str, only_embed: bool, picks_file: str | None
) -> dict[str, Any]:
    """Run the reference on one category; return the `seconds` of each stage and its `metrics`.

    Batch size and workers of the workload are those of the reference here. `checkout` holds
    `src/patchcore`. With `only_embed` it stops when all images are embedded. `picks_file` receives
    the rows that it selected from, its starting rows and its picks (.npz).
    """
    sys.path.insert(0, str(Path(checkout) / "src"))
    settings = Workload(**workload)
    watch = Stopwatch()
    _import_and_seed()
    with watch.stage("embed_train"):
        model, loaders = _wire(settings)
    if only_embed:
        with watch.stage("embed_train"):
            _embed(model, loaders["train"])
        with watch.stage("embed_test"):
            _embed(model, loaders["test"])
        return {"seconds": watch.seconds, "metrics": {}}
    # The three parts of `fit` are timed apart: the sampler, the index, and the rest.
    inner = Stopwatch()
    _time_calls(model.featuresampler, "run", inner, "coreset")
    _time_calls(model.anomaly_scorer, "fit", inner, "index")
    keep_picks = _record_picks(model.featuresampler, inner) if picks_file else None
    with watch.stage("fit"):
        model.fit(loaders["train"])
    recording = inner.seconds.pop("recording", 0.0)
    inner.seconds["coreset"] -= recording
    rest = watch.seconds.pop("fit") - recording - sum(inner.seconds.values())
    watch.seconds["embed_train"] += rest
    watch.seconds.update(inner.seconds)
    with watch.stage("predict"):
        scores, maps, _, masks = model.predict(loaders["test"])
    with watch.stage("metrics"):
        metrics = _metrics(scores, maps, masks, loaders["test"])
    if keep_picks is not None:
        keep_picks(str(picks_file))
    return {"seconds": watch.seconds, "metrics": metrics}


def _import_and_seed() -> None:
    import patchcore.patchcore
    import patchcore.utils
    import PIL.Image  # noqa: F401 - the reference imports PIL alone and uses PIL.Image
    import torch

    import patchcore_ops.backbones.load  # noqa: F401

    patchcore.utils.fix_seeds(0, torch.device("cpu"))


def _wire(settings: Workload) -> tuple[Any, dict[str, Any]]:
    """Build the reference's model and loaders."""
    import patchcore.common
    import patchcore.patchcore
    import patchcore.sampler
    import torch
    from patchcore.datasets import mvtec

    from patchcore_ops.backbones import load_backbone, normalisation_of

    device = torch.device("cpu")
    backbone = load_backbone(settings.network.name, settings.weights)
    mean, std = (value.flatten().tolist() for value in normalisation_of(backbone))
    mvtec.IMAGENET_MEAN, mvtec.IMAGENET_STD = mean, std
    loaders = {}
    for split in (mvtec.DatasetSplit.TRAIN, mvtec.DatasetSplit.TEST):
        dataset = mvtec.MVTecDataset(
            settings.data,
            classname=settings.category,
            resize=_RESIZE,
            imagesize=_IMAGESIZE,
            split=split,
            seed=0,
        )
        loaders[split.value] = torch.utils.data.DataLoader(
            dataset,
            batch_size=settings.batch_size,
            shuffle=False,
            num_workers=settings.workers,
            pin_memory=True,
        )
    model = patchcore.patchcore.PatchCore(device)
    model.load(
        backbone=backbone,
        layers_to_extract_from=list(settings.network.layers),
        device=device,
        input_shape=dataset.imagesize,
        pretrain_embed_dimension=_DIMENSION,
        target_embed_dimension=_DIMENSION,
        patchsize=3,
        featuresampler=patchcore.sampler.ApproximateGreedyCoresetSampler(
            settings.percentage, device
        ),
        anomaly_scorer_num_nn=1,
        nn_method=patchcore.common.FaissNN(False, settings.threads),
    )
    return model, loaders


def _embed(model: Any, loader: Any) -> None:
    import numpy as np

    np.concatenate(model.embed(loader), axis=0)


def _time_calls(owner: Any, method: str, watch: Stopwatch, stage: str) -> None:
    """Make an object's method add its seconds to a stage."""
    original = getattr(owner, method)

    def timed(*arguments: Any, **options: Any) -> Any:
        with watch.stage(stage):
            return original(*arguments, **options)

    setattr(owner, method, timed)


def _record_picks(sampler: Any, watch: Stopwatch) -> Callable[[str], None]:
    """Keep what the sampler picks from; returns what writes it to a file afterwards."""
    import numpy as np

    original = sampler._compute_greedy_coreset_indices
    recorded: dict[str, Any] = {}

    def recording(features: Any) -> Any:
        # The sampler will draw its starting rows from the same state.
        with watch.stage("recording"):
            state = np.random.get_state()  # noqa: NPY002
            count = min(sampler.number_of_starting_points, len(features))
            recorded["starts"] = np.random.choice(len(features), count, replace=False)  # noqa: NPY002
            np.random.set_state(state)  # noqa: NPY002
            recorded["rows"] = features.detach().numpy()
        recorded["picks"] = original(features)
        return recorded["picks"]

    sampler._compute_greedy_coreset_indices = recording
    return lambda path: np.savez(path, **recorded)


def _metrics(scores: Any, maps: Any, masks: Any, loader: Any) -> dict[str, float]:
    """Scale and judge the predictions with the reference's functions, as its script does."""
    import numpy as np
    import patchcore.metrics as reference

    scaled_scores = _scaled(np.array(scores))
    scaled_maps = _scaled(np.array(maps))
    is_anomaly = [label != "good" for _, label, *_ in loader.dataset.data_to_iterate]
    masked = [position for position, mask in enumerate(masks) if np.sum(mask) > 0]
    instance = reference.compute_imagewise_retrieval_metrics(scaled_scores, is_anomaly)
    pixels = reference.compute_pixelwise_retrieval_metrics(scaled_maps, masks)
    masked_pixels = reference.compute_pixelwise_retrieval_metrics(
        [scaled_maps[position] for position in masked], [masks[position] for position in masked]
    )
    return {
        "instance_auroc": float(instance["auroc"]),
        "full_pixel_auroc": float(pixels["auroc"]),
        "anomaly_pixel_auroc": float(masked_pixels["auroc"]),
    }


def _scaled(values: Any) -> Any:
    return (values - values.min()) / (values.max() - values.min())
