"""Roles on PostgreSQL with the rights that `db roles` grants them."""

from __future__ import annotations

import psycopg
from sqlalchemy import make_url

from reconciler.audit.roles import script


def make_roles(owner: str) -> str:
    """Runs the script in this database; returns what the roles' names begin with."""
    # Roles belong to the whole server, and each test has a database of its own.
    prefix = str(make_url(owner).database)
    plain = make_url(owner).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(script(prefix, "public").encode())
    return prefix


def login(owner: str, role: str) -> str:
    """The URL of the database as a new login sees it that has a role, such as `auditor`, and no other."""
    prefix = make_roles(owner)
    name = f"{prefix}_a_{role}"
    plain = make_url(owner).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN IN ROLE {prefix}_{role}".encode())
    return make_url(owner).set(username=name).render_as_string(hide_password=False)


def daemon_role(owner: str) -> str:
    return login(owner, "daemon")
