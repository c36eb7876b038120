"""The loop with its artifacts on S3 instead of in a folder."""

from pathlib import Path

import pytest
from pumps import configure, write_catalogue
from stores import bucket_keys, empty_s3, serving_s3

from csift import registry
from csift.db import Database
from csift.models import BaseModel
from csift.schemas import Adapter, CycleState
from csift.settings import settings
from flows.nightly import nightly

pytestmark = pytest.mark.slow


def test_a_cycle_keeps_all_that_it_makes_on_s3(
    db: Database, project: str, tiny_model: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_catalogue(tmp_path)
    config = configure(tmp_path, project, tiny_model.path)
    here = {path for path in settings().root.glob("artifacts/**/*") if path.is_file()}
    with serving_s3() as client:
        s3 = empty_s3(client, project, tmp_path / "cache")
        monkeypatch.setenv("CSIFT_STORE_URL", s3.url)
        settings.cache_clear()
        try:
            cycle = nightly(config, return_state=True).result()
        finally:
            monkeypatch.undo()
            settings.cache_clear()

        assert cycle.state is CycleState.COMPLETED
        made = next(stage.record_id for stage in cycle.stages if stage.stage == "train")
        artifact = registry.load(db, Adapter, made or "").artifact
        keys = bucket_keys(client, s3)
        assert cycle.report_uri == f"{s3.url}/reports/{cycle.id}.html"
        assert {f"{artifact}/adapter_model.safetensors", f"{artifact}/manifest.json", f"reports/{cycle.id}.html"} <= set(keys)
        assert not [key for key in keys if key.startswith("checkpoints/")]  # of use until the adapter is there
    assert {path for path in settings().root.glob("artifacts/**/*") if path.is_file()} == here
