"""The rules of a decision as rows, on both databases, beside what each rule of the policy must come to."""

from __future__ import annotations

from sqlalchemy import Engine, text

from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from tests.builders import REGISTRY
from tests.fake_registry import FakeRegistry

POLICY = """\
version: 1
rules:
  - name: floor
    models: ["*"]
    targets: [Production]
    require:
      - {id: least, metric: validation_accuracy, min: 0.99, overridable: true}
  - name: team
    models: ["*"]
    targets: [Production]
    require:
      - {metric: validation_accuracy, min: 0.9, overrides: [floor/least]}
      - {id: wish, metric: validation_accuracy, min: 0.999, level: advisory}
  - name: "either, or"
    models: ["*"]
    targets: [Production]
    require:
      - any_of: [[{metric: validation_accuracy, min: 2}], [{metric: validation_accuracy, min: 0.5}]]
  - name: later
    mode: observe
    models: ["*"]
    targets: [Production]
    require:
      - {metric: validation_accuracy, min: 0.99}
      - {id: low, metric: validation_accuracy, min: 0.1}
  - name: strict
    models: [refused]
    targets: [Production]
    require:
      - {id: low, metric: validation_accuracy, min: 0.1}
      - {metric: validation_accuracy, min: 0.98}
"""
# In the order of the policy: rule, role, what it came to, how many checks.
OF_EACH = [
    ("floor", "overridden", "failed", 1), ("team", None, "passed", 2), ("either, or", None, "passed", 1),
    ("later", "advises", "failed", 2),
]  # fmt: skip
QUERY = """
SELECT d.model, r.rule, r.role, r.result, r.checks
FROM decision_rules r JOIN decisions d ON d.decision_id = r.decision_id ORDER BY d.model, r.first_position
"""


def test_each_rule_of_a_decision_is_a_row_with_what_it_came_to(engine: Engine) -> None:
    registry, loaded = FakeRegistry(), parse_policy(POLICY, "policy.yaml")
    for model in ("approved", "refused"):
        registry.file(model, "1", accuracy="0.95")
    in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    Cycle(registry, SqlAuditLog(engine, "test:1", REGISTRY)).run(in_force, Mode.ENFORCE)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(QUERY))]
        verdicts = dict(tuple(row) for row in connection.execute(text("SELECT model, verdict FROM decisions")))
    assert verdicts == {"approved": "approve", "refused": "reject"}
    assert rows == [
        *(("approved", *one) for one in OF_EACH),
        *(("refused", *one) for one in OF_EACH),
        ("refused", "strict", None, "failed", 2),
    ]
