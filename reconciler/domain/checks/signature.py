"""signature: the model says what goes in and what comes out, with the columns that callers rely on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, NamedTuple

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.evidence import Absent, Evidence, Needs, SignatureFacts, Unreadable
from reconciler.domain.evidence.signature_facts import Column, Columns
from reconciler.domain.fields import Value
from reconciler.domain.mistakes import Mistake, Mistakes
from reconciler.domain.text import counted, visible

# How MLflow names the type of a column; array, object, map and tensor say behind it what they hold.
TYPES: Final = (
    "boolean", "integer", "long", "float", "double", "string", "binary", "datetime", "any", "array", "object", "map",
    "tensor", "sparkml_vector",
)  # fmt: skip
_SHOWN: Final = 12
_LONGEST_NAME: Final = 60


class SignatureCode(FindingCode):
    SIGNATURE_MISSING = "signature_missing", "the model has no signature, or one without inputs or without outputs"
    COLUMNS_UNNAMED = (
        "columns_unnamed",
        "the schema has no names, so it does not tell whether the columns are there",
    )
    COLUMN_MISSING = "column_missing", "a column of `inputs` or `outputs` is not in the schema"
    COLUMN_OF_OTHER_TYPE = "column_of_other_type", "a column has another type than the policy says"
    COLUMN_UNEXPECTED = "column_unexpected", "the schema has a column that the policy does not name"


def _to_columns(value: Any) -> tuple[tuple[str, str], ...]:
    """Names alone, or names with their types; a type that is not given may be any."""
    if not isinstance(value, list | tuple | Mapping):
        raise ValueError("not columns: use a list of names, such as [age, income], or names with types: {age: double}")
    pairs = (
        [*value.items()]
        if isinstance(value, Mapping)
        else [one if isinstance(one, tuple) else (one, None) for one in value]
    )
    if mistakes := list(_wrong_columns(value, pairs)):
        raise Mistakes(mistakes)
    return tuple((name, _to_type(name, kind)) for name, kind in pairs)


def _wrong_columns(value: Any, pairs: Sequence[tuple[Any, Any]]) -> Iterator[Mistake]:
    """Each where it stands."""
    seen = set()
    for number, (name, kind) in enumerate(pairs):
        at = (name if isinstance(value, Mapping) else number,)
        try:
            _text(name, "a column's name")
            _to_type(name, kind)
        except ValueError as error:
            yield Mistake(str(error), at=at)
            continue
        if name in seen:
            yield Mistake(f"{name!r} is there twice: name each column once", at=at)
        seen.add(name)


def _to_type(name: object, value: Any) -> str:
    if value is None:
        return ""
    kind = re.sub(r"\s", "", _text(value, f"the type of {name!r}"))
    if re.split(r"[(\[]", kind)[0] not in TYPES:
        raise ValueError(f"{value!r} is not a type of MLflow's: use one of {', '.join(TYPES)}")
    return kind


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not {what}: put it in quotes" if value != "" else f"'' is not {what}")
    return value


def _as_written(columns: tuple[tuple[str, str], ...]) -> Any:
    if any(kind for _, kind in columns):
        return {name: kind or None for name, kind in columns}
    return [name for name, _ in columns]


_NAMES = {"type": "array", "items": {"type": "string", "minLength": 1}}
_TYPED = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
ColumnsField = Annotated[
    tuple[tuple[str, str], ...],
    BeforeValidator(_to_columns),
    PlainSerializer(_as_written),
    WithJsonSchema({"anyOf": [_NAMES, _TYPED], "examples": [["age", "income"], {"age": "long", "income": "double"}]}),
]


class SignatureTerms(Value):
    inputs: ColumnsField = Field((), description="Columns that must be among the inputs.")
    outputs: ColumnsField = Field((), description="Columns that must be among the outputs.")
    exact: bool = Field(
        False,
        strict=True,
        description="Where columns are named, allow no others except optional inputs.",
    )

    def mistakes(self) -> Iterator[Mistake]:
        if self.exact and not self.inputs and not self.outputs:
            yield Mistake("exact needs columns: name inputs, outputs or both", lacks=True)


class _Problem(NamedTuple):
    code: FindingCode
    text: str


class SignatureCheck(Check):
    """The model has a signature: what goes in and what comes out."""

    kind: ClassVar[str] = "signature"
    codes: ClassVar[type[FindingCode]] = SignatureCode
    remedy: ClassVar[str] = "log the model with a signature that has these columns, and register the result"
    example: ClassVar[str] = "signature: {inputs: {age: long, income: double}, outputs: [score]}"
    notes: ClassVar[str] = """\
The signature is in the model's file `MLmodel`. The daemon reads this file from the tracking server, over the route for
artifacts of the run or logged model that the version was made from. That is one call for each version, and only where a
rule has this check. It reads at most 64 kB, and follows neither addresses that the registry names nor redirects. The
decision keeps the columns with their types, and the file's size and SHA-256.

