"""A stand-in for Amazon Bedrock over HTTP: customization and import jobs, models, provisioned throughput and its answers, tags.

    python bench/bedrock_server.py [--polls 3] [--port 0]

Run as a command it prints its address, for boto3's `endpoint_url` or CSIFT_AWS_ENDPOINT_URL. In a program:

    with BedrockServer(exists=lambda uri: ...) as server:
        boto3.client("bedrock", endpoint_url=server.url, ...)

Requests are read and checked by botocore's own models of the services (bench/bedrock_wire.py), and so are answers. What fits is
refused where Bedrock would refuse it: an unknown base model, a kind of customization that it does not take, a role of another
account, S3 objects that are not there, names in use, throughput that is still being made or is committed. A token that was sent
before gets the same answer again. No time passes: a job or a throughput moves on each time it is looked at.
"""

import argparse
import json
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.bedrock_imports import create_import, get_import, list_imports
from bench.bedrock_records import (
    ACCOUNT,
    REGION,
    Job,
    Throughput,
    base_arn,
    base_id,
    page,
    stamp,
    throughput_row,
    without_none,
)
from bench.bedrock_wire import Params, Refusal, Wire

MODELS = {
    "amazon.nova-lite-v1:0:300k": frozenset({"FINE_TUNING", "DISTILLATION"}),
    "amazon.titan-text-lite-v1:0:4k": frozenset({"FINE_TUNING", "CONTINUED_PRE_TRAINING"}),
}
PHASES = ("dataProcessingDetails", "trainingDetails", "validationDetails")
TERMS = {"OneMonth": timedelta(days=30), "SixMonths": timedelta(days=180)}


