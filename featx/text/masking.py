"""Mask the secrets in URLs that are shown or stored: user and password, and the query, which may contain a token."""

import re
from typing import Any

MASK = "***"
# fsspec chains protocols: ``simplecache::https://host/a.png``.
SCHEME = r"(?<![a-z0-9+.-])(?:[a-z0-9]++::){0,4}(?P<scheme>[a-z0-9+.-]++://)"
# A quote ends a URL only before a space, punctuation or the end of the text.
WORD_END = r"(?=[\s,;:.!?)\]}>]|$)"
INNER_QUOTE = rf"['\"](?!{WORD_END})"
NOT_CLOSING_QUOTE = rf"(?!(?P=quote){WORD_END})"
USER_INFO = re.compile(rf"{SCHEME}[^/?#\s]*@", re.IGNORECASE)
# A URL in quotes may hold spaces. Bounds keep the time linear in the length of the text.
QUOTED_QUERY = re.compile(
    rf"(?P<place>(?P<quote>['\"]){SCHEME}(?:{NOT_CLOSING_QUOTE}[^?]){{0,1000}}+)\?"
    rf"(?:{NOT_CLOSING_QUOTE}.){{1,4000}}+(?=(?P=quote))",
    re.IGNORECASE,
)
QUERY_TEXT = rf"(?:[^\s'\"]|{INNER_QUOTE})++"
QUERY = re.compile(rf"(?P<place>{SCHEME}(?:[^\s'\"?]|{INNER_QUOTE})*+)\?{QUERY_TEXT}", re.IGNORECASE)
# The query of a URL whose path has a space: ``https://host/my photos/a.png?token=1``.
QUERY_AFTER_SPACE = re.compile(rf"\?[\w.~%-]++={QUERY_TEXT}")
USER_INFO_OF_URL = re.compile(rf"{SCHEME}[^/?#]*@", re.IGNORECASE)
QUERY_OF_URL = re.compile(rf"(?P<place>{SCHEME}[^?]*)\?(?!{re.escape(MASK)}).+", re.IGNORECASE | re.DOTALL)


def mask_secrets(text: str) -> str:
    """Return a text with all secrets in its URLs masked.

    A URL ends at a space, or at a quote after which the text goes on; one in quotes ends at the closing quote.

    Examples
    --------
    >>> mask_secrets("cannot read 'https://me:secret@host/a.png?token=1', try again")
    "cannot read 'https://***@host/a.png?***', try again"
    >>> mask_secrets("https://host/it's.png?token=1 cannot be read")
    "https://host/it's.png?*** cannot be read"
    >>> mask_secrets("s3://bucket/photos/a@b.png")
    's3://bucket/photos/a@b.png'
    """
    if "://" not in text:
        return text
    text = USER_INFO.sub(_mask_user, text)
    for query in (QUOTED_QUERY, QUERY):
        text = query.sub(rf"\g<place>?{MASK}", text)
    start = text.index("://")
    return text[:start] + QUERY_AFTER_SPACE.sub(f"?{MASK}", text[start:])


def mask_cell(text: str) -> str:
    """Return a cell or an id with the secrets in its URLs masked.

    If it starts with a URL, the whole text is that URL, spaces included.

    Examples
    --------
    >>> mask_cell("https://host/a.png?token=two words")
    'https://host/a.png?***'
    """
    if "://" not in text:
        return text
    if user := USER_INFO_OF_URL.match(text):
        text = _mask_user(user) + text[user.end() :]
    if query := QUERY_OF_URL.match(text):
        return f"{query['place']}?{MASK}"
    return mask_secrets(text)


def _mask_user(user: re.Match[str]) -> str:
    return f"{user.string[user.start() : user.end('scheme')]}{MASK}@"


def mask_secrets_in_value(value: Any) -> Any:
    """Return a JSON value with the secrets in all of its texts masked by `mask_cell`."""
    if isinstance(value, str):
        return mask_cell(value)
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
    if user := USER_INFO_OF_URL.match(source):
        secrets.append((source[user.start("scheme") : user.end()], f"{user['scheme']}{MASK}@"))
    if query := QUERY_OF_URL.match(source):
        secrets.append((source[query.end("place") :], f"?{MASK}"))
    return secrets
