"""One process that has imported everything, and forks a real one for each cycle that is to be killed.

Reads a job a line from stdin: {"variables": …, "die_at": [name, n] or null}; writes a line for each: {"died": …,
"code": …, "reached": […]}. The child that reaches `name` for the n-th time kills itself with SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections import Counter
from typing import Any

# The recording, which a cycle imports when it is about to record, is imported before the first fork.
from reconciler.bootstrap import audit_logs  # noqa: F401
from reconciler.bootstrap.cycles import run_once
from reconciler.failpoints import watching
from reconciler.settings.load import load_settings


def cycle(job: dict[str, Any], reached: int) -> int:
    """In the child: one cycle as `once` runs it."""
    os.environ.update(job["variables"])
    counts: Counter[str] = Counter()

    def hook(name: str) -> None:
        counts[name] += 1
        os.write(reached, f"{name}\n".encode())
        if job["die_at"] == [name, counts[name]]:
            os.kill(os.getpid(), signal.SIGKILL)

    with watching(hook):
        summary = run_once(load_settings(), dry_run=False, on_event=lambda event: None)
    return 0 if summary.ok else 1


def run(job: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        with contextlib.suppress(BaseException):
            os.close(reading)
            code = cycle(job, writing)
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        reached = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    died = os.WIFSIGNALED(status)
    return {"died": died, "code": None if died else os.WEXITSTATUS(status), "reached": reached}


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
