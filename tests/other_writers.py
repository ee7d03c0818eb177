"""Decisions as other writers recorded them: an earlier release, and one that lies."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
import zlib
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, select, text

from reconciler.audit.evidence.storing import Salted
from reconciler.audit.evidence.tables import EvidenceRow
from reconciler.audit.log.appending import DecisionToAdd
from reconciler.audit.log.filling import take_in
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.session import Session
from reconciler.audit.tables import DecisionCheckRow, DecisionRow
from tests.store.test_log import decide, forget_log, without_triggers


def field_digests(salts: bytes, content: bytes) -> tuple[str, ...]:
    """The salted digest of each field, as docs/audit.md says."""
    texts = [json_of(field) for field in json.loads(zlib.decompress(content))]
    return tuple(
        hashlib.sha256(salts[16 * at : 16 * at + 16] + text.encode()).hexdigest() for at, text in enumerate(texts)
    )


def json_of(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def decided_before_0024(engine: Engine, like: str) -> str:
    """Adds a decision like another one, whose entry covers the digest of each field; returns its id."""
    return _decided(engine, like, lambda row: Salted(row, field_digests(row["salts"], row["content"])))


def decided_with_other_digests(engine: Engine) -> str:
    """Adds a decision whose evidence is sealed, beside a hash over digests that its fields do not have."""
    decide(engine, 1)
    [like] = [row["decision_id"] for row in AuditReader(engine).decisions(DecisionFilter())]

    def lying(row: dict[str, Any]) -> Salted:
        sealed = hashlib.sha256(row["salts"] + row["content"])
        digests = hashlib.sha256(b'["other fields"]')
        covered = {"fields": row["fields"], "sealed": sealed.hexdigest(), "digests": digests.hexdigest()}
        return Salted(row | {"sealed": sealed.digest(), "digests": digests.digest()}, covered)

    return _decided(engine, like, lying)


def all_before_0024(engine: Engine) -> None:
    """Makes the log of a database that of an earlier release: rows of evidence had no hashes, and entries the list."""
    without_triggers(engine, "evidence")
    with engine.begin() as connection:
        connection.execute(text("UPDATE evidence SET sealed = NULL, digests = NULL"))
    forget_log(engine)
    take_in(engine)


def _decided(engine: Engine, like: str, evidence: Callable[[dict[str, Any]], Salted]) -> str:
    with Session(engine).recording() as recording:

        def rows_of(row: Any, key: Any) -> list[dict[str, Any]]:
            found = recording.connection.execute(select(row.__table__).where(key == like)).mappings()
            return [dict(one) for one in found]

        [decision] = rows_of(DecisionRow, DecisionRow.decision_id)
        [kept] = rows_of(EvidenceRow, EvidenceRow.evidence_key)
        own = {"decision_id": str(uuid.uuid4()), "request_key": secrets.token_hex(32), "model": "another one"}
        values = {name: cell for name, cell in decision.items() if name not in {"id", "decided_at"}} | own
        checks = [
            check | {"decision_id": own["decision_id"]}
            for check in rows_of(DecisionCheckRow, DecisionCheckRow.decision_id)
        ]
        # What was redacted there is a field that this one never had.
        fields = [field for field in json.loads(zlib.decompress(kept["content"])) if len(field) > 1]
        content = zlib.compress(json_of(fields).encode(), 9)
        row = {"fields": len(fields), "salts": kept["salts"], "content": content}
        assert recording.add_decisions([DecisionToAdd(values, checks, evidence(row))])
    return own["decision_id"]
