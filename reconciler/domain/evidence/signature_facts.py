"""The input and output schema of a model, as its file `MLmodel` says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from reconciler.domain.evidence.facts import Fact


@dataclass(frozen=True, slots=True)
class Column:
    """A column or tensor of a schema. `name`: "" where the schema gives none. `optional`: a caller may leave it out.

    `type` is MLflow's, with what it holds behind it: `double`, `array(string)`, `object(id:long,note?:string)`,
    `tensor(float64)[-1,28,28]`.
    """

    name: str
    type: str
    optional: bool = False

    def __str__(self) -> str:
        named = f"{self.name}: {self.type}" if self.name else self.type
        return f"{named} (optional)" if self.optional else named


Columns = tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class SignatureFacts(Fact):
    """The signature of a version's model. `inputs` and `outputs` are None where the file has none of them.

    `place` says where the file was read; `size` (bytes) and `sha256` (hex) are of the whole file. `unclear`: why it
    does not tell the signature, or why it was not read; "" where it tells.
    """

    key: ClassVar[str] = "signature"

    place: str
    inputs: Columns | None = None
    outputs: Columns | None = None
    size: int = 0
    sha256: str = ""
    unclear: str = ""

    def to_data(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "inputs": _data(self.inputs),
            "outputs": _data(self.outputs),
            "size": self.size,
            "sha256": self.sha256,
            "unclear": self.unclear,
        }

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls(**data | {"inputs": _columns(data["inputs"]), "outputs": _columns(data["outputs"])})


def _data(columns: Columns | None) -> list[dict[str, Any]] | None:
    return None if columns is None else [asdict(column) for column in columns]


def _columns(data: Sequence[Mapping[str, Any]] | None) -> Columns | None:
    return None if data is None else tuple(Column(**column) for column in data)
