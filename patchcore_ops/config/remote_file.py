"""Reads a file at any URL that fsspec understands.

What a client says in its own words is not repeated: it may hold an address with a signature.
"""

from __future__ import annotations

from patchcore_ops.runtime.errors import ConfigError, ConfigOutOfReach

_FINAL = (PermissionError, IsADirectoryError, ValueError, TypeError)
_FINAL_NAMES = frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"})


def is_final(error: Exception) -> bool:
    """Tell whether a client reaches its storage, and its error will not go away by itself."""
    return isinstance(error, _FINAL) or type(error).__name__ in _FINAL_NAMES


def read_url(url: str) -> bytes:
    """Return the content of a file as it is now.

    Raises FileNotFoundError if it is not there, ConfigOutOfReach if its storage does not answer,
    which it may later, and ConfigError if it cannot be read otherwise.
    """
    import fsspec

    protocol = url.partition("://")[0]
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError):
        raise ConfigError(
            f"{url}: nothing here speaks the protocol '{protocol}'; install its fsspec client, "
            'for S3 by pip install "s3fs>=2024.12"'
        ) from None
    try:
        return bytes(system.cat_file(path))
    except FileNotFoundError:
        raise
    except Exception as error:
        said = type(error).__name__
        if is_final(error):
            raise ConfigError(
                f"{url}: cannot be read ({said}); see that the credentials in use may read it, and "
                "that region and endpoint are right"
            ) from None
        raise ConfigOutOfReach(
            f"{url}: cannot be read ({said}); see that its storage can be reached from here"
        ) from None
