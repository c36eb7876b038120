"""Who a browser is, between its requests: a signed cookie that names an API key by its id, never the key itself.

A session ends with its key: the id is looked up at every request among the keys that are valid. Signing out takes the cookie out
of the browser; whoever copied it before keeps it until it is twelve hours old, or its key is revoked.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace

from itsdangerous import BadData, URLSafeTimedSerializer

from csift.hashing import content_id

LASTS = 12 * 3600  # seconds


@dataclass(frozen=True)
class Session:
    """One browser's. `key` is the id of the API key that signed in, `name` what a person calls themselves where none is needed;
    `nonce` is random and makes the session's forms its own."""

    nonce: str
    key: str | None = None
    name: str | None = None

    @property
    def id(self) -> str:
        """Groups what one browser asks, and tells nothing of the nonce."""
        return content_id("browser", self.nonce)

    def named(self, name: str) -> "Session":
        """The same with the person's name."""
        return replace(self, name=name)


class Sessions:
    """Writes and reads the cookies of a project. `secret` signs them: servers that stand in for one another share it."""

    def __init__(self, project: str, secret: str | None = None) -> None:
        """Without a secret one is drawn, and a restart signs everybody out."""
        self._secret = (secret or secrets.token_hex(32)).encode()
        self._signer = URLSafeTimedSerializer(self._secret, salt="session", signer_kwargs={"digest_method": hashlib.sha256})
        self.cookie = content_id("csift", project)  # of the project, as cookies do not tell the ports of a machine apart

    def begin(self, key: str | None = None) -> Session:
        """A new session."""
        return Session(secrets.token_urlsafe(24), key)

    def write(self, session: Session) -> str:
        """The cookie's value."""
        return str(self._signer.dumps([session.nonce, session.key, session.name]))

    def read(self, value: str | None) -> Session | None:
        """The session of a cookie; None when there is none, it is too old, or it was not written here."""
        try:
            nonce, key, name = self._signer.loads(value or "", max_age=LASTS)
        except BadData:
            return None
        return Session(nonce, key, name)

    def token(self, session: Session) -> str:
        """What each form of the session carries, and no other page can know."""
        return self.draw("form", session.nonce)

    def draw(self, *parts: str) -> str:
        """64 hex digits that nobody can foretell and that are the same each time for the same parts."""
        return hmac.new(self._secret, repr(parts).encode(), hashlib.sha256).hexdigest()
