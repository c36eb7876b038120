"""The files for containers, and Dockerfiles taken apart, for the tests of both."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PINNED = re.compile(r"[\w./-]+:\d+\.\d+[\w.-]*")  # at least major and minor


def instructions(file: Path) -> list[tuple[str, str]]:
    """A Dockerfile's instructions in order: the word, and the rest with continued lines joined."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    split = (line.strip().split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(word.upper(), rest) for word, rest in split]
