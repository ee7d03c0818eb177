"""One line for each thing that happened, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from reconciler.domain.text import visible
from reconciler.domain.times import iso

LOGGER = logging.getLogger("reconciler")
_FIELDS = ("event", "decision_id", "model", "version", "target", "verdict")


class TextLines(logging.Formatter):
    """`2026-11-24T09:28:30.123Z INFO message`: always one line, whatever stands in the message."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_moment(record)} {record.levelname} {visible(record.getMessage(), 8000)}"


class JsonLines(logging.Formatter):
    """One JSON object a line, ASCII only, so that no name can forge a line or reach the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        data: dict[str, Any] = {"time": _moment(record), "level": record.levelname.lower()}
        data["message"] = visible(record.getMessage(), 8000)
        data |= {name: getattr(record, name) for name in _FIELDS if getattr(record, name, None) is not None}
        return json.dumps(data, ensure_ascii=True)


def _moment(record: logging.LogRecord) -> str:
    return iso(datetime.fromtimestamp(record.created, UTC))


def configure(format: str, level: str) -> None:
    """Sends our log, and warnings of the libraries, to stderr."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines() if format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level.upper())
    # That a cycle is longer than the interval is told by the cycle's own line; the scheduler would say it each tick.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
