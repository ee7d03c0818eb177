"""A check of a plugin in a process of its own: asked in lines of JSON, and killed where it does not answer in time.

A thread cannot be ended, and a signal only interrupts what runs in the main thread and lets itself be interrupted. The
process has no copy of what the product holds in memory, and of its variables only those that Python needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from reconciler.domain.plugin_checks import PluginFault
from reconciler.domain.times import duration_text

_COMMAND: Final = (sys.executable, "-P", "-m", "reconciler.plugins.serving")
# What Python and the libraries below it need to be found, and nothing that may be a secret.
_VARIABLES: Final = frozenset(
    {"PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LC_ALL",
     "TZ"}
)  # fmt: skip
# Importing a package takes longer than judging; where it did once, a cycle waits no longer than it has to.
_TO_START: Final = 30.0
_TO_START_AGAIN: Final = 10.0
_LONGEST_ANSWER: Final = 256 * 1024
_TO_END: Final = 2.0
# So often may it fail within a minute: a cycle must not wait again and again.
_FAILURES: Final = 3
_WITHIN: Final = 60.0
_REMEMBERED: Final = 1000

Answer = Mapping[str, Any]


class PluginProcess:
    """The process of one check. It is started when it is asked, and again after it was killed.

    Args:
        seconds: how long an answer may take.
    """

    def __init__(self, check: str, seconds: float) -> None:
        self._check = check
        self._seconds = seconds
        self._running: subprocess.Popen[bytes] | None = None
        self._ended: weakref.finalize[[subprocess.Popen[bytes]], PluginProcess] | None = None
        self._rest = b""
        self._failed_at: deque[float] = deque(maxlen=_FAILURES)
        self._to_start = _TO_START
        self._asked = 0
        self._failed_on: set[str] = set()

    def start(self) -> tuple[Answer, Answer | None]:
        """Whose code it has, told before any of it runs, and what the check says of itself; or only why it cannot run.

        Raises:
            PluginFault: it does not answer.
        """
        self.end()
        environment = {name: value for name, value in os.environ.items() if name in _VARIABLES}
        self._running = subprocess.Popen(  # noqa: S603  our own module
            [*_COMMAND, self._check], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, bufsize=0, process_group=0,
        )  # fmt: skip
        for stream in (self._running.stdin, self._running.stdout):
            assert stream is not None  # both are pipes
            os.set_blocking(stream.fileno(), False)
        self._ended = weakref.finalize(self, _end, self._running)
        code = self._exchange(b"", self._to_start)
        about = None if "refused" in code else self._exchange(b"", self._to_start)
        self._to_start = _TO_START_AGAIN
        return code, about

    @property
    def is_running(self) -> bool:
        return self._running is not None

    def rests(self, about: str) -> bool:
        """Whether it failed so often that it is left alone for a while.

        The last failure of a minute is kept for what it has not failed at, so that few requests keep no others waiting.
        """
        recent = sum(time.monotonic() - at < _WITHIN for at in self._failed_at)
        return recent >= _FAILURES - (about in self._failed_on)

    def ask(self, question: Mapping[str, Any], about: str) -> Answer:
        """`about`: the same for questions about the same. Raises PluginFault."""
        self._asked += 1
        numbered = {**question, "number": self._asked}
        try:
            answer = self._exchange(json.dumps(numbered, default=str).encode() + b"\n", self._seconds)
            if answer.get("number") != self._asked:
                # Such as of a process that the check forked: it is about other evidence.
                raise self._failure("answered another question")
        except PluginFault:
            self._failed_on = {*list(self._failed_on)[: _REMEMBERED - 1], about}
            raise
        self._failed_on.discard(about)
        return answer

    def end(self) -> None:
        if self._ended is not None:
            self._ended()
        self._running, self._ended, self._rest = None, None, b""

    # --- a question and its answer ---------------------------------------------------------------------------

    def _exchange(self, question: bytes, seconds: float) -> Answer:
        try:
            line = self._line_after(question, time.monotonic() + seconds)
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise PluginFault("returned an invalid finding")
        except TimeoutError:
            raise self._failure(f"took longer than {duration_text(timedelta(seconds=seconds))}") from None
        except (OSError, ValueError, RecursionError):
            raise self._failure("ended before it answered") from None
        except PluginFault as fault:
            raise self._failure(str(fault)) from None
        return answer

    def _failure(self, said: str) -> PluginFault:
        self.end()
        self._failed_at.append(time.monotonic())
        return PluginFault(said)

    def _line_after(self, question: bytes, until: float) -> bytes:
        """Raises TimeoutError, OSError where the process is gone, PluginFault where it says too much."""
        running = self._running
        assert running is not None
        assert running.stdin is not None
        assert running.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(running.stdout, selectors.EVENT_READ)
            if question:
                selector.register(running.stdin, selectors.EVENT_WRITE)
            while b"\n" not in self._rest:
                ready = {key.fileobj for key, _ in selector.select(max(0.0, until - time.monotonic()))}
                if not ready:
                    raise TimeoutError
                if running.stdin in ready:
                    question = question[os.write(running.stdin.fileno(), question[:65_536]) :]
                    if not question:
                        selector.unregister(running.stdin)
                if running.stdout in ready:
                    self._read(running.stdout.fileno())
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _read(self, descriptor: int) -> None:
        read = os.read(descriptor, 65_536)
        if not read:
            raise ConnectionError
        self._rest += read
        if len(self._rest) > _LONGEST_ANSWER:
            raise PluginFault(f"answered more than {_LONGEST_ANSWER // 1024} KiB")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its questions end, and so does it; what does not is killed, and what it started, too."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    try:
        process.wait(0.0 if process.poll() is not None else _TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
