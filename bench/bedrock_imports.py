"""Model imports of the stand-in for Bedrock."""

from typing import TYPE_CHECKING

from bench.bedrock_records import ACCOUNT, REGION, Job, page, stamp, without_none
from bench.bedrock_wire import Params, Refusal

if TYPE_CHECKING:
    from bench.bedrock_server import BedrockServer

FILES = ("config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors")


def create_import(server: "BedrockServer", params: Params) -> Params:
    """CreateModelImportJob."""
    if arn := server._replayed("import", params):
        return {"jobArn": arn}
    if any(one.params["jobName"] == params["jobName"] for one in server.imports.values()):
        raise Refusal(server.in_use, "The provided job name is currently in use.")
    if params["roleArn"].split(":")[4] != ACCOUNT:
        raise Refusal("ValidationException", "Cross-account pass role is not allowed.")
    where = f"arn:aws:bedrock:{REGION}:{ACCOUNT}"
    made = Job(params, f"{where}:model-import-job/{server._new_id()}", f"{where}:imported-model/{server._new_id()}", stamp())
    server.imports[made.arn] = made
    server._remember("import", params, made.arn)
    server._tag(made.arn, params.get("jobTags", ()))
    return {"jobArn": made.arn}


def get_import(server: "BedrockServer", params: Params) -> Params:
    """GetModelImportJob."""
    wanted = params["jobIdentifier"]
    one = next((one for one in server.imports.values() if wanted in {one.arn, one.params["jobName"]}), None)
    if one is None:
        raise Refusal("ResourceNotFoundException", "The provided model import job is not found.")
    one.looks += 1
    if one.status == "InProgress" and one.looks > server.polls:
        one.failure = server.job_failure or _missing(server, one)
        one.status = "Failed" if one.failure else "Completed"
    source = one.params["modelDataSource"]
    return {**_row(one), **without_none(roleArn=one.params["roleArn"], modelDataSource=source, failureMessage=one.failure)}


def list_imports(server: "BedrockServer", params: Params) -> Params:
    """ListModelImportJobs."""
    rows = [_row(one) for one in server.imports.values() if params.get("nameContains", "") in one.params["jobName"]]
    return page("modelImportJobSummaries", rows, params)


def _missing(server: "BedrockServer", one: Job) -> str | None:
    folder = one.params["modelDataSource"]["s3DataSource"]["s3Uri"].rstrip("/")
    lacking = [name for name in FILES if server.exists and not server.exists(f"{folder}/{name}")]
    return f"The model has no {', '.join(lacking)}." if lacking else None


def _row(one: Job) -> Params:
    return without_none(
        jobArn=one.arn,
        jobName=one.params["jobName"],
        importedModelName=one.params["importedModelName"],
        importedModelArn=one.model_arn if one.status == "Completed" else None,
        status=one.status,
        creationTime=one.created,
    )
