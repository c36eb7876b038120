"""`csift serve`, `csift keys create` and `csift keys revoke`."""

import sys
from typing import Annotated, Literal

import typer

from csift.config import load_config
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command

keys = typer.Typer(no_args_is_help=True, help="API keys of `csift serve`.")
app.add_typer(keys, name="keys")

Roles = Literal["ask", "review", "operate"]


@command(app, "serve")
def serve(
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine keys are asked for.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    debug: Debug = False,
) -> None:
    """The champion answers over HTTP, as OpenAI's API; a promotion reaches it within seconds."""
    loaded = load_config(config)
    from tasks.serving import run

    run(loaded, host, port, lambda text: print(f"csift: {text}", file=sys.stderr, flush=True))


@command(keys, "create")
def create(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    role: Annotated[Roles, typer.Option(help="ask: questions and feedback; review: and the review pages; operate: all.")] = "ask",
    config: Config = DEFAULT_CONFIG,
    debug: Debug = False,
) -> None:
    """Makes a key and prints it once; csift keeps a hash of it only."""
    project = load_config(config).project
    from csift.db import database
    from csift.serving import keys as held

    key, secret = held.create(database(), project, name, role)
    print(secret)
    print(f"{key.id}, {role} of {project}, for {name}: keep it, it is not shown again", file=sys.stderr)


@command(keys, "revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="Name or id of the key.")], config: Config = DEFAULT_CONFIG, debug: Debug = False
) -> None:
    """Ends a key; running servers refuse it within two seconds."""
    project = load_config(config).project
    from csift.db import database
    from csift.serving import keys as held

    ended = held.revoke(database(), project, name)
    print(f"{ended.id} of {project}, for {ended.name}, is revoked")


@command(keys, "list")
def list_(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """The keys that are valid."""
    project = load_config(config).project
    from csift.db import database
    from csift.serving import keys as held

    for key in held.living(database(), project):
        print(f"{key.id}  {key.role:<8}{key.created_at:%Y-%m-%d %H:%M} UTC  {key.name}")
