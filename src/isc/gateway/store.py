"""The record: every turn on disk before its last byte is sent. SQLite, one file, one writer.

What is written in the same moment is committed together, so that many agents at a time wait for few writes of the disk.
A turn that was recorded and perhaps not sent, because the process was killed in between, is kept, and said to be such.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from isc.errors import Error
from isc.gateway.tree import Turn

Delivery: TypeAlias = Literal["sent", "unknown", "dropped"]

_FORMAT = 1
_STATES: dict[int, Delivery] = {0: "unknown", 1: "sent", -1: "dropped"}
_NUMBERS = {state: number for number, state in _STATES.items()}
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (
    name TEXT PRIMARY KEY, created REAL NOT NULL, finished INTEGER NOT NULL DEFAULT 0, reward REAL,
    answered REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS turns (
    session TEXT NOT NULL, number INTEGER NOT NULL, delivery INTEGER NOT NULL DEFAULT 0, reward REAL,
    turn BLOB NOT NULL, PRIMARY KEY (session, number)
) WITHOUT ROWID;
"""
_Result = TypeVar("_Result")
_turn = msgspec.msgpack.Decoder(Turn)


class RecordError(Error, OSError):
    """A record that cannot be opened or written; says which file and what to do."""


class RecordedTurn(Struct, frozen=True):
    """A turn as it is on disk.

    Attributes:
        turn: The turn.
        delivery: Whether its last byte was sent; `unknown` where the process ended before that was noted.
        reward: The reward that was given for it; None for none.
    """

    turn: Turn
    delivery: Delivery
    reward: float | None = None


class RecordedSession(Struct, frozen=True):
    """A session as it is on disk.

    Attributes:
        name: Its name.
        created: When its first turn was answered, in seconds since 1970.
        finished: Whether it takes no more turns.
        reward: The reward of all of it; None for none.
        turns: Its turns in their order.
    """

    name: str
    created: float
    finished: bool = False
    reward: float | None = None
    turns: tuple[RecordedTurn, ...] = ()


