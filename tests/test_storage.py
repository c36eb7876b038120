"""Artifacts are whole or not there, also when the disk is full."""

import json
import sys
from pathlib import Path

import pytest
from disks import private_disk, run

from csift.exceptions import StorageError
from csift.storage import MANIFEST, LocalStore

KEY = "adapters/adapter-1"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty store."""
    return LocalStore(tmp_path / "store")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder to be published."""
    folder = tmp_path / "made"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"first")
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 40)
    return folder


def files(store: LocalStore) -> list[str]:
    return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())


def test_an_object_is_read_as_it_was_written(store: LocalStore) -> None:
    path = store.put("reports/run.html", b"<html>")
    assert Path(path).read_bytes() == store.get("reports/run.html") == b"<html>"
    store.put("reports/run.html", b"again")
    assert store.get("reports/run.html") == b"again"
    assert files(store) == ["reports/run.html"]


def test_an_object_that_is_not_there_is_named(store: LocalStore) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*absent: No such file.*; restore it or run again"):
        store.get("absent")


def test_an_artifact_is_published_with_its_facts(store: LocalStore, made: Path) -> None:
    uri = store.publish(KEY, made, {"base": "m", "steps": 60})
    assert store.has_artifact(KEY)
    folder = store.open_artifact(KEY)
    assert str(folder) == uri
    assert (folder / "a.txt").read_bytes() == b"first"
    manifest = store.manifest(KEY)
    assert (manifest["base"], manifest["steps"], sorted(manifest["files"])) == ("m", 60, ["a.txt", "weights.bin"])


def test_a_half_written_artifact_is_none(store: LocalStore, made: Path) -> None:
    store.put(f"{KEY}/a.txt", b"first")
    assert not store.has_artifact(KEY)
    with pytest.raises(StorageError, match=rf"cannot read .*{MANIFEST}"):
        store.open_artifact(KEY)
    store.publish(KEY, made, {})
    assert store.has_artifact(KEY)


@pytest.mark.parametrize("kind", ["altered", "shortened", "missing"])
def test_an_altered_artifact_is_refused(kind: str, store: LocalStore, made: Path) -> None:
    weights = Path(store.publish(KEY, made, {})) / "weights.bin"
    content = weights.read_bytes()
    if kind == "missing":
        weights.unlink()
    else:
        weights.write_bytes(b"\xff" + content[1:] if kind == "altered" else content[:-1])
    with pytest.raises(StorageError, match=r"weights\.bin.*run again"):
        store.open_artifact(KEY)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"files": 3}', "\udcff"])
def test_a_damaged_manifest_is_refused(content: str, store: LocalStore, made: Path) -> None:
    (Path(store.publish(KEY, made, {})) / MANIFEST).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(StorageError, match=r"the manifest of .*adapter-1 is damaged; remove the folder and run again"):
        store.open_artifact(KEY)


def test_an_artifact_published_from_a_published_one_is_whole(store: LocalStore, made: Path) -> None:
    uri = store.publish(KEY, made, {"n": 1})
    store.publish("adapters/copy", Path(uri), {"n": 2})
    assert store.manifest("adapters/copy")["n"] == 2
    assert (store.open_artifact("adapters/copy") / "a.txt").read_bytes() == b"first"


def test_publishing_again_is_not_whole_until_it_is_done(store: LocalStore, made: Path) -> None:
    store.publish(KEY, made, {})
    (made / "a.txt").write_bytes(b"second")
    (store.root / KEY / "weights.bin").unlink()
    (store.root / KEY / "weights.bin").mkdir()  # the second file cannot be written
    with pytest.raises(StorageError, match=r"cannot write .*weights\.bin"):
        store.publish(KEY, made, {})
    assert not store.has_artifact(KEY)


def test_what_is_discarded_is_gone(store: LocalStore, made: Path) -> None:
    store.publish(KEY, made, {})
    store.discard(KEY)
    assert not store.has_artifact(KEY)
    assert files(store) == []
    store.discard(KEY)


# --- no room --------------------------------------------------------------------------------------------------------------

PUBLISH = """
import resource, sys
from pathlib import Path
from csift.exceptions import StorageError
from csift.storage import LocalStore
root, made, key, limit = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
store = LocalStore(root)
try:
    store.publish(key, made, {})
except StorageError as error:
    print(error)
print(store.has_artifact(key), sorted(path.name for path in (root / key).iterdir()))
"""
LARGE = 300_000


def test_no_room_is_one_line_and_leaves_nothing_that_looks_whole(store: LocalStore, made: Path) -> None:
    (made / "weights.bin").write_bytes(b"w" * LARGE)
    ended = run([sys.executable, "-c", PUBLISH, str(store.root), str(made), KEY, str(LARGE // 2)])
    assert ended.returncode == 0, ended.stderr
    message, after = ended.stdout.splitlines()
    assert message == (f"cannot write {store.root / KEY / 'weights.bin'}: File too large; free some space or set CSIFT_DATA_DIR")
    assert after == "False ['a.txt']"
    # With room again, the same call finishes.
    store.publish(KEY, made, {})
    assert (store.open_artifact(KEY) / "weights.bin").stat().st_size == LARGE


def test_a_full_disk_leaves_nothing_that_looks_whole(tmp_path: Path, made: Path) -> None:
    (made / "weights.bin").write_bytes(b"w" * LARGE)
    disk = tmp_path / "disk"
    disk.mkdir()
    on_disk = private_disk(disk, LARGE // 2)
    # Without the right to mount, the system's limit on a file's size stands in.
    command = [*(on_disk or []), sys.executable, "-c", PUBLISH, str(disk / "store"), str(made), KEY]
    ended = run([*command, "0" if on_disk else str(LARGE // 2)])
    assert ended.returncode == 0, ended.stderr
    message, after = ended.stdout.splitlines()
    assert "No space left on device; free some space" in message or not on_disk
    assert message.startswith(f"cannot write {disk / 'store' / KEY / 'weights.bin'}: ")
    assert after == "False ['a.txt']"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, made: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot write .*store.*; free some space or set CSIFT_DATA_DIR"):
        LocalStore(tmp_path / "store").publish(KEY, made, {})


def test_a_manifest_is_json_that_people_can_read(store: LocalStore, made: Path) -> None:
    text = (Path(store.publish(KEY, made, {"b": 1, "a": 2})) / MANIFEST).read_text()
    assert list(json.loads(text)) == ["a", "b", "files"]
    assert text.count("\n") > 3
