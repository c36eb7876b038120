"""The project's TOML: what is refused and how the message names it; paths; the shipped files."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from csift.config import LoopConfig, Section, absolute, load_config
from csift.exceptions import ConfigError

EXAMPLES = Path(__file__).parent.parent / "examples"
GOOD = """
project = "demo"
[corpus]
sources = [{ location = "docs" }]
questions = ["q1.jsonl", "more/q2.jsonl"]
[drift]
reference = "old.jsonl"
current = "/elsewhere/new.jsonl"
"""


def written(folder: Path, text: str) -> Path:
    """A configuration file."""
    path = folder / "project.toml"
    path.write_text(text)
    return path


def test_relative_paths_are_taken_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    written(tmp_path / "deep", GOOD)
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("deep/project.toml"))
    base = tmp_path / "deep"
    assert config.corpus.sources[0].location == str(base / "docs")
    assert config.corpus.questions == (base / "q1.jsonl", base / "more" / "q2.jsonl")
    assert (config.drift.reference, config.drift.current) == (base / "old.jsonl", Path("/elsewhere/new.jsonl"))
    # Made absolute once, they stay.
    assert absolute(config, Path("/other")) == config


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    config = load_config(written(tmp_path, GOOD.replace('"docs"', '"~/docs"').replace('"q1.jsonl"', '"~/q1.jsonl"')))
    assert config.corpus.sources[0].location == "/home/ada/docs"
    assert config.corpus.questions[0] == Path("/home/ada/q1.jsonl")


def test_a_bucket_is_not_taken_from_the_file(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD.replace('"docs"', '"s3://bucket/docs"')))
    assert config.corpus.sources[0].location == "s3://bucket/docs"


BAD = {
    "unknown key": (GOOD + "[gate]\nresample = 3\n", "unknown key `gate.resample`"),
    "unknown section": (GOOD + "[gates]\n", "unknown key `gates`"),
    "missing section": (
        GOOD.replace("[drift]", "[gate]").replace("reference", "#").replace("current", "#"),
        "`drift` is missing",
    ),
    "missing key": (GOOD.replace("reference", "#"), "`drift.reference` is missing"),
    "too many": (GOOD + "[retrieval]\nk = 21\n", "`retrieval.k` = 21 is impossible"),
    "wrong kind": (GOOD + '[training]\nmax_steps = "many"\n', "`training.max_steps` = 'many' is impossible"),
    "no such judge": (GOOD + '[judge]\nname = "oracle"\n', "`judge.name` = 'oracle' is impossible"),
    "a share of all": (GOOD + "[gate]\nconfidence = 1.0\n", "`gate.confidence` = 1.0 is impossible"),
    "name": (GOOD.replace('"demo"', '"Demo Project"'), "`project` = 'Demo Project' is impossible"),
    "no source": (GOOD.replace('{ location = "docs" }', ""), "`corpus.sources` = [] is impossible"),
    "two of a name": (GOOD.replace('"docs" }', '"docs" }, { location = "more" }'), "two sources have the same name"),
    "questions": (GOOD.replace('"q1.jsonl"', "7"), "`corpus.questions.0` = 7 is impossible"),
    "overlap": (GOOD.replace("[drift]", "chunk_size = 200\nchunk_overlap = 101\n[drift]"), "chunk_overlap must be at most half"),
    "shares": (GOOD.replace("[drift]", "eval_share = 0.6\ngolden_share = 0.4\n[drift]"), "leave no documents to train on"),
    "not TOML": ("project = demo", "is not a TOML file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_names_itself_and_the_key(case: str, tmp_path: Path) -> None:
    text, words = BAD[case]
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration at .*absent\.toml; name one with --config"):
        load_config(tmp_path / "absent.toml")


@pytest.mark.parametrize("content", [b"\xff\xfe", None], ids=["not UTF-8", "a folder"])
def test_what_is_no_text_is_no_toml(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "project.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"project\.toml is not a TOML file"):
        load_config(path)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_configuration_loads_and_leads_to_its_files(path: Path) -> None:
    config = load_config(path)
    assert all(Path(source.location).is_dir() for source in config.corpus.sources)
    assert all(file.is_file() for file in (*config.corpus.questions, config.drift.reference, config.drift.current))


def test_a_configuration_survives_the_trip_through_the_form(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert LoopConfig.model_validate(config.model_dump(mode="json")) == config
    with pytest.raises(ValidationError):
        LoopConfig.model_validate({**config.model_dump(mode="json"), "surprise": 1})


def test_every_field_of_the_form_is_explained() -> None:
    sections = [field.annotation for field in LoopConfig.model_fields.values()]
    fields = [
        (section.__name__, name, field)
        for section in sections
        if isinstance(section, type) and issubclass(section, Section)
        for name, field in section.model_fields.items()
    ]
    assert [(section, name) for section, name, field in fields if not field.description] == []
