"""A command whose output is read by no one any more, as after ``| head``, ends without a message.

Modules: cli.console.
"""

import os
import subprocess

import pytest

from tests.processes import killed_at_end, start_script

CODE = "from featx.cli.main import main; main()"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_closed_pipe_ends_a_command_silently(options: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = start_script(CODE, "heads", *options, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    with killed_at_end(process):
        _, messages = process.communicate(timeout=60)

    assert (messages, process.returncode) == ("", 1)
