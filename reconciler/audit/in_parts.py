"""Work over much of history: in parts, by as many processes as the machine has cores.

Each process has a connection of its own and reads a part in one state of the database. A part's result is all that
leaves it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from threading import Thread
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from reconciler.audit.database import Access, any_bytes, audit_errors, make_engine, one_state, opened

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)
# Below so many parts a second process takes longer to start than it saves.
FEW = 12
# So many parts are under way for each process.
_AHEAD = 3
_NEW_OBJECTS = 50_000


class Work(Protocol[P_contra, T_co]):
    """What is done with a part. It is sent to each process once, and may keep there what it has read."""

    def __call__(self, connection: Connection, part: P_contra, /) -> T_co: ...


def results_of(url: str, work: Work[P, T_co], parts: Sequence[P]) -> Iterator[T_co]:
    """The result of each part, in their order.

    Raises:
        AuditUnavailable: the database cannot be read.
    """
    processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    done = 0
    if len(parts) >= FEW and processes > 1:
        # Where no process can be started, or one was killed, this one does the rest.
        with contextlib.suppress(BrokenExecutor, OSError, ImportError):
            for result in _by_processes(url, work, parts, processes):
                done += 1
                yield result
    with opened(url, Access.READ) as engine:
        yield from (_one(engine, work, part) for part in parts[done:])


def beside(url: str, work: Work[P, T], part: P) -> Future[T]:
    """One piece of work that the database does nearly alone, while this process goes on: the driver waits without
    Python's lock, so that a thread is enough. It ends with the process, whatever it is at.

    The result raises what `results_of` raises.
    """
    promised: Future[T] = Future()

    def do() -> None:
        try:
            with opened(url, Access.READ) as engine:
                promised.set_result(_one(engine, work, part))
        except BaseException as error:  # noqa: BLE001  whoever asks for the result is told
            promised.set_exception(error)

    Thread(target=do, daemon=True).start()
    return promised


def _by_processes(url: str, work: Work[P, T_co], parts: Sequence[P], processes: int) -> Iterator[T_co]:
    # Not forked: this process may have threads, such as that of a progress bar.
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (url, work)) as pool:
        try:
            yield from _in_order(pool, parts, processes * _AHEAD)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, parts: Sequence[Any], most: int) -> Iterator[Any]:
    """Only so many are under way: what is done waits for whoever takes it, and must not fill the memory."""
    under_way: deque[Future[Any]] = deque()
    for part in parts:
        under_way.append(pool.submit(_of_part, part))
        if len(under_way) >= most:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def _one(engine: Engine, work: Work[P, T_co], part: P) -> T_co:
    with audit_errors(engine), one_state(engine) as connection, any_bytes(connection):
        return work(connection, part)


# --- in a process of the pool --------------------------------------------------------------------------------


class _Process:
    """What this process works on."""

    engine: Engine
    work: Work[Any, Any]


def _begin(url: str, work: Work[Any, Any]) -> None:
    # Ctrl-C reaches the whole group; the process that was started by hand says what there is to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Hardly anything that is made here refers to each other in a circle.
    gc.set_threshold(_NEW_OBJECTS)
    _Process.engine, _Process.work = make_engine(url, Access.READ), work


def _of_part(part: Any) -> Any:
    return _one(_Process.engine, _Process.work, part)