@dataclass
class BedrockServer:
    """Serves on threads while it is entered.

    `polls`: how many looks a job or a throughput takes to end. `job_failure`, `throughput_failure`: it fails with that. `exists`:
    whether there is something under an s3:// URI. `on_completed`: gets a job before it is completed, to write its files.
    `reply`: what a custom model (the ARN) answers to the last turn of a chat.
    `in_use`: the exception for a name in use; Bedrock's reference has ConflictException, users have seen ValidationException.
    `received`: operations and parameters of requests that fitted the model, in order.
    """

    polls: int = 3
    job_failure: str | None = None
    throughput_failure: str | None = None
    exists: Callable[[str], bool] | None = None
    on_completed: Callable[[Job], None] | None = None
    reply: Callable[[str, str], str] = lambda model_arn, question: "I do not know."
    in_use: str = "ConflictException"
    models: Mapping[str, frozenset[str]] = field(default_factory=lambda: MODELS)
    max_units: int = 2
    port: int = 0

    def __post_init__(self) -> None:
        self.received: list[tuple[str, Params]] = []
        self.jobs: dict[str, Job] = {}
        self.custom_models: dict[str, Job] = {}
        self.imports: dict[str, Job] = {}
        self.throughputs: dict[str, Throughput] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self._tokens: dict[tuple[str, str], str] = {}
        self._refusals: dict[str, deque[Refusal | None]] = {}
        self._denied: set[str] = set()
        self._late: set[str] = set()
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self._http = Wire(self.port, self.answer)
        self.url = self._http.url
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def refuse_next(self, operation: str, name: str, message: str = "refused by the test") -> None:
        """The next request of this operation is refused."""
        self._refusals.setdefault(operation, deque()).append(Refusal(name, message))

    def lose_next_answer(self, operation: str) -> None:
        """The next request of this operation is carried out, and its connection is cut before the answer."""
        self._refusals.setdefault(operation, deque()).append(None)

    def list_nothing_next(self, operation: str) -> None:
        """The next answer of this list is empty, as of a list that is late."""
        self._late.add(operation)

    def forget_tokens(self) -> None:
        """No request has come before."""
        self._tokens.clear()

    def deny(self, *operations: str) -> None:
        """These operations are denied from now on."""
        self._denied.update(operations)

    def count(self, operation: str) -> int:
        """How often it was asked for."""
        with self._lock:
            return sum(name == operation for name, _ in self.received)

    def answer(self, operation: str, params: Params) -> Params | None:
        """Carries out a request that fits the model; None when the answer is to be lost. Raises Refusal."""
        with self._lock:
            self.received.append((operation, params))
            if operation in self._denied:
                user = f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/csift"
                raise Refusal("AccessDeniedException", f"User: {user} is not authorized to perform: bedrock:{operation}")
            waiting = self._refusals.get(operation)
            fault = waiting.popleft() if waiting else False
            if isinstance(fault, Refusal):
                raise fault
            if operation not in _OPERATIONS:
                raise Refusal("InternalServerException", f"The stand-in has no {operation}.")
            made = _OPERATIONS[operation](self, params)
            if operation in self._late:
                self._late.remove(operation)
                made = {key: [] for key, rows in made.items() if isinstance(rows, list)}
            return None if fault is None else made

    # --- jobs and models ---------------------------------------------------------------------------------------------------

    def _create_job(self, params: Params) -> Params:
        if arn := self._replayed("job", params):
            return {"jobArn": arn}
        self._check_job(params)
        base, created = base_id(params["baseModelIdentifier"]), stamp()
        arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-customization-job/{base}/{self._new_id()}"
        model_arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:custom-model/{base}/{self._new_id()}"
        self.jobs[arn] = Job(params, arn, model_arn, created)
        self._remember("job", params, arn)
        self._tag(arn, params.get("jobTags", ()))
        return {"jobArn": arn}

    def _check_job(self, params: Params) -> None:
        if any(job.params["jobName"] == params["jobName"] for job in self.jobs.values()):
            raise Refusal(self.in_use, "The provided job name is currently in use.")
        if any(job.params["customModelName"] == params["customModelName"] for job in self.jobs.values()):
            raise Refusal(self.in_use, "The provided custom model name is currently in use.")
        kind, base = params.get("customizationType", "FINE_TUNING"), base_id(params["baseModelIdentifier"])
        if base not in self.models:
            raise Refusal("ValidationException", f"The provided model identifier {base} is invalid.")
        if kind not in self.models[base]:
            raise Refusal("ValidationException", f"The model {base} does not support {kind}.")
        if params["roleArn"].split(":")[4] != ACCOUNT:
            raise Refusal("ValidationException", "Cross-account pass role is not allowed.")
        distilled = "distillationConfig" in params.get("customizationConfig", {})
        if distilled != (kind == "DISTILLATION"):
            raise Refusal("ValidationException", "A distillationConfig goes with the type DISTILLATION and no other.")
        validators = params.get("validationDataConfig", {}).get("validators", ())
        for uri in (params["trainingDataConfig"].get("s3Uri"), *(one["s3Uri"] for one in validators)):
            if uri is None:
                raise Refusal("ValidationException", "trainingDataConfig needs an s3Uri.")
            if self.exists and not self.exists(uri):
                raise Refusal("ValidationException", f"Could not validate GetObject permissions to access S3 object {uri}.")

    def _get_job(self, params: Params) -> Params:
        job = self._job(params["jobIdentifier"])
        self._move(job)
        asked = job.params
        return without_none(
            jobArn=job.arn,
            jobName=asked["jobName"],
            outputModelName=asked["customModelName"],
            outputModelArn=job.model_arn if job.status == "Completed" else None,
            clientRequestToken=asked.get("clientRequestToken"),
            roleArn=asked["roleArn"],
            status=job.status,
            statusDetails={phase: {"status": status} for phase, status in self._phases(job)},
            failureMessage=job.failure,
            creationTime=job.created,
            baseModelArn=base_arn(asked["baseModelIdentifier"]),
            hyperParameters=asked.get("hyperParameters"),
            trainingDataConfig=asked["trainingDataConfig"],
            validationDataConfig=asked.get("validationDataConfig", {"validators": []}),
            outputDataConfig=asked["outputDataConfig"],
            customizationType=asked.get("customizationType", "FINE_TUNING"),
            customizationConfig=asked.get("customizationConfig"),
        )

    def _move(self, job: Job) -> None:
        job.looks += 1
        if job.status == "Stopping":
            job.status = "Stopped"
        if job.status != "InProgress" or job.looks <= self.polls:
            return
        if self.job_failure is not None:
            job.status, job.failure = "Failed", self.job_failure
            return
        if self.on_completed:
            self.on_completed(job)
        job.status = "Completed"
        self.custom_models[job.model_arn] = job
        self._tag(job.model_arn, job.params.get("customModelTags", ()))

    def _phases(self, job: Job) -> Iterator[tuple[str, str]]:
        done = len(PHASES) if job.status == "Completed" else min(job.looks - 1, len(PHASES) - 1)
        for index, phase in enumerate(PHASES):
            yield phase, "Completed" if index < done else job.status if index == done else "NotStarted"

    def _list_jobs(self, params: Params) -> Params:
        rows = [
            without_none(
                jobArn=job.arn,
                baseModelArn=base_arn(job.params["baseModelIdentifier"]),
                jobName=job.params["jobName"],
                status=job.status,
                creationTime=job.created,
                customModelArn=job.model_arn if job.status == "Completed" else None,
            )
            for job in self.jobs.values()
            if params.get("nameContains", "") in job.params["jobName"] and params.get("statusEquals", job.status) == job.status
        ]
        return page("modelCustomizationJobSummaries", rows, params)

    def _stop_job(self, params: Params) -> Params:
        job = self._job(params["jobIdentifier"])
        if job.status != "InProgress":
            raise Refusal("ConflictException", f"The job is {job.status} and cannot be stopped.")
        job.status = "Stopping"
        return {}

    def _get_model(self, params: Params) -> Params:
        job = self._model(params["modelIdentifier"])
        return {
            "modelArn": job.model_arn,
            "modelName": job.params["customModelName"],
            "jobName": job.params["jobName"],
            "jobArn": job.arn,
            "baseModelArn": base_arn(job.params["baseModelIdentifier"]),
            "customizationType": job.params.get("customizationType", "FINE_TUNING"),
            "trainingDataConfig": job.params["trainingDataConfig"],
            "outputDataConfig": job.params["outputDataConfig"],
            "trainingMetrics": {"trainingLoss": 0.5},
            "creationTime": job.created,
            "modelStatus": "Active",
        }

    def _delete_model(self, params: Params) -> Params:
        job = self._model(params["modelIdentifier"])
        if any(one.model_arn == job.model_arn for one in self.throughputs.values()):
            raise Refusal("ConflictException", "The model has provisioned throughput.")
        del self.custom_models[job.model_arn]
        return {}

    def _job(self, name: str) -> Job:
        for job in self.jobs.values():
            if name in {job.arn, job.params["jobName"]}:
                return job
        raise Refusal("ResourceNotFoundException", "The provided model customization job is not found.")

    def _model(self, name: str) -> Job:
        for job in self.custom_models.values():
            if name in {job.model_arn, job.params["customModelName"]}:
                return job
        raise Refusal("ResourceNotFoundException", "The provided model identifier is not found.")

    # --- throughput --------------------------------------------------------------------------------------------------------

    def _create_throughput(self, params: Params) -> Params:
        if arn := self._replayed("throughput", params):
            return {"provisionedModelArn": arn}
        if any(one.params["provisionedModelName"] == params["provisionedModelName"] for one in self.throughputs.values()):
            raise Refusal(self.in_use, "The provided provisioned model name is currently in use.")
        job, now = self._model(params["modelId"]), datetime.now(UTC)
        if sum(one.params["modelUnits"] for one in self.throughputs.values()) + params["modelUnits"] > self.max_units:
            raise Refusal("ServiceQuotaExceededException", f"The account has {self.max_units} model units for custom models.")
        arn = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:provisioned-model/{self._new_id()}"
        term = TERMS.get(params.get("commitmentDuration", ""))
        base = base_arn(job.params["baseModelIdentifier"])
        made = Throughput(
            params, arn, job.model_arn, job.model_arn, base, stamp(), until=(now + term).isoformat() if term else None
        )
        self.throughputs[arn] = made
        self._remember("throughput", params, arn)
        self._tag(arn, params.get("tags", ()))
        return {"provisionedModelArn": arn}

    def _get_throughput(self, params: Params) -> Params:
        one = self._throughput(params["provisionedModelId"])
        self._move_throughput(one)
        return {**throughput_row(one), **without_none(failureMessage=one.failure)}

    def _move_throughput(self, one: Throughput) -> None:
        one.looks += 1
        if one.status in {"Creating", "Updating"} and one.looks > self.polls:
            one.status, one.failure = ("Failed", self.throughput_failure) if self.throughput_failure else ("InService", None)
            one.model_arn = one.desired

    def _list_throughputs(self, params: Params) -> Params:
        for one in self.throughputs.values():
            self._move_throughput(one)
        rows = [
            throughput_row(one)
            for one in self.throughputs.values()
            if params.get("nameContains", "") in one.params["provisionedModelName"]
            and params.get("statusEquals", one.status) == one.status
            and params.get("modelArnEquals", one.model_arn) == one.model_arn
        ]
        return page("provisionedModelSummaries", rows, params)

    def _delete_throughput(self, params: Params) -> Params:
        one = self._throughput(params["provisionedModelId"])
        if one.status in {"Creating", "Updating"}:
            raise Refusal("ConflictException", "The provisioned throughput is being created and cannot be deleted.")
        if one.until:
            raise Refusal("ValidationException", "A provisioned throughput cannot be deleted before its commitment term is over.")
        del self.throughputs[one.arn], self.tags[one.arn]
        return {}

    def _update_throughput(self, params: Params) -> Params:
        one, job = self._throughput(params["provisionedModelId"]), self._model(params["desiredModelId"])
        if base_arn(job.params["baseModelIdentifier"]) != one.base:
            raise Refusal("ValidationException", "The desired model is not customized from the same base model.")
        one.desired, one.status, one.looks = job.model_arn, "Updating", 0
        return {}

    def _converse(self, params: Params) -> Params:
        one = self._throughput(params["modelId"])
        if one.status not in {"InService", "Updating"}:
            raise Refusal("ModelNotReadyException", "The model is not ready for inference.")
        text = self.reply(one.model_arn, params["messages"][-1]["content"][0]["text"])
        asked, said = len(json.dumps(params["messages"]).split()), len(text.split())
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": asked, "outputTokens": said, "totalTokens": asked + said},
            "metrics": {"latencyMs": 1},
        }

    def _throughput(self, name: str) -> Throughput:
        for one in self.throughputs.values():
            if name in {one.arn, one.params["provisionedModelName"]}:
                return one
        raise Refusal("ResourceNotFoundException", "The provided provisioned model is not found.")

    # --- tags, tokens, ids -------------------------------------------------------------------------------------------------

    def _list_tags(self, params: Params) -> Params:
        return {"tags": [{"key": key, "value": value} for key, value in self._tags_of(params["resourceARN"]).items()]}

    def _add_tags(self, params: Params) -> Params:
        self._tags_of(params["resourceARN"]).update({tag["key"]: tag["value"] for tag in params["tags"]})
        return {}

    def _tags_of(self, arn: str) -> dict[str, str]:
        if arn not in self.tags:
            raise Refusal("ResourceNotFoundException", "The provided resource is not found.")
        return self.tags[arn]

    def _tag(self, arn: str, tags: Any) -> None:
        self.tags[arn] = {tag["key"]: tag["value"] for tag in tags}

    def _replayed(self, kind: str, params: Params) -> str | None:
        return self._tokens.get((kind, params.get("clientRequestToken", "")))

    def _remember(self, kind: str, params: Params, arn: str) -> None:
        if token := params.get("clientRequestToken"):
            self._tokens[kind, token] = arn

    def _new_id(self) -> str:
        return uuid.uuid4().hex[:12]


