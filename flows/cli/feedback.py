"""`csift feedback import`: what people said of answers, from a file."""

from pathlib import Path
from typing import Annotated

import typer

from csift.config import load_config
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command

feedback = typer.Typer(no_args_is_help=True, help="What people said of answers: thumbs, ratings, edits.")
app.add_typer(feedback, name="feedback")


@command(feedback, "import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSONL or CSV; see docs/feedback.md.")],
    config: Config = DEFAULT_CONFIG,
    debug: Debug = False,
) -> None:
    """Keeps feedback for the next training, each row once however often it is imported; nothing of a file with a bad row."""
    loaded = load_config(config)
    from csift import feedback
    from csift.corpus.scrub import Scrubber
    from csift.db import database
    from csift.feedback_files import read_feedback
    from csift.reports.wording import count

    said = read_feedback(file)
    scrubber = Scrubber(loaded.corpus.scrub, loaded.corpus.allow)
    db = database()
    new = feedback.save(db, loaded.project, (feedback.private(record, lambda text: scrubber.scrub(text)[0]) for record in said))
    kept = feedback.load(db, loaded.project)
    taught = feedback.learn(kept)
    good = sum(rating.desirable for rating in taught.ratings)
    print(f"{count(len(said), 'row')} of {file}: {new:,} new, {len(said) - new:,} known. {scrubber.description}")
    print(
        f"All feedback of {loaded.project}, {count(len(kept), 'row')}, teaches {count(len(taught.examples), 'training row')}, "
        f"{count(len(taught.preferences), 'preference pair')} and {count(len(taught.ratings), 'rated answer')} ({good:,} good)."
    )
    print("The next dataset takes what is about its training documents and leaks no evaluation question.")
