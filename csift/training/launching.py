"""Where a stage's computation runs: in this process, or in processes that accelerate launches on this machine's devices.

The launched processes are told by a file and tell by lines of JSON on their standard output, so that losses, progress and errors
arrive here as if the stage had been trained in this process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from csift.config import TrainingConfig
from csift.exceptions import CsiftError, StorageError, TrainingError
from csift.interfaces import Progress
from csift.models import BaseModel
from csift.schemas import LossPoint
from csift.training.checkpoints import Checkpoints
from csift.training.rows import NEEDS, PreferenceRow, PromptRow, RatedRow, Row, ScoredRow, TextRow, TrainingRow
from csift.training.stage import Stage, fit_stage

TOLD = "stage.json"
LOG = "accelerate.log"
SIGN = "csift\t"  # opens each line that is meant for us; the libraries print too
KINDS: dict[str, Any] = {
    "texts": TextRow,
    "pairs": TrainingRow,
    "preferences": PreferenceRow,
    "ratings": RatedRow,
    "opinions": PreferenceRow | ScoredRow,
    "prompts": PromptRow,
}


class ShortOfMemory(Exception):
    """The stage does not fit into memory as it is."""


def launch(stage: Stage, on_loss: Callable[[LossPoint], None], progress: Progress) -> dict[str, float]:
    """Trains the stage as its configuration says and returns its metrics; ppo always in this process.

    Raises:
        ShortOfMemory: fewer rows at once may fit.
        TrainingError: the training failed, or the processes could not be launched.
    """
    if stage.config.launcher == "accelerate" and stage.method != "ppo":
        return _launched(stage, on_loss, progress)
    return _here(stage, on_loss, progress)


def _here(stage: Stage, on_loss: Callable[[LossPoint], None], progress: Progress) -> dict[str, float]:
    import torch

    try:
        return fit_stage(stage, on_loss, progress)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    torch.cuda.empty_cache()  # nothing where there is no GPU
    raise ShortOfMemory


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short: CUDA's has a class of its own, the CPU allocator's only a text."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error)


# --- the launching side ---------------------------------------------------------------------------------------------------


def _launched(stage: Stage, on_loss: Callable[[LossPoint], None], progress: Progress) -> dict[str, float]:
    configured = stage.config.accelerate
    if configured is None or not configured.is_file():
        raise TrainingError(
            f"training.accelerate = {configured} is no file on this machine; name accelerate's configuration, "
            "such as deployments/accelerate/ddp.yaml, where the worker finds it"
        )
    told = stage.scratch / TOLD
    told.write_text(json.dumps(_as_json(stage)))
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configured)]
    command = [*launcher, "-m", "csift.training.launching", str(told)]
    log = stage.scratch / LOG
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True) as process,
    ):
        try:
            result = _heard(process.stdout or (), on_loss, progress)
        except BaseException:  # whoever reads no more must not leave them training
            _kill(process.pid)
            raise
    if result is None:
        raise TrainingError(f"the processes that accelerate launched ended without a result: {_reason(log)}")
    return result


def _reason(log: Path) -> str:
    """What the first process that failed printed last; the others, and the launcher, only report that it is gone."""
    lines = log.read_text(errors="replace").splitlines()
    killed = [f"a process was killed, {line[line.index('(exitcode') :]}" for line in lines if "failed (exitcode: -" in line]
    errors = [line for line in lines if "Error: " in line and "Connection closed by peer" not in line]
    return (killed + errors + ["no error was printed"])[0].strip()[:300]


def _heard(lines: Iterable[str], on_loss: Callable[[LossPoint], None], progress: Progress) -> dict[str, float] | None:
    metrics: dict[str, float] | None = None
    for line in lines:
        if not line.startswith(SIGN):
            continue
        said: dict[str, Any] = json.loads(line.removeprefix(SIGN))
        match said.pop("what"):
            case "loss":
                on_loss(LossPoint.model_validate(said))
            case "progress":
                progress(**said)
            case "metrics":
                metrics = said
            case "memory":
                raise ShortOfMemory
            case "error":
                raise (StorageError if said["kind"] == "StorageError" else TrainingError)(said["message"])
    return metrics


def _kill(launcher: int) -> None:
    """The launcher and all that it launched."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(launcher)
        for one in [first, *first.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()


def _as_json(stage: Stage) -> dict[str, Any]:
    return {
        "base": {**asdict(stage.base), "path": str(stage.base.path)},
        "method": stage.method,
        "rows": [asdict(row) for row in stage.rows],
        "config": stage.config.model_dump(mode="json"),
        "micro_batch": stage.micro_batch,
        "threads": stage.threads,
        "scratch": str(stage.scratch),
        "store": stage.checkpoints.store.url,
        "adapter_id": stage.checkpoints.adapter_id,
        "holder": stage.checkpoints.holder,
        "policy": str(stage.policy) if stage.policy else None,
        "reward": str(stage.reward) if stage.reward else None,
    }


# --- the launched side ----------------------------------------------------------------------------------------------------


def _from_json(told: dict[str, Any]) -> Stage:
    from csift.storage import open_store

    scratch = Path(told["scratch"])
    row: TypeAdapter[Row] = TypeAdapter(KINDS[NEEDS[told["method"]]])
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return Stage(
        base=BaseModel(told["base"]["name"], Path(told["base"]["path"]), told["base"]["revision"]),
        method=told["method"],
        rows=tuple(row.validate_python(one) for one in told["rows"]),
        config=TrainingConfig.model_validate(told["config"]),
        micro_batch=told["micro_batch"],
        threads=max(1, told["threads"] // here),
        scratch=scratch,
        checkpoints=Checkpoints(open_store(told["store"], scratch / "cache"), told["adapter_id"], told["holder"]),
        policy=Path(told["policy"]) if told["policy"] else None,
        reward=Path(told["reward"]) if told["reward"] else None,
    )


def _tell(what: str, **said: Any) -> None:
    if int(os.environ.get("RANK", "0")) == 0 or what in ("memory", "error"):
        sys.stdout.flush()
        # In one piece: lines of several processes arrive on one pipe.
        os.write(1, f"\n{SIGN}{json.dumps({'what': what, **said})}\n".encode())


def _main(file: Path) -> None:
    def on_loss(point: LossPoint) -> None:
        _tell("loss", **point.model_dump())

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        _tell("progress", stage=stage, done=done, total=total, note=note)

    try:
        _tell("metrics", **fit_stage(_from_json(json.loads(file.read_text())), on_loss, progress))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        _tell("memory")
    except CsiftError as error:
        _tell("error", kind=type(error).__name__, message=str(error))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
