"""Names of the folders that hold an image, from its id and its URI."""

import os
import re
from pathlib import PurePosixPath
from urllib.parse import unquote, unquote_to_bytes

from featx.images.contents import unicode_name
from featx.images.sources import URI_SCHEME
from featx.locations import is_url
from featx.specs.base import to_normal_form


def list_parent_folders(image_id: str, uri: str) -> list[str]:
    r"""Return the name of the folder at the image's URI, then the folders in its id, the innermost one last.

    An id is relative to a place, which may itself be the folder of one class. Folders are separated by ``/``, and in
    ids by the ``!`` after the name of an archive or the ``#`` after that of an array file. In all other places these
    characters, and ``\``, belong to names. Names are in Unicode normal form C, as class names are.

    Examples
    --------
    >>> list_parent_folders("0.png", "/photos/dog/0.png"), list_parent_folders("dog/cat!1.png", "/photos/dog/cat!1.png")
    (['dog'], ['dog', 'dog'])
    >>> list_parent_folders("a.zip!dog/0.png", "member:/photos/a.zip//dog/0.png")
    ['dog', 'a.zip', 'dog']
    """
    container, path = _split_uri(uri)
    folders = [folder.name] if (folder := PurePosixPath(path).parent).name else []
    if container_name := PurePosixPath(container).name:
        image_id = re.sub(f"(?:^|(?<=/)){re.escape(container_name)}[!#]", f"{container_name}/", image_id, count=1)
    names = [*folders, *filter(None, image_id.split("/")[:-1])]
    return [to_normal_form(name) for name in names]


def _split_uri(uri: str) -> tuple[str, str]:
    """Return the path of the archive or array file of a URI, empty for others, and the path of the image."""
    if is_url(uri):
        return "", unquote(uri) if uri.startswith("http") else uri
    scheme = URI_SCHEME.match(uri)
    if scheme is None:
        return "", uri
    location = uri[scheme.end() :]
    if scheme[1] == "file":
        return "", unicode_name(os.fsdecode(unquote_to_bytes(location)))
    container, _, inner_path = location.partition("//")
    container_path = _split_uri(container)[1]
    return container_path, f"{container_path}/{inner_path}"
