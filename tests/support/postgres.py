"""A throwaway PostgreSQL cluster on a socket in a temporary directory."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

from tests.support.required import unavailable

USER = "keeper"
PASSWORD = "s3cret/with:@#%&?signs"  # noqa: S105 (of a cluster that lives for a test)


class Cluster:
    """Nothing listens on a network; every connection needs the password."""

    def __init__(self, directory: Path, binaries: Path) -> None:
        self._directory = directory
        self._binaries = binaries
        self._databases = 0

    def create(self) -> None:
        """Initialise and start, as an unprivileged user: PostgreSQL refuses to run as root."""
        secret = self._directory / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self._directory, secret):
                shutil.chown(path, _unprivileged())
        login = ("--username", USER, "--pwfile", str(secret), "--auth", "scram-sha-256")
        self._call("initdb", "--pgdata", self._data, *login, "--no-locale", "--encoding", "UTF8")
        self._pg_ctl("start")

    @contextmanager
    def lent_database(self) -> Iterator[str]:
        """The URL of an empty database, which is dropped afterwards."""
        self._databases += 1
        name = f"ledger{self._databases}"
        self.sql(f"CREATE DATABASE {name}")
        yield self.url(name)
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{quote(password, safe='')}@/{database}?host={self._directory}"

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement as superuser and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def crash_and_restart(self) -> None:
        """What a power cut does to the server's processes; then it recovers from its log."""
        self._pg_ctl("restart", "--mode", "immediate")

    def start(self) -> None:
        self._pg_ctl("start")

    def stop(self) -> None:
        self._pg_ctl("stop", "--mode", "immediate")

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        return int((self._directory / "data" / "postmaster.pid").read_text().split()[0])

    @property
    def _data(self) -> str:
        return str(self._directory / "data")

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        options = f"-k {self._directory} -c listen_addresses= -c max_connections=20 -c shared_buffers=4MB"
        log = str(self._directory / "log")
        self._call("pg_ctl", action, "--pgdata", self._data, "--wait", "--log", log, "--options", options, *arguments)

    def _call(self, program: str, *arguments: str) -> None:
        user = _unprivileged() if os.geteuid() == 0 else None
        command = [str(self._binaries / program), *arguments]
        groups: list[str] | None = None if user is None else []
        done = subprocess.run(
            command,
            user=user,
            group=user and pwd.getpwnam(user).pw_gid,
            extra_groups=groups,
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} {arguments[0]}: {done.stderr}")


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A started cluster; the test is skipped where PostgreSQL is missing, or fails where all tests are required."""
    binaries = _binaries()
    if binaries is None:
        unavailable("PostgreSQL's initdb and pg_ctl (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory(prefix="havenfl-pg-") as directory:  # short: a socket's path has 107 bytes
        cluster = Cluster(Path(directory), binaries)
        try:
            cluster.create()
            yield cluster
        finally:
            if (Path(directory) / "data" / "postmaster.pid").exists():
                cluster.stop()


def _binaries() -> Path | None:
    initdb = shutil.which("initdb")
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    candidates = [*([Path(initdb).parent] if initdb else []), *packaged]
    return next((path for path in candidates if (path / "pg_ctl").exists() and (path / "initdb").exists()), None)


def _unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