_OPERATIONS: dict[str, Callable[[BedrockServer, Params], Params]] = {
    "CreateModelCustomizationJob": BedrockServer._create_job,
    "GetModelCustomizationJob": BedrockServer._get_job,
    "ListModelCustomizationJobs": BedrockServer._list_jobs,
    "StopModelCustomizationJob": BedrockServer._stop_job,
    "GetCustomModel": BedrockServer._get_model,
    "DeleteCustomModel": BedrockServer._delete_model,
    "CreateModelImportJob": create_import,
    "GetModelImportJob": get_import,
    "ListModelImportJobs": list_imports,
    "CreateProvisionedModelThroughput": BedrockServer._create_throughput,
    "GetProvisionedModelThroughput": BedrockServer._get_throughput,
    "ListProvisionedModelThroughputs": BedrockServer._list_throughputs,
    "DeleteProvisionedModelThroughput": BedrockServer._delete_throughput,
    "UpdateProvisionedModelThroughput": BedrockServer._update_throughput,
    "Converse": BedrockServer._converse,
    "ListTagsForResource": BedrockServer._list_tags,
    "TagResource": BedrockServer._add_tags,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--polls", type=int, default=3, help="looks that a job or a throughput takes to end")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    with BedrockServer(polls=args.polls, port=args.port) as server:
        print(f"bedrock {server.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
