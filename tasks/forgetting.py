"""Ask the general questions before and after training."""

from prefect import task

from csift import cycles, forgetting
from csift.config import LoopConfig
from csift.db import database
from csift.llm import LanguageModel
from csift.schemas import GeneralScore, Retention, System
from tasks.bedrock import Ask, with_model
from tasks.collaborators import answering, base_model
from tasks.progress import reporter
from tasks.retrying import RETRIES


@task(name="forgetting", **RETRIES)
def score_forgetting(cycle_id: str, config: LoopConfig, champion: System, challenger: System) -> Retention:
    """What the challenger still gets right of the general set, beside the champion and the untrained base model; models that
    have a score are not asked again."""
    db, report = database(), reporter(forgetting.STAGE)

    def local(system: System) -> LanguageModel:
        return answering(base_model(system.base_model), cycle_id, "general", system.adapter_id)

    scored: dict[str, GeneralScore] = {}
    with cycles.stage(db, cycle_id, forgetting.STAGE) as made:
        for system in (challenger, champion):
            if system.custom_model:

                def work(ask: Ask, system: System = system) -> dict[str, GeneralScore]:
                    return dict(forgetting.score(db, [system], lambda _: ask("general"), report))

                scored |= with_model(config, cycle_id, system, work)
        found = forgetting.retention(db, champion, challenger, local, report, scored)
        made.append(found.id)
    return found
