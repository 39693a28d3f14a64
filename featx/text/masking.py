"""Secrets in URLs, hidden where these are shown or stored: user and password, and the query, which may hold a token."""

import re
from typing import Any

MASK = "***"
USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/?#\s]*@", re.IGNORECASE)
QUERY = re.compile(r"(?P<place>[a-z][a-z0-9+.-]*://[^?\s'\"]*)\?[^\s'\"]+", re.IGNORECASE)


def masked(text: str) -> str:
    """Return a text in which the URLs tell no secrets.

    Examples
    --------
    >>> masked("cannot read 'https://me:secret@host/a.png?token=1', try again")
    "cannot read 'https://***@host/a.png?***', try again"
    >>> masked("s3://bucket/photos/a@b.png")
    's3://bucket/photos/a@b.png'
    """
    if "://" not in text:
        return text
    return QUERY.sub(rf"\g<place>?{MASK}", USER_INFO.sub(rf"\g<scheme>{MASK}@", text))


def masked_values(value: Any) -> Any:
    """Return what JSON knows with all of its texts masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {masked_values(key): masked_values(inner) for key, inner in value.items()}
    return [masked_values(inner) for inner in value] if isinstance(value, list | tuple) else value


def without_secrets(url: str, source: str) -> str:
    """Return a URL below a source without the source's own secrets; `with_secrets` puts them back."""
    for secret, mask in _secrets(source):
        url = url.replace(secret, mask)
    return url


def with_secrets(url: str, source: str) -> str:
    """Return a URL that was stored by `without_secrets` as it was.

    Examples
    --------
    >>> source = "https://me:secret@host/photos"
    >>> stored = without_secrets("https://me:secret@host/photos/a.png", source)
    >>> stored, with_secrets(stored, source)
    ('https://***@host/photos/a.png', 'https://me:secret@host/photos/a.png')
    """
    for secret, mask in _secrets(source):
        url = url.replace(mask, secret)
    return url


def _secrets(source: str) -> list[tuple[str, str]]:
    """Return what a source's URL holds of secrets, each with what stands in its place."""
    found = []
    if user := USER_INFO.match(source):
        found.append((user[0], f"{user['scheme']}{MASK}@"))
    if query := QUERY.match(source):
        found.append((source[query.end("place") : query.end()], f"?{MASK}"))
    return found
