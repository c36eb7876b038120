"""Random credentials, each in a file of its own: the secrets of docker-compose.yml, and of `csift up --like-compose`.

Standard library only, because a host with Docker may have no more: python3 deployments/credentials.py docker/secrets
"""

import secrets
import sys
from pathlib import Path
from tempfile import mkdtemp

USER = "csift"  # of the object store and of Prefect's API; a name and no secret


def make(folder: Path) -> None:
    """Writes the files, all of them or none; a folder that is there already stays as it is.

    The folder is open to its owner only. The files in it are readable by all, because a container's user is another one.
    """
    if folder.exists():
        return
    store_key = secrets.token_hex(24)
    contents = {
        "postgres_password": secrets.token_hex(24),
        "prefect_auth": f"{USER}:{secrets.token_hex(24)}",
        "store_auth": f'"{USER},{store_key}"',  # as rclone reads it: CSV
        "aws_credentials": f"[default]\naws_access_key_id = {USER}\naws_secret_access_key = {store_key}\n",
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    for name, content in contents.items():
        (made / name).write_text(content)
        (made / name).chmod(0o444)
    made.replace(folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 deployments/credentials.py FOLDER")
    make(Path(sys.argv[1]))
