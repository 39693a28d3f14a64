"""Run published protocols, and write the page of their figures.

usage: python -m tests.results [--page] [PROTOCOL ...]

Without names, all protocols. ``--page`` runs nothing: it writes the page from what has finished here. Sections of
protocols without runs on this machine stay as they are. An interrupted call continues where it stopped.
"""

import argparse
import subprocess
import sys

from featx.files.atomic import write_text
from tests.results.measured_figures import read_protocol
from tests.results.protocols import PROTOCOLS, ROOT, Protocol
from tests.results.results_page import results_page

PAGE = ROOT / "docs" / "results.md"


def main(arguments: list[str]) -> None:
    """Run the protocols of the given names, and write the page after each."""
    parser = argparse.ArgumentParser(prog="python -m tests.results")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page from what has finished")
    parser.add_argument("protocols", nargs="*", metavar="PROTOCOL")
    options = parser.parse_args(arguments)
    names = list(dict.fromkeys(protocol.name for protocol in PROTOCOLS))
    if unknown_names := [name for name in options.protocols if name not in names]:
        sys.exit(f"no protocol is called {unknown_names[0]!r}; expected names of {', '.join(names)}")
    selected_protocols = [protocol for protocol in PROTOCOLS if protocol.name in (options.protocols or names)]
    if not options.page:
        print(f"{expected_text(selected_protocols)} on 2 idle cores; finished splits are skipped")
        for protocol in selected_protocols:
            run_protocol(protocol)
            write_page()
    write_page()
    print(PAGE.relative_to(ROOT))


def expected_text(protocols: list[Protocol]) -> str:
    """Return the expected hours of protocols, and of all of them together."""
    items = [f"{protocol.recipe} {protocol.hours:g} h" for protocol in protocols]
    return f"expected: {', '.join(items)}; {sum(protocol.hours for protocol in protocols):g} h in all"


def run_protocol(protocol: Protocol) -> None:
    """Run the recipe of a protocol as its command does, from the root of the repository.

    Raises
    ------
    SystemExit
        The command failed.
    """
    print(f"── {protocol.command}", flush=True)
    start = "from featx.cli.main import main; main()"
    process = subprocess.run([sys.executable, "-c", start, *protocol.command.split()[1:]], cwd=ROOT, check=False)
    if process.returncode:
        sys.exit(process.returncode)


def write_page() -> None:
    """Write the sections of all protocols whose runs are on this machine anew; the others stay as they are."""
    protocol_figures = {protocol: read_protocol(protocol) for protocol in PROTOCOLS}
    write_text(PAGE, results_page(protocol_figures, PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""))


if __name__ == "__main__":
    main(sys.argv[1:])
