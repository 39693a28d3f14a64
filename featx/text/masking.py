"""Mask the secrets in URLs that are shown or stored: user and password, and the query, which may contain a token."""

import re
from typing import Any

MASK = "***"
USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/?#\s]*@", re.IGNORECASE)
QUERY = re.compile(r"(?P<place>[a-z][a-z0-9+.-]*://[^?\s'\"]*)\?[^\s'\"]+", re.IGNORECASE)


def mask_secrets(text: str) -> str:
    """Return a text with all secrets in its URLs masked.

    Examples
    --------
    >>> mask_secrets("cannot read 'https://me:secret@host/a.png?token=1', try again")
    "cannot read 'https://***@host/a.png?***', try again"
    >>> mask_secrets("s3://bucket/photos/a@b.png")
    's3://bucket/photos/a@b.png'
    """
    if "://" not in text:
        return text
    return QUERY.sub(rf"\g<place>?{MASK}", USER_INFO.sub(rf"\g<scheme>{MASK}@", text))


def mask_secrets_in_value(value: Any) -> Any:
    """Return a JSON value with the secrets in all of its texts masked."""
    if isinstance(value, str):
        return mask_secrets(value)
    if isinstance(value, dict):
        return {mask_secrets_in_value(key): mask_secrets_in_value(inner) for key, inner in value.items()}
    return [mask_secrets_in_value(inner) for inner in value] if isinstance(value, list | tuple) else value


def remove_secrets(url: str, source: str) -> str:
    """Return a URL below a source with the source's own secrets masked; `restore_secrets` restores them."""
    for secret, mask in _secrets(source):
        url = url.replace(secret, mask)
    return url


def restore_secrets(url: str, source: str) -> str:
    """Return the original of a URL that `remove_secrets` masked.

    Examples
    --------
    >>> source = "https://me:secret@host/photos"
    >>> stored = remove_secrets("https://me:secret@host/photos/a.png", source)
    >>> stored, restore_secrets(stored, source)
    ('https://***@host/photos/a.png', 'https://me:secret@host/photos/a.png')
    """
    for secret, mask in _secrets(source):
        url = url.replace(mask, secret)
    return url


def _secrets(source: str) -> list[tuple[str, str]]:
    """Return the secrets in a source's URL, each with its mask."""
    secrets = []
    if user := USER_INFO.match(source):
        secrets.append((user[0], f"{user['scheme']}{MASK}@"))
    if query := QUERY.match(source):
        secrets.append((source[query.end("place") : query.end()], f"?{MASK}"))
    return secrets
