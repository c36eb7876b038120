"""`csift bedrock`: what still costs money is listed and deleted."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bedrock_stand_ins import ROLE, at_once, bedrock_over, connect, quote, s3_bucket, the_job
from test_cli import CSIFT, GOOD, one_line

from bench.bedrock_server import BedrockServer
from csift.bedrock import Provisioned, customize, provision

BEDROCK = f"""
[training.bedrock]
base_model = "amazon.nova-lite-v1:0:300k"
role_arn = "{ROLE}"
s3 = "s3://training/csift"
usd_per_unit_hour = 20.5
"""

Csift = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., Provisioned]


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_bucket() as client:
        yield client


@pytest.fixture
def server(s3: Any) -> Iterator[BedrockServer]:
    with bedrock_over(s3, polls=0, max_units=9) as started:
        yield started


@pytest.fixture
def csift(tmp_path: Path, server: BedrockServer) -> Csift:
    """Runs the command in a project `shop`."""
    (tmp_path / "csift.toml").write_text(GOOD + BEDROCK)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "CSIFT_AWS_ENDPOINT_URL": server.url, "COLUMNS": "200"}
        return subprocess.run([*CSIFT, "bedrock", *arguments], cwd=tmp_path, env=env, capture_output=True, text=True)

    return run


@pytest.fixture
def make(server: BedrockServer, s3: Any) -> Make:
    """Makes a throughput as a run does."""

    def throughput(units: int, commitment: Any = None, project: str = "shop") -> Provisioned:
        model = customize(connect(server), the_job(s3, name=project), at_once)
        return provision(connect(server), quote(model, units, commitment, 20.5), at_once)

    return throughput


def test_orphans_are_listed_with_price_and_age(csift: Csift, make: Make) -> None:
    assert csift("orphans").stdout == "shop has no provisioned throughput.\n"
    left, others = make(2), make(1, project="another")
    listed = csift("orphans")
    (row,) = [line for line in listed.stdout.splitlines() if "provisioned-model" in line]
    assert row.split() == [left.arn, "InService", "2", "41.00", "0.0", "none"]
    assert others.arn not in listed.stdout


@pytest.mark.parametrize("by", ["arn", "name"])
def test_one_is_released(csift: Csift, make: Make, server: BedrockServer, by: str) -> None:
    left, other = make(1), make(2)
    assert csift("release", getattr(left, by)).stdout == f"deleted {left.arn}\n"
    assert list(server.throughputs) == [other.arn]


def test_all_are_released_that_can_be(csift: Csift, make: Make, server: BedrockServer) -> None:
    left, kept, others = make(1), make(2, commitment="OneMonth"), make(1, project="another")
    assert csift("release", "--all").stdout == f"deleted {left.arn}\n"
    assert set(server.throughputs) == {kept.arn, others.arn}
    assert csift("release", "--all").stdout == "shop has no throughput to delete.\n"
    assert "is committed until 20" in one_line(csift("release", kept.arn))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name one throughput"),
        (("x", "--all"), "name one throughput"),
        (("arn:aws:bedrock:eu-west-1:123456789012:provisioned-model/x",), "shop has no throughput arn:aws"),
    ],
)
def test_what_cannot_be_released_is_told(csift: Csift, arguments: tuple[str, ...], words: str) -> None:
    assert words in one_line(csift("release", *arguments))