`signature: {}` asks for a signature with inputs and outputs. Give columns as a list of names, or as names with MLflow's
types. `array`, `object`, `map` and `tensor` match any content, unless the policy adds it as `explain` shows it:
`array(string)`, `tensor(float64)[-1,28,28]`. Names are case-sensitive.

In MLflow, tensors and columns need no names. If the policy names columns and the schema has no names, the check fails
as `columns_unnamed`. `on_missing: abstain` leaves this case to a person, as well as models without a signature and
versions without the file.

What cannot be judged is an abstention. It is `undetermined` if the version's files do not provably lie among those of
its run (as for `linked` of `run`), or if the file is larger, is not YAML, or is not what MLflow writes. It is
`unreadable` if the server refuses the file or cannot reach it. Databricks documents no such route. Whoever may write to
the run's artifacts may change the file afterwards; [drift](audit.md#drifts) shows that."""

    signature: SignatureTerms

    @property
    def title(self) -> str:
        return "signature"

    @property
    def expected(self) -> str:
        terms = self.signature
        if not terms.inputs and not terms.outputs:
            return "inputs and outputs"
        named = (("inputs", terms.inputs), ("outputs", terms.outputs))
        words = [f"{side} {', '.join(map(_wanted, columns))}" for side, columns in named if columns]
        return "; ".join(words + ["no others"] * terms.exact)

    def needs(self) -> Needs:
        # Both tell where the version's files lie.
        return Needs(run=True, logged_model=True, signature=True)

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        found = evidence.fact(SignatureFacts)
        if isinstance(found, Absent | Unreadable):
            return nothing_to_judge(found)
        if found.unclear:
            return Finding(CommonCode.UNDETERMINED, found.unclear, source=found.place, unreadable=True)
        lacking = [side for side, columns in (("inputs", found.inputs), ("outputs", found.outputs)) if not columns]
        if lacking:
            observed = "no signature" if len(lacking) > 1 else f"a signature without {lacking[0]}"
            return Finding(SignatureCode.SIGNATURE_MISSING, observed, source=found.place, missing=True)
        return self._compared(found)

    def _compared(self, found: SignatureFacts) -> Finding:
        inputs, outputs = found.inputs or (), found.outputs or ()
        problems = [
            *self._problems("input", self.signature.inputs, inputs),
            *self._problems("output", self.signature.outputs, outputs),
        ]
        has = f"inputs {_shown(inputs)}; outputs {_shown(outputs)}"
        if not problems:
            return Finding(CommonCode.OK, has, source=found.place)
        observed = "; ".join([problem.text for problem in problems[:_SHOWN]] + [f"it has {has}"])
        unnamed = all(problem.code == SignatureCode.COLUMNS_UNNAMED for problem in problems)
        return Finding(problems[0].code, observed, source=found.place, missing=unnamed)

    def _problems(self, side: str, wanted: tuple[tuple[str, str], ...], there: Columns) -> Iterator[_Problem]:
        if not wanted:
            return
        if not any(column.name for column in there):
            yield _Problem(SignatureCode.COLUMNS_UNNAMED, f"the {side}s have no names")
            return
        for name, kind in wanted:
            types = [column.type for column in there if column.name == name]
            if not types:
                yield _Problem(SignatureCode.COLUMN_MISSING, f"no {side} {_name(name)}")
            elif others := [one for one in types if not _is_of(one, kind)]:
                text = f"{side} {_name(name)} is {visible(others[0], _LONGEST_NAME)}, not {kind}"
                yield _Problem(SignatureCode.COLUMN_OF_OTHER_TYPE, text)
        if self.signature.exact:
            known = {name for name, _ in wanted}
            more = [one for one in there if one.name not in known and not (side == "input" and one.optional)]
            yield from (
                _Problem(SignatureCode.COLUMN_UNEXPECTED, f"{side} {_column(one)} is not named") for one in more
            )


def _is_of(kind: str, wanted: str) -> bool:
    """`array` is any array, `tensor(float64)` one of any shape."""
    return not wanted or kind == wanted or kind.startswith((f"{wanted}(", f"{wanted}["))


def _wanted(column: tuple[str, str]) -> str:
    name, kind = column
    return f"{_name(name)}: {kind}" if kind else _name(name)


def _shown(columns: Columns) -> str:
    more = len(columns) - _SHOWN
    shown = [_column(column) for column in columns[:_SHOWN]]
    return ", ".join(shown) + (f" and {counted(more, 'other')}" if more > 0 else "")


def _column(column: Column) -> str:
    return visible(str(column), 2 * _LONGEST_NAME)


def _name(name: str) -> str:
    return visible(name, _LONGEST_NAME)
