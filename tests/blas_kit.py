"""How many threads numpy's matrix products have."""

from __future__ import annotations

from threadpoolctl import threadpool_info


def numpy_threads() -> set[int]:
    """Look at numpy's library only: FAISS has one whose number each thread keeps for itself."""
    return {
        one["num_threads"]
        for one in threadpool_info()
        if one["user_api"] == "blas" and "numpy" in one["filepath"]
    }
