"""From patch embeddings to anomaly scores: nearest neighbours, and anomaly maps."""

from patchcore_ops.scoring.index_building import build_index
from patchcore_ops.scoring.maps import anomaly_maps, image_scores, patch_scores
from patchcore_ops.scoring.neighbours import Searcher

__all__ = ["Searcher", "anomaly_maps", "build_index", "image_scores", "patch_scores"]
