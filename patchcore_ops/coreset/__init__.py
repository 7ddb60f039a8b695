"""Which embeddings the memory bank keeps: greedy k-center and the other samplers."""

from patchcore_ops.coreset.greedy import k_center_greedy
from patchcore_ops.coreset.samplers import select_rows

__all__ = ["k_center_greedy", "select_rows"]
