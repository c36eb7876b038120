"""`csift export`: an adapter merged into its base, as a folder or as a model of Bedrock's."""

import json
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from csift import registry
from csift.bedrock.imports import ModelImport, import_model, require_importable
from csift.config import LoopConfig, explain
from csift.db import database
from csift.exceptions import ConfigError, GateError
from csift.interfaces import Progress
from csift.merging import licence, write_merged
from csift.reports.model_card import model_card
from csift.schemas import Adapter, CorpusSnapshot, DatasetVersion
from csift.settings import settings
from csift.storage import open_store
from tasks.bedrock import bedrock
from tasks.collaborators import exact_base, store


def write(config: LoopConfig, adapter_id: str, target: Path) -> int:
    """Writes the merged model into a new folder; returns its bytes.

    Raises:
        GateError: there is no such adapter of the project.
        ModelError: its base is not on this machine, or is another revision.
        StorageError: its weights were collected, or the folder cannot be written.
    """
    adapter, snapshot, dataset = _lineage(config, adapter_id)
    folder = registry.adapter_folder(database(), store(), adapter.id)
    base = exact_base(adapter.base_model, adapter.base_revision, adapter.id)
    decisions = registry.decisions_on(database(), adapter.id)
    return write_merged(base, folder, model_card(adapter, dataset, snapshot, decisions, licence(base), version("csift")), target)


def imported(config: LoopConfig, adapter_id: str, place: str, role_arn: str, report: Progress) -> str:
    """The ARN of the model that Bedrock makes of the merged weights, which are uploaded below `place` (s3://bucket/prefix) once.

    Raises:
        ConfigError: Bedrock imports no models of this kind, or nothing from there, or takes no such role.
        TrainingError: Bedrock refuses, or the import failed.
        CsiftError: as `write`.
    """
    adapter, *_ = _lineage(config, adapter_id)
    uri = f"{place.rstrip('/')}/{adapter.id}/"
    try:
        asked = ModelImport(project=config.project, adapter_id=adapter.id, model_uri=uri, role_arn=role_arn)
    except ValidationError as error:
        raise ConfigError(explain(error)) from None
    base = exact_base(adapter.base_model, adapter.base_revision, adapter.id)
    require_importable(str(json.loads((base.path / "config.json").read_text()).get("model_type")))
    s3 = open_store(place.rstrip("/"), settings().root / "cache")
    if not s3.has_artifact(adapter.id):
        with tempfile.TemporaryDirectory(prefix="csift-export-") as folder:
            report("merge", 0, 1)
            write(config, adapter.id, Path(folder) / "model")
            report("merge", 1, 1)
            report("upload", 0, 1, uri)
            s3.publish(adapter.id, Path(folder) / "model", {"adapter_id": adapter.id})
            report("upload", 1, 1)
    return import_model(bedrock(), asked, time.sleep, report)


def _lineage(config: LoopConfig, adapter_id: str) -> tuple[Adapter, CorpusSnapshot, DatasetVersion]:
    db = database()
    adapter = registry.load(db, Adapter, adapter_id)
    dataset = registry.load(db, DatasetVersion, adapter.dataset_id)
    snapshot = registry.load(db, CorpusSnapshot, dataset.snapshot_id)
    if snapshot.corpus != config.project:
        raise GateError(f"{adapter_id} is of project {snapshot.corpus}, not of {config.project}")
    return adapter, snapshot, dataset
