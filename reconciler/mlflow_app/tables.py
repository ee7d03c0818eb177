"""The app's own tables, beside MLflow's in the same database.

No foreign key ties them to MLflow's tables, so MLflow's migrations meet nothing unknown.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text

PREFIX: Final = "transition_requests_"

metadata = MetaData()

# What a holder was made of: a row for each digest of a location or of a run, logged model or experiment (origins.py).
# A row stays when its version no longer holds anything: MLflow's own tables say which version holds what.
origins = Table(
    f"{PREFIX}origins",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("workspace", String(63), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    # MLflow's creation_time of the version: a deleted and recreated model has other files under the same numbers.
    Column("created_ms", BigInteger, nullable=False),
    Index(f"{PREFIX}origins_of", "workspace", "name", "version"),
)

# What became of requests, and what administrators changed without one. Append-only. Never the source of what is open:
# that is what the versions' tags say. The columns behind `sentence` came with version 2.
history = Table(
    f"{PREFIX}history",
    metadata,
    # Given under the lock of `counter`, so that numbers commit in order.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),  # the database's clock, UTC, milliseconds since 1970
    Column("workspace", String(63), nullable=False),
    Column("model", String(256), nullable=False),
    Column("version", Integer),
    Column("target", String(256)),
    Column("decider", String(256), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("what", String(16), nullable=False, server_default="changed"),
    Column("assurance", String(16), nullable=False, server_default="authenticated"),
    Column("request_id", String(64)),
    # Our daemon's decision that the comment names.
    Column("decision_id", String(36)),
)
Index(f"{PREFIX}history_decisions", history.c.decision_id)

# One row: the number of the newest row of history. Whoever writes history holds it until the commit.
counter = Table(
    f"{PREFIX}counter",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
)

# One row: which version these tables have. MLflow's own `alembic_version` knows nothing of them.
schema = Table(
    f"{PREFIX}schema",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)

# What each daemon states that its policy governs, so that requesters of anything else are warned at once.
governed = Table(
    f"{PREFIX}governed",
    metadata,
    Column("workspace", String(63), primary_key=True),
    Column("teller", String(256), primary_key=True),
    Column("told", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
