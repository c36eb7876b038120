"""API keys: 256 random bits, kept as their SHA-256 only, so that nobody who reads the database can ask."""

import secrets
from collections.abc import Sequence

import sqlalchemy as sa

from csift.db.base import now
from csift.db.connection import Database
from csift.db.serving import ApiKeyRow
from csift.exceptions import ConfigError
from csift.hashing import sha256
from csift.schemas import ApiKey, Role

PREFIX = "csift-"  # lets scanners for leaked secrets tell what it is


def create(db: Database, project: str, name: str, role: Role) -> tuple[ApiKey, str]:
    """A new key as it is kept, and the key itself, which is not to be had again.

    Raises:
        ConfigError: the project has a key of that name that is not revoked.
    """
    if any(key.name == name for key in living(db, project)):
        raise ConfigError(f"{project} has a key {name!r} already; revoke it first, or choose another name")
    secret = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(id=f"key-{secrets.token_hex(8)}", project=project, name=name, role=role, sha256=sha256(secret), created_at=now())
    with db.session() as session:
        session.add(ApiKeyRow(**key.model_dump()))
    return key, secret


def revoke(db: Database, project: str, name: str) -> ApiKey:
    """Ends a key. Running servers refuse it within two seconds.

    Raises:
        ConfigError: the project has no such key that is not revoked.
    """
    found = next((key for key in living(db, project) if name in (key.name, key.id)), None)
    if found is None:
        known = ", ".join(key.name for key in living(db, project)) or "none"
        raise ConfigError(f"{project} has no key {name!r}; its keys: {known}")
    ended = found.model_copy(update={"revoked_at": now()})
    with db.session() as session:
        session.execute(sa.update(ApiKeyRow).where(ApiKeyRow.id == found.id).values(revoked_at=ended.revoked_at))
    return ended


def living(db: Database, project: str) -> Sequence[ApiKey]:
    """The keys of a project that are not revoked, the oldest first."""
    wanted = sa.select(ApiKeyRow).where(ApiKeyRow.project == project, ApiKeyRow.revoked_at.is_(None))
    with db.session() as session:
        rows = session.scalars(wanted.order_by(ApiKeyRow.created_at, ApiKeyRow.id)).all()
    fields = ApiKey.model_fields
    return [ApiKey.model_validate({name: getattr(row, name) for name in fields}) for row in rows]
