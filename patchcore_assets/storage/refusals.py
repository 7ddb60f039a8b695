"""What the errors of a remote storage mean: one sentence, in which no credential can stand.

The sentences are made of the storage's root, error codes, HTTP status codes and the names of
exceptions. What a client or a server says in its own words is not repeated: it may hold an address
with a signature, a key or a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from patchcore_assets.storage.transient import is_transient
from patchcore_ops.runtime.errors import UserError

_CHAIN = "the standard chain (AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws, the machine's role)"
_DENIED = (
    "access to {root} is denied ({code}); give the identity in use the permissions that "
    "docs/object-storage.md lists"
)
_REFUSED = f"{{root}}: the credentials are refused ({{code}}); renew those of {_CHAIN}"
_ABSENT = f"{{root}}: there are no usable credentials ({{code}}); provide them by {_CHAIN}"
_REGION = (
    "{root}: the bucket is in another region than the one in use ({code}); set AWS_DEFAULT_REGION, "
    "or region in ~/.aws/config, to the bucket's"
)
_ENDPOINT = "{root}: the endpoint is not a valid address; correct AWS_ENDPOINT_URL"
_BUCKET = "{root}: '{bucket}' cannot be the name of a bucket; correct storage.root"

# By the code of the server's answer, or the name of the client's exception.
_SENTENCES = {
    "NoSuchBucket": "{root}: the bucket '{bucket}' does not exist; create it or correct "
    "storage.root",
    **dict.fromkeys(
        ("AccessDenied", "AccountProblem", "AllAccessDisabled", "Forbidden", "403"), _DENIED
    ),
    **dict.fromkeys(
        (
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidAccessKeyId",
            "InvalidToken",
            "SignatureDoesNotMatch",
            "TokenRefreshRequired",
        ),
        _REFUSED,
    ),
    **dict.fromkeys(
        (
            "ConfigNotFound",
            "CredentialRetrievalError",
            "NoAuthTokenError",
            "NoCredentialsError",
            "PartialCredentialsError",
            "ProfileNotFound",
            "SSOError",
            "TokenRetrievalError",
        ),
        _ABSENT,
    ),
    **dict.fromkeys(
        (
            "301",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "InvalidRegionError",
            "NoRegionError",
            "PermanentRedirect",
        ),
        _REGION,
    ),
    **dict.fromkeys(("InvalidBucketName", "ParamValidationError"), _BUCKET),
    "RequestTimeTooSkewed": "{root}: this machine's clock differs too much from the storage's; "
    "set it right",
    "SSLError": "{root}: the storage's certificate is not trusted; name your authority's "
    "certificates in AWS_CA_BUNDLE",
}


class StorageRefused(UserError):
    """A storage does not do what is asked of it, and will not without a change."""


class StorageBusy(ConnectionError):
    """A storage has failed, perhaps for a moment."""


@contextmanager
def plainly(root: str) -> Iterator[None]:
    """Turn errors of a remote storage into sentences; a file that is not there stays that.

    Raises
    ------
    StorageRefused
        For what will not go away by itself.
    StorageBusy
        For what may be gone at the next attempt.
    """
    try:
        yield
    except (UserError, StorageBusy):
        raise
    except Exception as error:
        if sentence := _sentence(error, root):
            raise StorageRefused(sentence) from None
        if is_transient(error):
            raise StorageBusy(
                f"{root}: the storage fails or is out of reach ({_code(error)})"
            ) from None
        if isinstance(error, FileNotFoundError) or not _is_of_a_client(error):
            raise
        raise StorageRefused(f"{root}: the storage refuses ({_code(error)})") from None


def without_client(root: str, error: ImportError | ValueError) -> StorageRefused:
    """Say what to install, or to correct, where no client speaks the protocol of a root."""
    protocol = urlsplit(root).scheme
    if isinstance(error, ValueError):
        return StorageRefused(
            f"{root}: fsspec knows no protocol '{protocol}'; correct storage.root"
        )
    if protocol in ("s3", "s3a"):
        return StorageRefused(
            f'{root}: s3fs, which reaches it, is not installed; pip install "s3fs>=2024.12"'
        )
    return StorageRefused(
        f"{root}: the fsspec client for '{protocol}' is not installed; install the package that "
        "https://filesystem-spec.readthedocs.io lists for it"
    )


def _sentence(error: BaseException, root: str) -> str | None:
    if any(isinstance(one, ValueError) and "Invalid endpoint" in str(one) for one in _chain(error)):
        return _ENDPOINT.format(root=root)
    for name in _names(error):
        if name in _SENTENCES:
            bucket = urlsplit(root).netloc
            return _SENTENCES[name].format(root=root, bucket=bucket, code=name)
    return None


def _code(error: BaseException) -> str:
    """Return the server's code with the HTTP status, or else the name of the exception."""
    for one in _chain(error):
        if response := _response(one):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "none")
            return f"{response.get('Error', {}).get('Code', 'no code')}, HTTP status {status}"
    return next(type(one).__name__ for one in _chain(error))


def _names(error: BaseException) -> Iterator[str]:
    for one in _chain(error):
        if response := _response(one):
            yield str(response.get("Error", {}).get("Code"))
        else:
            yield from (kind.__name__ for kind in type(one).__mro__)


def _is_of_a_client(error: BaseException) -> bool:
    return any(
        _response(one) or type(one).__module__.partition(".")[0] in ("botocore", "aiobotocore")
        for one in _chain(error)
    )


def _response(error: BaseException) -> dict[str, dict[str, object]] | None:
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error to what it was raised from, and to what was being handled then."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
