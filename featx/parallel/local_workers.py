"""Dask workers on this machine for the time of one call, which accept only clients with the key of this call.

Everybody who reaches a Dask scheduler can run code as its user, and on a shared machine other users reach the loopback
interface. So scheduler, workers and client use TLS with a certificate that is made for the call.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distributed import Scheduler, Security, SpecCluster
from distributed.deploy.subprocess import SubprocessWorker

from featx.errors import MissingExtraError

HOST = "127.0.0.1"
# The beginning of Dask's environment variables for certificates.
TLS_PREFIX = "DASK_DISTRIBUTED__COMM__TLS__"


class PrivateWorker(SubprocessWorker):
    """A worker process that reads its key from a file, because other users can read its command line.

    Parameters
    ----------
    environment
        Environment variables with the paths of certificate and key.
    """

    def __init__(self, scheduler: str, name: Any = None, *, environment: dict[str, str], **options: Any) -> None:
        super().__init__(scheduler, name=name, worker_kwargs=options)
        self._environment = environment

    async def _start(self) -> None:
        spec = json.dumps({"cls": self.worker_class, "opts": self.worker_kwargs})
        command = [sys.executable, "-m", "dask", "spec", self.scheduler, "--spec", spec]
        self.process = await asyncio.create_subprocess_exec(*command, env=os.environ | self._environment)


@contextmanager
def start_local_workers(n_workers: int) -> Iterator[tuple[str, Any]]:
    """Start worker processes that end with the block; yield the scheduler's address and the client's security settings.

    Workers do not run the caller's main module, so it needs no ``if __name__ == "__main__"``.

    Raises
    ------
    MissingExtraError
        the package that creates the key is not installed.
    """
    try:
        security: Any = Security.temporary()  # type: ignore[no-untyped-call]
    except ImportError as error:
        raise MissingExtraError("'--workers-local' needs cryptography; pip install \"featx[dask]\"") from error
    quiet = {"dashboard": False, "silence_logs": logging.CRITICAL}
    # Only its owner can read such a folder.
    with TemporaryDirectory(prefix="featx-key-") as folder:
        options = {"nthreads": 1, "memory_limit": 0, "host": HOST, **quiet}
        worker = {"cls": PrivateWorker, "options": options | {"environment": _write_key(security, Path(folder))}}
        scheduler = {
            "cls": Scheduler,
            "options": {
                "host": HOST,
                "port": 0,
                "protocol": "tls",
                "security": security,
                "dashboard": False,
                "dashboard_address": f"{HOST}:0",
            },
        }
        workers = dict.fromkeys(range(n_workers), worker)
        cluster: Any = SpecCluster(  # type: ignore[no-untyped-call]
            workers=workers, scheduler=scheduler, security=security, silence_logs=logging.CRITICAL
        )
        with cluster:
            yield str(cluster.scheduler_address), security


def _write_key(security: Any, folder: Path) -> dict[str, str]:
    """Write certificate and key into a folder, and return the environment variables with their paths."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_text(security.tls_worker_cert)
    key.write_text(security.tls_worker_key)
    roles = {f"{TLS_PREFIX}{role}__CERT": str(certificate) for role in ("WORKER", "CLIENT", "SCHEDULER")}
    roles |= {f"{TLS_PREFIX}{role}__KEY": str(key) for role in ("WORKER", "CLIENT", "SCHEDULER")}
    required = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True", f"{TLS_PREFIX}CA_FILE": str(certificate)}
    return roles | required
