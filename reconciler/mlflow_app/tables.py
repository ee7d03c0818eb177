"""The app's own tables, beside MLflow's in the same database.

No foreign key ties them to MLflow's tables, so MLflow's migrations meet nothing unknown.
"""

from __future__ import annotations

from typing import Final

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_STATE
from sqlalchemy import BigInteger, Column, Engine, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

PREFIX: Final = "transition_requests_"
_ATTEMPTS = 5

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

# What administrators changed without a request. Append-only.
history = Table(
    f"{PREFIX}history",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),  # UTC, milliseconds since 1970
    Column("workspace", String(63), nullable=False),
    Column("model", String(256), nullable=False),
    Column("version", Integer),
    Column("target", String(256)),
    Column("decider", String(256), nullable=False),
    Column("sentence", Text, nullable=False),
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


def create(engine: Engine) -> None:
    """Create the tables that are missing. Several workers and servers may do so at once.

    Raises:
        MlflowException: the database does not let this user create them.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            metadata.create_all(engine, checkfirst=True)
            return
        except DBAPIError as error:
            # Another worker created them between the check and the statement: the next check finds them.
            if attempt == _ATTEMPTS:
                raise _cannot_create(error) from error


def _cannot_create(error: SQLAlchemyError) -> MlflowException:
    reason = str(error.__cause__ or error).splitlines()[0]
    names = " and ".join(sorted(metadata.tables))
    return MlflowException(
        f"transition requests: cannot create {names} in MLflow's database ({reason}): "
        "allow the server's database user to create tables, at least for the first start",
        INVALID_STATE,
    )
