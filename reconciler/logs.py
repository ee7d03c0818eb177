"""One line for each event: as text, as JSON, or as journal fields."""

from __future__ import annotations

import json
import logging
import socket
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from reconciler.domain.text import visible
from reconciler.domain.times import iso

LOGGER = logging.getLogger("reconciler")
_FIELDS = ("event", "decision_id", "model", "version", "target", "verdict")
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
_JOURNAL = "/run/systemd/journal/socket"

# The cycle that a line belongs to; "" outside of one. Threads that a cycle starts log nothing.
CYCLE: ContextVar[str] = ContextVar("cycle", default="")


class TextLines(logging.Formatter):
    """`2026-11-24T09:28:30.123Z INFO message [cycle 1f2e3d4c]`: always one line, whatever the message holds."""

    def format(self, record: logging.LogRecord) -> str:
        cycle = f" [cycle {CYCLE.get()}]" if CYCLE.get() else ""
        return f"{_moment(record)} {record.levelname} {visible(record.getMessage(), 8000)}{cycle}"


class JsonLines(logging.Formatter):
    """One JSON object per line, ASCII only, so that no name can forge a line or control the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        data: dict[str, Any] = {"time": _moment(record), "level": record.levelname.lower()}
        data["message"] = visible(record.getMessage(), 8000)
        return json.dumps(data | _fields(record), ensure_ascii=True)


class Journal(logging.Handler):
    """Sends each line with its fields to systemd's journal: `journalctl CYCLE_ID=…`, `DECISION_ID=…`, `MODEL=…`."""

    def __init__(self, address: str = _JOURNAL) -> None:
        super().__init__()
        self._address = address

    def emit(self, record: logging.LogRecord) -> None:
        fields = {
            "MESSAGE": visible(record.getMessage(), 8000),
            "PRIORITY": str(_PRIORITIES.get(record.levelname, 6)),
            "SYSLOG_IDENTIFIER": "mlflow-reconciler",
            **{name.upper(): value for name, value in _fields(record).items()},
        }
        # Text from visible() has no line breaks, so the simple form of the protocol is enough.
        text = "".join(f"{name}={value}\n" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(text.encode(), self._address)
        except OSError:
            # No journal here: a line on stderr is better than none.
            print(TextLines().format(record), file=sys.stderr)


def _fields(record: logging.LogRecord) -> dict[str, str]:
    fields = {name: visible(str(getattr(record, name)), 300) for name in _FIELDS if getattr(record, name, None)}
    return fields | ({"cycle_id": CYCLE.get()} if CYCLE.get() else {})


def _moment(record: logging.LogRecord) -> str:
    return iso(datetime.fromtimestamp(record.created, UTC))


def configure(format: str, level: str, journal: str = _JOURNAL) -> None:
    """Sends our log and the libraries' warnings to stderr or to the journal."""
    handler: logging.Handler = Journal(journal) if format == "journal" else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level.upper())
    # The cycle's own line shows that it outlasted the interval; the scheduler would repeat that at every tick.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