class Store:
    """A file of sessions. Every method is safe in any thread; what is written is on disk when the call returns.

    Args:
        path: The file; it is made where there is none.
        about: What the ids in it depend on, such as format and vocabulary: a file of others is refused.

    Raises:
        RecordError: It cannot be opened, or holds ids of another model.
    """

    def __init__(self, path: Path, about: str = "") -> None:
        self.path = path
        self._jobs: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], object], Future[object]] | None]
        self._jobs = queue.SimpleQueue()
        ready: Future[None] = Future()
        self._writer = threading.Thread(target=self._write, args=(about, ready), name="isc-record", daemon=True)
        self._writer.start()
        ready.result()

    def close(self) -> None:
        """Close the file, after all that was given to it is written."""
        if self._writer.is_alive():
            self._jobs.put(None)
            self._writer.join()

    def add(self, session: str, turns: Sequence[Turn]) -> Awaitable[None]:
        """Write turns of a session down. They are on disk once the result has come.

        They are written also where nobody waits for the result any more.

        Raises:
            RecordError: They cannot be written.
        """
        rows = [(session, turn.number, msgspec.msgpack.encode(turn)) for turn in turns]
        now = time.time()

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR IGNORE INTO sessions (name, created) VALUES (?, ?)", (session, now))
            connection.execute("UPDATE sessions SET answered = ? WHERE name = ?", (now, session))
            connection.executemany("INSERT INTO turns (session, number, turn) VALUES (?, ?, ?)", rows)

        return asyncio.shield(asyncio.wrap_future(self._do(write)))

    def note(self, session: str, numbers: Sequence[int], delivery: Delivery) -> None:
        """Note whether turns were sent, without waiting for the disk."""
        rows = [(_NUMBERS[delivery], session, number) for number in numbers]
        statement = "UPDATE turns SET delivery = ? WHERE session = ? AND number = ?"
        self._do(lambda connection: connection.executemany(statement, rows))

    async def reward(self, session: str, reward: float, number: int | None = None) -> bool:
        """Write down the reward of a session, or of one of its turns. Return whether there is one of this name."""

        def write(connection: sqlite3.Connection) -> bool:
            if number is None:
                return (
                    connection.execute("UPDATE sessions SET reward = ? WHERE name = ?", (reward, session)).rowcount > 0
                )
            statement = "UPDATE turns SET reward = ? WHERE session = ? AND number = ?"
            return connection.execute(statement, (reward, session, number)).rowcount > 0

        return await asyncio.wrap_future(self._do(write))

    async def finish(self, session: str) -> bool:
        """Note that a session takes no more turns. Return whether there is one of this name."""
        statement = "UPDATE sessions SET finished = 1 WHERE name = ?"
        return await asyncio.wrap_future(self._do(lambda opened: opened.execute(statement, (session,)).rowcount > 0))

    async def remove(self, session: str) -> bool:
        """Remove a session with its turns. Return whether there was one of this name."""
        return await asyncio.wrap_future(self._do(lambda connection: _removed(connection, session)))

    async def idle(self, since: float, count: int = 1000) -> tuple[str, ...]:
        """List sessions in which nothing was answered since a moment, so many at most."""
        statement = "SELECT name FROM sessions WHERE answered < ? LIMIT ?"
        return await asyncio.wrap_future(
            self._do(lambda connection: tuple([name for (name,) in connection.execute(statement, (since, count))]))
        )

    async def remove_idle(self, sessions: Sequence[str], since: float) -> int:
        """Remove those of these sessions in which nothing was answered since a moment. Return how many they were."""
        statement = "SELECT 1 FROM sessions WHERE name = ? AND answered < ?"

        def write(connection: sqlite3.Connection) -> int:
            idle = [name for name in sessions if connection.execute(statement, (name, since)).fetchone() is not None]
            return sum(_removed(connection, name) for name in idle)

        return await asyncio.wrap_future(self._do(write))

    async def session(self, name: str) -> RecordedSession | None:
        """Read a session; None where there is none of this name."""
        return await asyncio.wrap_future(self._do(lambda connection: _read(connection, name)))

    async def names(self, after: str = "", count: int = 1000) -> tuple[str, ...]:
        """List the sessions by their names, in order, so many after this one."""
        statement = "SELECT name FROM sessions WHERE name > ? ORDER BY name LIMIT ?"
        return await asyncio.wrap_future(
            self._do(lambda connection: tuple([name for (name,) in connection.execute(statement, (after, count))]))
        )

    async def count(self) -> int:
        """Count the sessions."""
        statement = "SELECT count(*) FROM sessions"
        return await asyncio.wrap_future(self._do(lambda connection: int(connection.execute(statement).fetchone()[0])))

    def _do(self, work: Callable[[sqlite3.Connection], _Result]) -> Future[_Result]:
        done: Future[_Result] = Future()
        self._jobs.put((work, done))  # type: ignore[arg-type]  # a queue of jobs of any result
        return done

    def _write(self, about: str, ready: Future[None]) -> None:
        """Run what is asked for, in the writer's thread: all that waits in one transaction."""
        try:
            connection = _opened(self.path, about)
        except Error as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        is_open = True
        while is_open:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            is_open = None not in jobs
            self._commit(connection, [job for job in jobs if job is not None])
        connection.close()

    def _commit(
        self,
        connection: sqlite3.Connection,
        jobs: Sequence[tuple[Callable[[sqlite3.Connection], object], Future[object]]],
    ) -> None:
        """Run jobs and commit; give their results only then. A job that fails is undone alone."""
        results: list[tuple[Future[object], object]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for work, done in jobs:
                if not done.set_running_or_notify_cancel():  # who asked has gone; from here on they cannot
                    continue
                connection.execute("SAVEPOINT job")
                try:
                    results.append((done, work(connection)))
                except Exception as error:  # of one job: the writer goes on with the others
                    connection.execute("ROLLBACK TO job")
                    done.set_exception(RecordError(f"{self.path}: {type(error).__name__}: {error}"))
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for _, done in jobs:
                if done.running() or done.set_running_or_notify_cancel():
                    done.set_exception(RecordError(f"{self.path}: {error}; is the disk full?"))
            return
        for done, result in results:
            done.set_result(result)


def _opened(path: Path, about: str) -> sqlite3.Connection:
    """Open a file and look whether it is a record of this model."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_TABLES)
        _add_answered(connection)
        known = dict(connection.execute("SELECT name, value FROM about").fetchall())
        connection.execute("INSERT OR IGNORE INTO about VALUES ('format', ?), ('model', ?)", (str(_FORMAT), about))
    except sqlite3.Error as error:
        raise RecordError(f"{path} cannot be opened as a record: {error}") from None
    if known.get("format", str(_FORMAT)) != str(_FORMAT):
        connection.close()
        raise RecordError(f"{path} was written by another version (format {known['format']}): name a new file")
    if about and known.get("model", about) != about:
        connection.close()
        raise RecordError(f"{path} holds ids of another model or format ({known['model']}): name a new file")
    return connection


def _add_answered(connection: sqlite3.Connection) -> None:
    """Add to an older record when sessions were last answered: as far as it tells, now."""
    columns = {column for _, column, *_ in connection.execute("PRAGMA table_info(sessions)")}
    if "answered" not in columns:
        connection.execute("ALTER TABLE sessions ADD COLUMN answered REAL NOT NULL DEFAULT 0")
        connection.execute("UPDATE sessions SET answered = ?", (time.time(),))


def _removed(connection: sqlite3.Connection, session: str) -> bool:
    """Remove a session with its turns. Return whether there was one of this name."""
    connection.execute("DELETE FROM turns WHERE session = ?", (session,))
    return connection.execute("DELETE FROM sessions WHERE name = ?", (session,)).rowcount > 0


def _read(connection: sqlite3.Connection, name: str) -> RecordedSession | None:
    found = connection.execute("SELECT created, finished, reward FROM sessions WHERE name = ?", (name,)).fetchone()
    if found is None:
        return None
    rows = connection.execute("SELECT turn, delivery, reward FROM turns WHERE session = ? ORDER BY number", (name,))
    turns = [RecordedTurn(_turn.decode(turn), _STATES[delivery], reward) for turn, delivery, reward in rows]
    created, finished, reward = found
    return RecordedSession(name, created, bool(finished), reward, tuple(turns))


def model_of(path: Path) -> str:
    """Return what the ids of a record depend on, as it was told when the record was begun.

    Raises:
        RecordError: There is none, or it is no record.
    """
    if not path.is_file():
        raise RecordError(f"{path}: there is no such file")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30.0)) as connection:
            told = connection.execute("SELECT value FROM about WHERE name = 'model'").fetchone()
    except sqlite3.Error as error:
        raise RecordError(f"{path} is no record of a gateway: {error}") from None
    return str(told[0]) if told else ""


def read_all(path: Path) -> list[RecordedSession]:
    """Read every session of a record, also while a gateway writes it.

    Args:
        path: The file.

    Raises:
        RecordError: There is none, or it is no record.
    """
    if not path.is_file():
        raise RecordError(f"{path}: there is no such file")
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30.0)
        try:
            names = [name for (name,) in connection.execute("SELECT name FROM sessions ORDER BY created, name")]
            return [session for name in names if (session := _read(connection, name)) is not None]
        finally:
            connection.close()
    except (sqlite3.Error, msgspec.DecodeError) as error:
        raise RecordError(f"{path} is no record of a gateway: {error}") from None
