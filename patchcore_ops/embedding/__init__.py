"""From images to patch embeddings: the embedder, its exported network, the engines that run it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchcore_ops.embedding.embedder import PatchEmbedder

__all__ = ["PatchEmbedder"]


def __getattr__(name: str) -> Any:
    # Only who asks for them waits for torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from patchcore_ops.embedding import embedder

    return getattr(embedder, name)
