"""Storage addresses: refuses and hides credentials in them."""

from __future__ import annotations

import re

CREDENTIALS_IN_URL = (
    "holds credentials or a signature; take them out of the URL and provide them by the standard "
    "chain (AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws, the machine's role)"
)

# A user and a password before an "@". Secret keys may hold slashes, so the password may too.
_PASSWORD = re.compile(r"://[^@\s'\"]*:[^@\s'\"]*@")
_USER = re.compile(r"^s3a?://[^/@]*@", re.IGNORECASE)
_QUERY = re.compile(r"^s3a?://.*\?", re.IGNORECASE | re.DOTALL)


def holds_credentials(url: str) -> bool:
    """Tell whether a URL holds a password or, for S3, a user or a signed query."""
    return any(pattern.search(url) for pattern in (_PASSWORD, _USER, _QUERY))


def without_credentials(text: str) -> str:
    """Replace user and password of each URL in a text by `***`."""
    return _PASSWORD.sub("://***@", text)
