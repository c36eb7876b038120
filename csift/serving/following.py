"""Looking at the database again and again, off every request's path."""

import threading
from collections.abc import Callable


class Follower:
    """Looks every few seconds in a thread of its own. What keeps it from looking is told once, until it can look again."""

    def __init__(
        self, name: str, seconds: float, look: Callable[[], object], trouble: Callable[[], str], tell: Callable[[str], None]
    ):
        """`trouble` is what is told, before the error, when a look fails."""
        self._name, self._seconds, self._look, self._trouble, self._tell = name, seconds, look, trouble, tell
        self._end = threading.Event()

    def start(self) -> None:
        """Looks from now on."""
        threading.Thread(target=self._follow, name=self._name, daemon=True).start()

    def stop(self) -> None:
        """Looks no more."""
        self._end.set()

    def _follow(self) -> None:
        away = False
        while not self._end.wait(self._seconds):
            try:
                self._look()
                away = False
            except Exception as error:  # noqa: BLE001 - whatever it is, what was seen last goes on being served
                if not away:
                    self._tell(f"{self._trouble()}: {error}")
                away = True
