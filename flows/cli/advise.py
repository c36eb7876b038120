"""`csift advise`: which stages to train, and why."""

from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command


@command(app, "advise")
def advise(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """Names the path of training stages for the newest dataset, the base model, the goal and the hours of the TOML."""
    from csift.advice import explain
    from csift.config import load_config
    from csift.dataset import find
    from csift.db import database
    from tasks.advice import advice

    loaded = load_config(config)
    print(explain(advice(loaded, find(database(), loaded.project, "latest").version)))
