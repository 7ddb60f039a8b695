"""Addresses of files, storages and servers: refuses and hides credentials in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

CREDENTIALS_IN_URL = (
    "holds credentials or a signature; take them out of the URL and provide them by the standard "
    "chain (AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws, the machine's role)"
)

CREDENTIALS_OF_SERVER = (
    "must be an address such as https://host:5000, without user, password, token or query; "
    "provide credentials by the environment (MLFLOW_TRACKING_TOKEN, WANDB_API_KEY and the like)"
)

# A user and a password before an "@". Secret keys may hold slashes, so the password may too.
_PASSWORD = re.compile(r"://[^@\s'\"]*:[^@\s'\"]*@")
_USER = re.compile(r"^(?:s3a?|https?)://[^/@]*@", re.IGNORECASE)
_QUERY = re.compile(r"^(?:s3a?|https?)://.*\?", re.IGNORECASE | re.DOTALL)


def is_url(place: str) -> bool:
    """Tell whether a place is a URL, and no path."""
    return "://" in place


def holds_credentials(url: str) -> bool:
    """Tell whether a URL holds a password or, for S3 and HTTP, a user or a query."""
    return any(pattern.search(url) for pattern in (_PASSWORD, _USER, _QUERY))


def without_credentials(text: str) -> str:
    """Replace user and password of each URL in a text by `***`."""
    return _PASSWORD.sub("://***@", text)


def is_plain_address(uri: str) -> bool:
    """Tell whether the address of a server is all that a URI holds.

    Examples
    --------
    >>> is_plain_address("http://127.0.0.1:5000"), is_plain_address("https://token@host/")
    (True, False)
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    is_server = parts.scheme in ("http", "https") and bool(parts.hostname)
    return is_server and "@" not in parts.netloc and not (parts.query or parts.fragment)
