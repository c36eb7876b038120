"""What the gpu pool runs: one training job, which another flow asked for and waits for."""

from prefect import flow

from tasks.training import work


@flow(name="train")
def train(job_id: str) -> str:
    """Takes the job, if nobody else has it, and trains; says what came of it.

    Args:
        job_id: The job in csift's database.
    """
    return work(job_id)
