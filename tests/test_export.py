"""`csift export`: the merged model is the base with its adapter, wherever it goes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bedrock_stand_ins import ROLE, at_once, bedrock_over, connect, s3_bucket
from champions import snapshot_of
from peft import PeftModel
from test_cli import GOOD, csift, one_line
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.bedrock_server import BedrockServer
from csift.bedrock.imports import ModelImport, import_model, require_importable
from csift.config import LoopConfig, TrainingConfig, load_config
from csift.dataset import save
from csift.db import Database
from csift.exceptions import ConfigError, GateError, StorageError, TrainingError
from csift.interfaces import no_progress
from csift.merging import licence
from csift.models import BaseModel
from csift.registry import save_adapter
from csift.schemas import Adapter, Example, SynthesisReport
from csift.settings import settings
from csift.training import Run, TrainingData, TrainingRow, train
from tasks.collaborators import store
from tasks.exporting import imported, write

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


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> LoopConfig:
    toml = tmp_path_factory.mktemp("config") / "csift.toml"
    toml.write_text(GOOD.replace("shop", PROJECT))
    return load_config(toml)


@pytest.fixture(scope="module")
def folder(adapter: Adapter, config: LoopConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The merged model."""
    made = tmp_path_factory.mktemp("merged") / "deep" / "model"
    assert 16e6 < write(config, adapter.id, made) < 17e6
    return made


def test_the_folder_loads_anywhere_and_answers_as_base_and_adapter_do(
    adapter: Adapter, tiny_model: BaseModel, folder: Path
) -> None:
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

    told = json.loads((folder / "config.json").read_text())
    assert (told["torch_dtype"], told["rope_theta"]) == ("float32", 10000.0)  # for readers before transformers 5
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_folder_with_something_in_it_is_left_alone(adapter: Adapter, config: LoopConfig, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="is there and not empty; name a new folder"):
        write(config, adapter.id, tmp_path)
    (tmp_path / "empty").mkdir()
    assert write(config, adapter.id, tmp_path / "empty")


def test_the_card_names_what_it_is_made_from(adapter: Adapter, folder: Path) -> None:
    _, head, body = (folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "unknown", "library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["csift"]
    }  # fmt: skip
    for part in (adapter.id, adapter.base_revision, adapter.dataset_id, "1 human", "1 document", "No decision was made"):
        assert part in body


def test_the_licence_is_that_of_the_bases_own_card_and_its_terms_go_with_it(tiny_model: BaseModel, tmp_path: Path) -> None:
    base = BaseModel("org/model", tmp_path, "1")
    assert licence(base) is None and licence(BaseModel("smollm2-135m-instruct", tmp_path, "1")) == "apache-2.0"
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: 'llama3.2'\n---\nlicense: mit\n")
    assert licence(base) == "llama3.2"


def test_an_adapter_that_is_not_the_projects_is_not_exported(adapter: Adapter, config: LoopConfig, tmp_path: Path) -> None:
    with pytest.raises(GateError, match=f"is of project {PROJECT}, not of other"):
        write(config.model_copy(update={"project": "other"}), adapter.id, tmp_path / "x")
    with pytest.raises(GateError, match="there is no Adapter adapter-guess"):
        write(config, "adapter-guess", tmp_path / "x")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "say where it is to go: --merged DIR, or --bedrock s3://bucket/prefix"),
        (("--bedrock", "s3://training/x", "--role", ROLE), "charged by the month for being kept"),
    ],
)
def test_nothing_is_done_without_a_place_or_a_yes_to_its_price(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    (tmp_path / "csift.toml").write_text(GOOD)
    assert says in one_line(csift("export", "adapter-1", *arguments, cwd=tmp_path))


# --- Bedrock --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def at_server(server: BedrockServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[BedrockServer]:
    """The server, which tasks of this process ask."""
    monkeypatch.setenv("CSIFT_AWS_ENDPOINT_URL", server.url)
    settings.cache_clear()
    yield server
    monkeypatch.undo()
    settings.cache_clear()


def test_bedrock_imports_the_merged_model_once(adapter: Adapter, config: LoopConfig, at_server: BedrockServer, s3: Any) -> None:
    arn = imported(config, adapter.id, "s3://training/models/", ROLE, no_progress)
    (made,) = at_server.imports.values()
    assert arn == made.model_arn
    uri = f"s3://training/models/{adapter.id}/"
    assert made.params["modelDataSource"] == {"s3DataSource": {"s3Uri": uri}}
    assert made.params["importedModelTags"] == [{"key": "csift-project", "value": PROJECT}]

    def written() -> list[Any]:
        return [
            entry["LastModified"] for entry in s3.list_objects_v2(Bucket="training", Prefix=f"models/{adapter.id}")["Contents"]
        ]

    before = written()
    assert imported(config, adapter.id, "s3://training/models", ROLE, no_progress) == arn
    assert at_server.count("CreateModelImportJob") == 1 and written() == before


@pytest.mark.parametrize(
    ("place", "role", "error", "says"),
    [
        ("training/x", ROLE, ConfigError, "`model_uri` = 'training/x/adapter-"),
        ("s3://training/x", "csift", ConfigError, "`role_arn` = 'csift' is impossible"),
        ("s3://no-such-bucket/x", ROLE, StorageError, "no-such-bucket"),
    ],
)
def test_places_and_roles_that_bedrock_does_not_take_are_told(
    adapter: Adapter, config: LoopConfig, at_server: BedrockServer, place: str, role: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        imported(config, adapter.id, place, role, no_progress)


def test_only_kinds_that_bedrock_imports_are_uploaded() -> None:
    require_importable("llama")
    with pytest.raises(ConfigError, match=r"Bedrock imports no gemma3 models, only llama, .*--merged"):
        require_importable("gemma3")


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
