"""A real PostgreSQL server for the tests: temporary folder, unix socket only, fsync on.

It is stopped and deleted when the tests end, even when they are killed: it lives as long as the
pipe to its keeper is open.
"""

from __future__ import annotations

import asyncio
import glob
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import asyncpg

PORT = 54329  # names the socket only; nothing listens on the network

_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)

_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "deadlock_timeout": "100ms",  # a test waits for it
}

_INITDB = (
    *("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"),
    *("--data-checksums", "--no-sync", "--no-instructions"),
)

# Keeps the server until its standard input ends, which it does when the tests end in any way.
_KEEPER = """
"$1" -D "$2" -k "$3" >"$3/log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -INT "$server"
wait "$server"
rm -rf "$3"
"""


T = TypeVar("T")

_SHAPE = """
    SELECT md5(string_agg(part, ',' ORDER BY part)) FROM (
        SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable) AS part
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
    ) AS parts
"""
# Whoever is still connected goes first, since it might hold a row.
_EMPTY = """
    DO $$ DECLARE name text; BEGIN
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid();
        SET LOCAL session_replication_role = replica;
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('DELETE FROM %I', name);
        END LOOP;
    END $$
"""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server; its superuser needs no password, on the socket only."""

    folder: Path
    user: str
    shapes: dict[str, str] = field(default_factory=dict)  # of templates, as they are built

    def url(self, database: str) -> str:
        """The URL that `open_store` and `--database` take."""
        return (
            f"postgresql:///{database}?host={quote(str(self.folder))}&user={self.user}&port={PORT}"
        )

    def create_database(self, *, template: str = "template0") -> str:
        """Make a database with a fresh name, a copy of `template`, and return its name."""
        name = f"t_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is still connected."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def emptied(self, name: str, *, like: str) -> bool:
        """Delete all rows of a database; False where it is not built as `like` is any more."""
        return in_own_loop(self._emptied(name, like))

    async def _emptied(self, name: str, like: str) -> bool:
        if like not in self.shapes:
            self.shapes[like] = await self._asked(_SHAPE, like)
        if await self._asked(_SHAPE, name) != self.shapes[like]:
            return False
        await self._execute(_EMPTY, name)
        return True

    async def _asked(self, query: str, database: str) -> Any:
        conn = await self._connect(database)
        try:
            return await conn.fetchval(query)
        finally:
            await conn.close()

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run one statement as superuser, from any thread, event loop or none."""
        in_own_loop(self._execute(statement, database))

    async def _connect(self, database: str) -> Any:
        return await asyncpg.connect(
            host=str(self.folder), port=PORT, user=self.user, database=database
        )

    async def _execute(self, statement: str, database: str) -> None:
        conn = await self._connect(database)
        try:
            await conn.execute(statement)
        finally:
            await conn.close()


def find_binaries() -> Path | None:
    """The folder with initdb and postgres, of the newest version found."""
    found = [Path(folder) for pattern in _PLACES for folder in glob.glob(pattern)]  # noqa: PTH207
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    usable = [f for f in found if (f / "initdb").exists() and (f / "postgres").exists()]
    return max(usable, key=_version, default=None)


@contextmanager
def running_server(binaries: Path) -> Iterator[PostgresServer]:
    """A new server, ready for connections, deleted afterwards."""
    # Short, because a socket's path may have about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="fhb-pg-", dir="/tmp"))
    owner = _owner()
    if owner:
        shutil.chown(folder, owner.pw_name, owner.pw_gid)
    as_owner: dict[str, Any] = (
        {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    )
    data = folder / "data"
    subprocess.run(
        [binaries / "initdb", "-D", data, *_INITDB],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **as_owner,
    )
    with (data / "postgresql.conf").open("a") as conf:
        conf.writelines(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, "keeper", binaries / "postgres", data, folder],
        stdin=subprocess.PIPE,
        cwd=folder,
        start_new_session=True,  # Ctrl-C is for the tests, not for the server
        **as_owner,
    )
    server = PostgresServer(folder, "postgres")
    try:
        _wait_until_ready(server, keeper)
        yield server
    finally:
        assert keeper.stdin
        keeper.stdin.close()
        keeper.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def in_own_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread of its own, since the caller may be inside an event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def _version(folder: Path) -> tuple[int, ...]:
    said = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=False
    ).stdout
    words = [word for word in said.split() if word[:1].isdigit()]
    return tuple(int(part) for part in words[0].split(".") if part.isdigit()) if words else ()


def _owner() -> pwd.struct_passwd | None:
    """An unprivileged user when we are root, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _wait_until_ready(server: PostgresServer, keeper: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + 30
    while True:
        try:
            server.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError):
            if keeper.poll() is not None or time.monotonic() > give_up_at:
                log = server.folder / "log"
                raise RuntimeError(log.read_text() if log.exists() else "no server") from None
            time.sleep(0.05)
        else:
            return
