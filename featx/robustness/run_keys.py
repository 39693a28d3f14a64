"""Keys of runs: stored outputs of a run belong to its name and its files."""

from featx.errors import StoreError
from featx.specs.base import fingerprint
from featx.study.run_folder import RunFolder


def run_key(run: RunFolder) -> str:
    """Return a fingerprint (16 hex digits) of a run's name and files, those of the members of an ensemble included.

    Raises
    ------
    StoreError
        an ensemble contains itself.
    """
    return fingerprint([run.name, *_body_digests(run, ())])


def _body_digests(run: RunFolder, ancestors: tuple[str, ...]) -> list[str]:
    if run.name in ancestors:
        raise StoreError(f"ensemble {run.name} contains itself; remove its folder, {run.path}")
    members = [RunFolder(run.path.parent / name) for name in run.members]
    return [
        run.body_sha256,
        *(digest for member in members for digest in _body_digests(member, (*ancestors, run.name))),
    ]
