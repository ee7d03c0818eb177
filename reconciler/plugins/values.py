"""Values of the registry as a check of your own sees them, and why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


class Absent(Exception):
    """The registry says definitely that there is none. Not caught, it is the finding, as of every built-in check."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class CannotTell(Exception):
    """It could not be read, was redacted, or is kept out of the evidence. Caught or not, the check abstains."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class NotAsked(Exception):
    """A mistake of the check: it looks at what its `needs` do not name."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text of the registry. `text`: its first 4,096 characters; `length` and `sha256` are of the whole."""

    text: str
    length: int
    sha256: str

    @property
    def whole(self) -> bool:
        return len(self.text) == self.length

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["text"], data["length"], data["sha256"])


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a metric: `text` as the registry wrote it, `value` its number, None where it is none.

    `value` may be NaN or infinite: write comparisons so that NaN fails them. `timestamp`: milliseconds since 1970.
    """

    text: str
    value: float | None
    step: int
    timestamp: int
    dataset_name: str = ""
    dataset_digest: str = ""

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Self:
        try:
            value: float | None = float(data["text"])
        except ValueError:
            value = None
        names = ("step", "timestamp", "dataset_name", "dataset_digest")
        return cls(data["text"], value, *(data[name] for name in names))


@dataclass(frozen=True, slots=True)
class Column:
    """A column or tensor of a schema. `name`: "" where the schema gives none. `optional`: a caller may leave it out.

    `type` is MLflow's, with what it holds behind it: `double`, `array(string)`, `tensor(float64)[-1,28,28]`.
    """

    name: str
    type: str
    optional: bool = False

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Self:
        return cls(data["name"], data["type"], data["optional"])
