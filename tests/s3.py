"""Local S3 server for tests: access rules, checks of keys, and commands in other processes."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from featx.cli.main import main

# Time limit of a command with a wrong endpoint, on a busy machine.
SECONDS = 60
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def served() -> Iterator[Any]:
    """Run an S3 server on the loopback address, set its environment variables, and yield its s3fs file system."""
    s3fs = pytest.importorskip("s3fs", reason="buckets need the extra 's3'")
    moto_server = pytest.importorskip("moto.server", reason="moto speaks S3 in these tests")
    server = moto_server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}).items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield s3fs.S3FileSystem(use_listings_cache=False)
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@contextmanager
def keys_checked() -> Iterator[None]:
    """Make the server check access keys while the block runs; it accepts none."""

    def accept_requests(n_requests: str) -> None:
        url = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        request = urllib.request.Request(url, n_requests.encode(), {"Content-Type": "text/plain"})
        urllib.request.urlopen(request).close()

    accept_requests("0")
    try:
        yield
    finally:
        accept_requests("inf")


def refuse(s3: Any, bucket: str, action: str, key_pattern: str = "/*") -> None:
    """Deny an action on the objects of a bucket to everybody."""
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": f"arn:aws:s3:::{bucket}{key_pattern}",
    }
    s3.call_s3("put_bucket_policy", Bucket=bucket, Policy=json.dumps({"Statement": [statement]}))


def allow(s3: Any, bucket: str) -> None:
    """Remove all access rules of a bucket."""
    s3.call_s3("delete_bucket_policy", Bucket=bucket)


def run(*words: str) -> int:
    """Run the command line in this process and return its exit code."""
    sys.argv = ["featx", *words]
    with pytest.raises(SystemExit, match=r"^\d*(None)?$") as exit_info:
        main()
    return int(exit_info.value.code or 0)


def elsewhere(*words: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` and then the command line in another process."""
    script = f"import sys\n{code}\nfrom featx.cli.main import main\nsys.argv = {['featx', *words]!r}\nmain()"
    return subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=4 * SECONDS,
        check=False,
    )
