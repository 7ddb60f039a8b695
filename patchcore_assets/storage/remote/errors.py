"""What the errors of a remote storage mean: one sentence, in which no credential can stand.

What a client or a server says in its own words is not repeated: it may hold an address with a
signature, a key or a token. The server's code, the HTTP status and the names of exceptions cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from patchcore_assets.storage.transient import chain_of, is_transient, response_of
from patchcore_ops.runtime.errors import UserError


class StorageRefused(UserError):
    """A storage does not do what is asked of it, and will not without a change."""


class StorageBusy(ConnectionError):
    """A storage has failed, perhaps for a moment."""


@contextmanager
def plainly(root: str) -> Iterator[None]:
    """Turn errors of a storage's client into sentences; a file that is not there stays that.

    Raises
    ------
    StorageRefused
        For what will not go away by itself.
    StorageBusy
        For what may be gone at the next attempt.
    """
    try:
        yield
    except Exception as error:
        code = _code(error)
        if is_transient(error):
            raise StorageBusy(f"{root}: the storage fails or is out of reach ({code})") from None
        is_lost = isinstance(error, FileNotFoundError) and not code.startswith("NoSuchBucket")
        if is_lost or not _is_of_a_client(error):
            raise
        raise StorageRefused(
            f"{root}: the storage refuses ({code}); see that the bucket exists, that the "
            "credentials in use (AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws, the machine's role) may "
            "read and write there, and that region and endpoint (AWS_DEFAULT_REGION, "
            "AWS_ENDPOINT_URL) are right"
        ) from None


def _code(error: BaseException) -> str:
    """Return the server's code with the HTTP status, or else the name of the exception."""
    for one in chain_of(error):
        if response := response_of(one):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "none")
            return f"{response.get('Error', {}).get('Code', 'no code')}, HTTP status {status}"
    return type(error).__name__


def _is_of_a_client(error: BaseException) -> bool:
    return any(
        response_of(one)
        or type(one).__module__.partition(".")[0] in ("botocore", "aiobotocore")
        # So botocore refuses an endpoint.
        or isinstance(one, ValueError)
        for one in chain_of(error)
    )
