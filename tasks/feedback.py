"""A critic grades answers that nobody rated; the pages that a deletion took are written anew."""

from prefect import task
from prefect.logging import get_run_logger

from csift import cycles, feedback, registry
from csift.config import LoopConfig
from csift.db import database
from tasks.collaborators import critic, store
from tasks.dataset import write_card
from tasks.retrying import RETRIES


@task(name="criticise", **RETRIES)
def criticise(cycle_id: str, config: LoopConfig) -> int:
    """How many served answers the critic graded; none where it was not found to agree with people."""
    db = database()
    with cycles.stage(db, cycle_id, "criticise"):
        people = feedback.lessons(db, config.project, config.feedback)
        done = feedback.criticise(db, config.project, critic(config, cycle_id), config.feedback, people)
    get_run_logger().info("the critic: %s", _told(done, config.feedback.min_agreement))
    return done.graded


def _told(done: feedback.Graded, least: float) -> str:
    if done.calibration is None:
        return "people rated answers to fewer than two questions, so it is held against nothing and grades nothing"
    agreement = feedback.least_agreement(done.calibration)
    judged = done.calibration
    found = f"agrees with people on {judged.agreement.value:.1%} of {judged.judged} answers, at least {agreement:.1%}"
    if not done.trusted:
        return f"{found}; that is below {least:.0%}, and it grades nothing"
    return f"{found}; graded {done.graded} answers, failed on {done.failed}"


def rewrite_cards(project: str) -> None:
    """Writes the data cards again that deletions took, without what was deleted; those of one that was killed, too."""
    taken = {id_ for made in registry.deletions(database(), project) for id_ in made.cards}
    for id_ in sorted(taken):
        if not store().has(f"data-cards/{id_}.html"):
            write_card(project, id_)
