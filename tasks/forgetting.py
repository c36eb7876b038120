"""Ask the general questions before and after training."""

from prefect import task

from csift import cycles, forgetting
from csift.db import database
from csift.llm import LanguageModel
from csift.schemas import Retention, System
from tasks.collaborators import answering, base_model
from tasks.progress import reporter


@task(name="forgetting")
def score_forgetting(cycle_id: str, champion: System, challenger: System) -> Retention:
    """What the challenger still gets right of the general set, beside the champion and the untrained base model; models that
    have a score are not asked again."""
    db = database()

    def ask(system: System) -> LanguageModel:
        return answering(base_model(system.base_model), cycle_id, "general", system.adapter_id)

    with cycles.stage(db, cycle_id, forgetting.STAGE) as made:
        found = forgetting.retention(db, champion, challenger, ask, reporter(forgetting.STAGE))
        made.append(found.id)
    return found
