"""`csift export`: the merged model is the base with its adapter, wherever it goes."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bedrock_stand_ins import ROLE, at_once, bedrock_over, connect, s3_bucket
from champions import snapshot_of
from peft import PeftModel
from test_cli import CSIFT, GOOD, one_line
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.bedrock_server import BedrockServer
from csift.bedrock.imports import ModelImport, import_model
from csift.config import TrainingConfig
from csift.dataset import save
from csift.db import Database
from csift.exceptions import TrainingError
from csift.models import BaseModel
from csift.registry import save_adapter
from csift.schemas import Adapter, Example, SynthesisReport
from csift.training import Run, TrainingData, TrainingRow, train
from tasks.collaborators import store

SAME = 1e-5  # the largest difference of a logit of a float32 base, which adds up in another order
PROJECT = "exported"


@pytest.fixture(scope="module")
def adapter(db: Database, tiny_model: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    """A trained one of the project."""
    folder = tmp_path_factory.mktemp("export")
    example = Example(
        id="e", question="q?", answer="a", document_id="a.md", style="factoid", gold_chunk_ids=(), context_chunk_ids=(),
        source="human", generator=None, prompt_hash=None,
    )  # fmt: skip
    report = SynthesisReport(teacher="t", candidates=0, accepted=0, rejected={}, samples=())
    dataset = save(
        db,
        [example],
        snapshot_id=snapshot_of(db, PROJECT, folder),
        evalset_id="evalset-1",
        recipe={},
        synthesis=report,
        rejected=(),
    )
    rows = TrainingData(pairs=[TrainingRow([{"role": "user", "content": "How heavy?"}], "forty-two")])
    config = TrainingConfig(max_steps=6, batch_size=1, learning_rate=3e-2)
    made = train(Run(tiny_model, rows, dataset.id, config, store(), folder / "work", 2))
    with db.session() as session:
        save_adapter(session, made)
    return made


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_bucket() as client:
        yield client


@pytest.fixture
def server(s3: Any) -> Iterator[BedrockServer]:
    with bedrock_over(s3, polls=0) as started:
        yield started


Csift = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def csift(tmp_path: Path) -> Csift:
    """Runs `csift export` in a project."""
    (tmp_path / "csift.toml").write_text(GOOD.replace("shop", PROJECT))

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        told = {**os.environ, "COLUMNS": "200", **environment}
        return subprocess.run([*CSIFT, "export", *arguments], cwd=tmp_path, env=told, capture_output=True, text=True)

    return run


def test_the_folder_loads_anywhere_and_answers_as_base_and_adapter_do(
    adapter: Adapter, tiny_model: BaseModel, csift: Csift, tmp_path: Path
) -> None:
    told = csift(adapter.id, "--merged", "out/model")
    assert told.returncode == 0, told.stderr
    assert "16.2 MB" in told.stdout and str(tmp_path / "out" / "model") in told.stdout
    folder = tmp_path / "out" / "model"

    merged, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(tiny_model.path)
    ids = torch.tensor([tokenizer("How heavy is the Kestrel 40?")["input_ids"]])
    with torch.no_grad():
        plain = base(ids).logits
        expected = PeftModel.from_pretrained(base, store().open_artifact(adapter.artifact)).eval()(ids).logits
        assert torch.allclose(merged(ids).logits, expected, atol=SAME, rtol=0)
    assert (expected - plain).abs().max() > 100 * SAME  # the adapter does something
    chat = [{"role": "user", "content": "How heavy?"}]
    before = AutoTokenizer.from_pretrained(tiny_model.path).apply_chat_template(chat, tokenize=False)
    assert tokenizer.apply_chat_template(chat, tokenize=False) == before

    config = json.loads((folder / "config.json").read_text())
    assert (config["torch_dtype"], config["rope_theta"]) == ("float32", 10000.0)  # for readers before transformers 5
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not list(tmp_path.glob("out/.*"))
    assert one_line(csift(adapter.id, "--merged", "out/model")).endswith("is there and not empty; name a new folder")


def test_the_card_names_what_it_is_made_from(adapter: Adapter, csift: Csift, tmp_path: Path) -> None:
    csift(adapter.id, "--merged", "model")
    _, head, body = (tmp_path / "model" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "unknown", "library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["csift"]
    }  # fmt: skip
    for part in (adapter.id, adapter.base_revision, adapter.dataset_id, "1 human", "1 document", "No decision was made"):
        assert part in body


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("adapter-guess", "--merged", "x"), "there is no Adapter adapter-guess"),
        (("adapter-guess",), "say where it is to go"),
        (("adapter-guess", "--merged", "x", "--bedrock", "s3://training/x"), "say where it is to go"),
        (("adapter-guess", "--bedrock", "s3://training/x"), "say with --role"),
        (("adapter-guess", "--bedrock", "s3://training/x", "--role", ROLE), "charged by the month .* say --yes"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(csift: Csift, arguments: tuple[str, ...], says: str) -> None:
    assert re.search(says, one_line(csift(*arguments)))


def test_an_adapter_of_another_project_is_not_exported(adapter: Adapter, csift: Csift, tmp_path: Path) -> None:
    (tmp_path / "csift.toml").write_text(GOOD)
    assert f"is of project {PROJECT}, not of shop" in one_line(csift(adapter.id, "--merged", "x"))


# --- Bedrock --------------------------------------------------------------------------------------------------------------


def test_bedrock_imports_the_merged_model_once(adapter: Adapter, csift: Csift, server: BedrockServer, s3: Any) -> None:
    place = ("--bedrock", "s3://training/models", "--role", ROLE, "--yes")
    told = csift(adapter.id, *place, CSIFT_AWS_ENDPOINT_URL=server.url)
    assert told.returncode == 0, told.stderr
    (made,) = server.imports.values()
    assert told.stdout.strip() == made.model_arn
    assert "Importing costs nothing; the imported model is charged" in told.stderr
    uri = f"s3://training/models/{adapter.id}/"
    assert made.params["modelDataSource"] == {"s3DataSource": {"s3Uri": uri}}
    assert made.params["importedModelTags"] == [{"key": "csift-project", "value": PROJECT}]
    listed = s3.list_objects_v2(Bucket="training", Prefix=f"models/{adapter.id}/")["Contents"]
    names = {entry["Key"].rpartition("/")[2] for entry in listed}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"}

    again = csift(adapter.id, *place, CSIFT_AWS_ENDPOINT_URL=server.url)
    assert again.stdout == told.stdout and server.count("CreateModelImportJob") == 1
    after = s3.list_objects_v2(Bucket="training", Prefix=f"models/{adapter.id}/")["Contents"]
    assert [entry["LastModified"] for entry in after] == [entry["LastModified"] for entry in listed]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--bedrock", "training/x", "--role", ROLE), "`model_uri` = 'training/x/adapter-"),
        (("--bedrock", "s3://training/x", "--role", "csift"), "`role_arn` = 'csift' is impossible"),
        (("--bedrock", "s3://no-such-bucket/x", "--role", ROLE), "no-such-bucket"),
    ],
)
def test_places_and_roles_that_bedrock_takes_not_are_told(
    adapter: Adapter, csift: Csift, s3: Any, arguments: tuple[str, ...], says: str
) -> None:
    told = csift(adapter.id, *arguments, "--yes")
    assert told.returncode == 1 and says in told.stderr and "Traceback" not in told.stderr


def asked(**changes: str) -> ModelImport:
    fields = {"project": "catalogue", "adapter_id": "adapter-1", "model_uri": "s3://training/models/adapter-1/", "role_arn": ROLE}
    return ModelImport.model_validate({**fields, **changes})


@pytest.fixture
def uploaded(s3: Any) -> None:
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"):
        s3.put_object(Bucket="training", Key=f"models/adapter-1/{name}", Body=b"{}")


def test_an_import_whose_answer_was_lost_is_followed(server: BedrockServer, uploaded: None) -> None:
    server.lose_next_answer("CreateModelImportJob")
    with pytest.raises(TrainingError, match="creating import job catalogue-"):
        import_model(connect(server), asked(), at_once)
    notes: list[str] = []
    arn = import_model(connect(server), asked(), at_once, lambda stage, done, total, note="": notes.append(note))
    assert [one.model_arn for one in server.imports.values()] == [arn]
    assert notes == ["Completed"]
    assert import_model(connect(server), asked(adapter_id="adapter-2"), at_once) != arn


def test_an_import_that_failed_is_told_and_tried_again_under_another_name(server: BedrockServer, uploaded: None) -> None:
    server.job_failure = "Access denied to\n the model's files."
    with pytest.raises(TrainingError, match=r"failed: Access denied to the model's files; correct what it names and run again$"):
        import_model(connect(server), asked(), at_once)
    server.job_failure = None
    arn = import_model(connect(server), asked(), at_once)
    first, second = server.imports.values()
    assert second.model_arn == arn and second.params["jobName"] == first.params["jobName"] + "-2"


def test_a_folder_that_lacks_files_fails(server: BedrockServer) -> None:
    with pytest.raises(TrainingError, match=r"The model has no config.json"):
        import_model(connect(server), asked(model_uri="s3://training/empty/"), at_once)


def test_who_may_not_import_is_told_the_permission(server: BedrockServer, uploaded: None) -> None:
    server.deny("CreateModelImportJob")
    with pytest.raises(TrainingError, match=r"allow bedrock:CreateModelImportJob as deployments/aws/import-policy.json does"):
        import_model(connect(server), asked(), at_once)
