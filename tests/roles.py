"""The daemon's role on PostgreSQL, with the rights that the operating page grants it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, make_url, text

_PAGE = Path(__file__).resolve().parents[1] / "docs/operating.md"


def granted() -> list[str]:
    """The statements of the page, for a role named reconciler."""
    block = _PAGE.read_text().partition("```sql\n")[2].partition("```")[0]
    return [" ".join(grant.split()) for grant in block.split(";") if grant.strip()]


def daemon_role(owner: str) -> str:
    """The URL of the database as a new role of this kind sees it."""
    # Roles belong to the whole server, and each test has a database of its own.
    role = str(make_url(owner).database)
    admin = create_engine(owner, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        for grant in granted():
            connection.execute(text(grant.replace("TO reconciler", f"TO {role}")))
    admin.dispose()
    return make_url(owner).set(username=role).render_as_string(hide_password=False)
