"""documentation: the model or its version says what it is for, under the headings that are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.evidence import Evidence, ModelFacts, Needs, VersionFacts
from reconciler.domain.evidence.guards import guard_of
from reconciler.domain.fields import TextField, Value
from reconciler.domain.mistakes import Mistake
from reconciler.domain.text import TEXT_LIMIT, Text, counted_letters, is_address, letters_and_digits

# As templates of model cards have them below each heading. One that is not closed goes to the end.
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


class DocumentationCode(FindingCode):
    NOT_DOCUMENTED = "not_documented", "no description where one is asked for, and no tag that links to a card"
    DOCUMENTATION_TOO_SHORT = "documentation_too_short", "fewer letters and digits than `min_length`"
    HEADING_MISSING = "heading_missing", "a heading of `headings` is not there, or nothing stands under it"


class DocumentationTerms(Value):
    of: Literal["model", "version"] = Field("model", description="Whose description.")
    headings: tuple[TextField, ...] = Field(
        (), description="Lines that must be there, each with text below it.", examples=[["## Intended use"]]
    )
    min_length: int = Field(1, ge=1, strict=True, description="Letters and digits, of any script.")
    or_tag: TextField | None = Field(
        None, min_length=1, description="A tag of the version that may hold an https address instead, of a model card."
    )

    def mistakes(self) -> Iterator[Mistake]:
        for at, heading in enumerate(self.headings):
            if not heading.strip() or "\n" in heading or "\r" in heading:
                told = f"{heading!r} is not a heading: use one line, such as '## Intended use'"
                yield Mistake(told, at=("headings", at))


class DocumentationCheck(Check):
    """The model is documented."""

    kind: ClassVar[str] = "documentation"
    codes: ClassVar[type[FindingCode]] = DocumentationCode
    remedy: ClassVar[str] = "write what is missing into the description, or link to a card where a tag may"
    example: ClassVar[str] = 'documentation: {headings: ["## Intended use", "## Limits"], or_tag: model.card}'
    of: ClassVar[frozenset[str]] = frozenset({"model", "prompt"})
    notes: ClassVar[str] = f"""\
A heading is a line of its own, exactly as in `headings`, with at least one letter or digit between it and the next
heading. Comments (`<!-- … -->`), which no page shows, do not count. Only the first {TEXT_LIMIT:,} characters are
judged. A link is not followed, so nothing proves that the card says anything. The finding says who may change
its tag."""

    documentation: DocumentationTerms

    @property
    def title(self) -> str:
        return f"documentation of the {self.documentation.of}"

    @property
    def expected(self) -> str:
        terms = self.documentation
        words = [f"at least {counted_letters(terms.min_length)}"]
        words += [f"with {', '.join(terms.headings)}"] if terms.headings else []
        return " ".join(words) + (f"; or a link in tag {terms.or_tag}" if terms.or_tag else "")

    def needs(self) -> Needs:
        tags = frozenset({self.documentation.or_tag}) if self.documentation.or_tag else frozenset()
        return Needs(tags=tags, registered_model=self.documentation.of == "model")

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        return self.judged(evidence, is_address)

    def judged(self, evidence: Evidence, is_url: Callable[..., bool]) -> Finding:
        """`is_url`: what an engine takes for an address."""
        version = evidence.fact(VersionFacts)
        if not isinstance(version, VersionFacts):
            return nothing_to_judge(version)
        link = version.tags.get(self.documentation.or_tag) if self.documentation.or_tag else None
        if link is not None and link.whole and is_url(link.head, "https"):
            guard = guard_of(str(self.documentation.or_tag), evidence)
            return Finding(CommonCode.OK, f"a link to {link.head}", source="version", guard=guard)
        if self.documentation.of == "version":
            return self._judged(version.description, "version")
        model = evidence.fact(ModelFacts)
        if not isinstance(model, ModelFacts):
            return nothing_to_judge(model)
        return self._judged(model.description, "registered model")

    def _judged(self, whole: Text, source: str) -> Finding:
        text = Text.of(_COMMENT.sub("", whole.head))
        count = letters_and_digits(text)
        if not count:
            return Finding(DocumentationCode.NOT_DOCUMENTED, "none", source=source, missing=True)
        if count < self.documentation.min_length:
            return Finding(
                DocumentationCode.DOCUMENTATION_TOO_SHORT, counted_letters(count), float(count), source=source
            )
        missing = [heading for heading in self.documentation.headings if not _has_section(text.head, heading)]
        if missing:
            observed = f"{counted_letters(count)}, nothing under {', '.join(missing)}"
            return Finding(DocumentationCode.HEADING_MISSING, observed, source=source)
        return Finding(CommonCode.OK, counted_letters(count), source=source)


def _has_section(text: str, heading: str) -> bool:
    lines = text.splitlines()
    wanted = heading.strip()
    for at, line in enumerate(lines):
        if line.strip() != wanted:
            continue
        for below in lines[at + 1 :]:
            if below.lstrip().startswith("#"):
                break
            if letters_and_digits(Text.of(below)):
                return True
    return False
