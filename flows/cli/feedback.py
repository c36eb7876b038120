"""`csift feedback import`, `disputes`, `settle` and `forget`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from csift.config import load_config
from csift.exceptions import ConfigError
from flows.cli import DEFAULT_CONFIG, Config, Debug, app, command, user

feedback = typer.Typer(no_args_is_help=True, help="What people said of answers: thumbs, ratings, edits, rankings.")
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
    from csift.reports import feedback as printed

    db = database()
    said = read_feedback(file, lambda ids: feedback.answers_of_ids(db, loaded.project, ids))
    scrubber = Scrubber(loaded.corpus.scrub, loaded.corpus.allow)
    kept = [(feedback.private(line.record, scrubber.text), line.answer_ids) for line in said]
    new = feedback.save(db, loaded.project, (record for record, _ in kept), {record.id: ids for record, ids in kept})
    printed.print_imported(str(file), len(said), new, scrubber.description)
    records = feedback.load(db, loaded.project)
    printed.print_lessons(
        loaded.project, len(records), feedback.lessons(db, loaded.project, loaded.feedback), loaded.feedback.per_rater,
        len(records) - len(feedback.heard(records, loaded.feedback.per_rater)),
        [dispute for dispute in feedback.disputes(db, loaded.project) if dispute.settled is None],
    )  # fmt: skip


@command(feedback, "disputes")
def disputes(config: Config = DEFAULT_CONFIG, debug: Debug = False) -> None:
    """Answers on which raters contradict each other; they are not trained on until somebody settles them."""
    project = load_config(config).project
    from csift import feedback
    from csift.db import database
    from csift.reports.feedback import print_disputes

    print_disputes(project, feedback.disputes(database(), project))


@command(feedback, "settle")
def settle(
    dispute: Annotated[str, typer.Argument(help="Its id, as `csift feedback disputes` shows it.")],
    verdict: Annotated[
        Literal["good", "bad", "neither"], typer.Argument(help="Who is right; neither: what was said is never used.")
    ],
    by: Annotated[str, typer.Option(help="Who settles it, kept with it; your name on this machine if not given.")] = "",
    config: Config = DEFAULT_CONFIG,
    debug: Debug = False,
) -> None:
    """Says which raters of a dispute are right; said again, the last word holds."""
    project = load_config(config).project
    from csift import feedback
    from csift.db import database
    from csift.reports.feedback import settled_sentence

    print(settled_sentence(feedback.settle(database(), project, dispute, verdict, by.strip() or user())))


@command(feedback, "forget")
def forget(
    rater: Annotated[str, typer.Argument(help="The name under which they gave feedback.", show_default=False)] = "",
    key: Annotated[str, typer.Option(help="Name or id of an API key, in place of a name.", show_default=False)] = "",
    config: Config = DEFAULT_CONFIG,
    debug: Debug = False,
) -> None:
    """Deletes what a person said and asked, also from stored datasets, and marks these; again is nothing."""
    project = load_config(config).project
    if bool(rater.strip()) == bool(key.strip()):
        raise ConfigError("say who: csift feedback forget NAME, or csift feedback forget --key KEY")
    from csift import deletion
    from csift.db import database
    from csift.reports.feedback import print_deletion
    from tasks.collaborators import store
    from tasks.feedback import rewrite_cards

    find, who = (deletion.of_key, key.strip()) if key.strip() else (deletion.of_rater, rater.strip())
    made = find(database(), store(), project, who)
    rewrite_cards(project)
    print_deletion(project, made)
