"""What tests do with a local S3 beside using it: forbid, look from outside, speak to it as somebody unknown."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from featx.cli.main import main

ROOT = Path(__file__).parents[1]
SECONDS = 60  # by when a command with a wrong endpoint has ended, on a busy machine
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def served() -> Iterator[Any]:
    """An S3 on loopback, found as any other would be: by the environment."""
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
    """Make the store ask for a key that it knows; it knows none."""

    def allow(n_requests: str) -> None:
        url = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        asked = urllib.request.Request(url, n_requests.encode(), {"Content-Type": "text/plain"})
        urllib.request.urlopen(asked).close()

    allow("0")
    try:
        yield
    finally:
        allow("inf")


def refuse(s3: Any, bucket: str, action: str, inside: str = "/*") -> None:
    """Forbid something in a bucket to everybody."""
    statement = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{bucket}{inside}"}
    s3.call_s3("put_bucket_policy", Bucket=bucket, Policy=json.dumps({"Statement": [statement]}))


def allow(s3: Any, bucket: str) -> None:
    """Forbid nothing any more."""
    s3.call_s3("delete_bucket_policy", Bucket=bucket)


def run(*words: str) -> int:
    """Run the command line in this process and return its exit code."""
    sys.argv = ["featx", *words]
    with pytest.raises(SystemExit, match=r"^\d*(None)?$") as stopped:
        main()
    return int(stopped.value.code or 0)


def process(code: str) -> subprocess.Popen[str]:
    """Start a process that can import the tests."""
    return subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    )


def elsewhere(*words: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, after `code`."""
    script = f"import sys\n{code}\nfrom featx.cli.main import main\nsys.argv = {['featx', *words]!r}\nmain()"
    return subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=4 * SECONDS,
        check=False,
    )
