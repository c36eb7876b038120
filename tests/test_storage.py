"""Artifacts are whole or not there, in a folder and in S3, also when the disk is full."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import private_disk, run
from hypothesis import given
from hypothesis import strategies as st
from stores import KEY, NAMES, bucket_keys, empty_s3, fill, remove_object, serving_s3

from csift.exceptions import StorageError
from csift.hashing import sha256
from csift.interfaces import ObjectStore
from csift.storage import MANIFEST, LocalStore, S3Store, open_store


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    """An empty store in a folder."""
    return LocalStore(tmp_path / "store")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """boto3's, of a server that speaks S3."""
    with serving_s3() as made:
        yield made


@pytest.fixture
def s3(tmp_path: Path, client: Any, request: pytest.FixtureRequest) -> S3Store:
    """An empty store in S3."""
    return empty_s3(client, request.node.nodeid, tmp_path / "cache")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder to be published."""
    return fill(tmp_path / "made")


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """An empty store of either kind."""
    chosen: ObjectStore = request.getfixturevalue(request.param)
    return chosen


def files(client: Any, store: ObjectStore) -> list[str]:
    """The keys of all objects."""
    if isinstance(store, LocalStore):
        return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())
    return bucket_keys(client, store)


def remove(client: Any, store: ObjectStore, key: str) -> None:
    """Takes one object away."""
    if isinstance(store, LocalStore):
        (store.root / key).unlink()
    else:
        remove_object(client, store, key)


# --- both -----------------------------------------------------------------------------------------------------------------


def test_an_object_is_read_as_it_was_written(store: ObjectStore, client: Any) -> None:
    assert store.put("reports/run.html", b"<html>") == store.uri("reports/run.html") == f"{store.url}/reports/run.html"
    assert store.get("reports/run.html") == b"<html>"
    assert store.has("reports/run.html")
    store.put("reports/run.html", b"again")
    assert store.get("reports/run.html") == b"again"
    assert files(client, store) == ["reports/run.html"]


def test_all_objects_are_listed_with_their_sizes_and_one_is_removed(store: ObjectStore, made: Path, client: Any) -> None:
    store.put("reports/run.html", b"<html>")
    store.publish(KEY, made, {})
    listed = {one.key: one.size for one in store.objects()}
    assert list(listed) == files(client, store)
    assert listed["reports/run.html"] == 6
    assert {one.key for one in store.objects("adapters")} == {f"{KEY}/{name}" for name in [*NAMES, MANIFEST]}
    assert store.objects("nothing") == []
    for _ in range(2):
        store.remove("reports/run.html")
    assert not store.has("reports/run.html")
    assert store.has_artifact(KEY)


def test_an_object_that_is_not_there_is_named(store: ObjectStore) -> None:
    store.put("absent-not", b"")
    with pytest.raises(StorageError, match=r"^cannot read .*/absent: [Nn]o such .*; restore it or run again$"):
        store.get("absent")
    assert not store.has("absent")
    assert not store.has("absent-not/below")


def test_another_process_opens_the_same_store_by_its_url(store: ObjectStore, tmp_path: Path) -> None:
    store.put("a", b"1")
    again = open_store(store.url, tmp_path / "cache")
    assert (type(again), again.url, again.get("a")) == (type(store), store.url, b"1")


def test_an_artifact_is_published_with_its_facts_and_its_sub_folders(store: ObjectStore, made: Path, client: Any) -> None:
    uri = store.publish(KEY, made, {"base": "m", "steps": 60})
    assert uri == store.uri(KEY)
    assert store.has_artifact(KEY)
    manifest = store.manifest(KEY)
    assert (manifest["base"], manifest["steps"], sorted(manifest["files"])) == ("m", 60, NAMES)
    folder = store.open_artifact(KEY)
    for name in NAMES:
        assert (folder / name).read_bytes() == (made / name).read_bytes()
    assert files(client, store) == [f"{KEY}/{name}" for name in sorted([*NAMES, MANIFEST])]


def test_a_half_written_artifact_is_none(store: ObjectStore, made: Path) -> None:
    store.put(f"{KEY}/a.txt", b"first")
    assert not store.has_artifact(KEY)
    assert store.artifacts() == []
    with pytest.raises(StorageError, match=rf"cannot read .*{MANIFEST}"):
        store.open_artifact(KEY)
    store.publish(KEY, made, {})
    assert store.has_artifact(KEY)


@pytest.mark.parametrize("kind", ["altered", "shortened", "missing"])
def test_an_altered_artifact_is_refused(kind: str, store: ObjectStore, made: Path, client: Any) -> None:
    store.publish(KEY, made, {})
    weights = store.get(f"{KEY}/weights.bin")
    if kind == "missing":
        remove(client, store, f"{KEY}/weights.bin")
    else:
        store.put(f"{KEY}/weights.bin", b"\xff" + weights[1:] if kind == "altered" else weights[:-1])
    with pytest.raises(StorageError, match=r"weights\.bin.*run again"):
        store.open_artifact(KEY)


DAMAGED = ["", "{", "[]", "{}", '{"files": 3}', '{"files": {"a.txt": 3}}', "\udcff"]
OUTSIDE = [json.dumps({"files": {name: sha256(b"outside")}}) for name in ("../outside", "/etc/passwd", "sub/../../../outside")]


@pytest.mark.parametrize("content", DAMAGED + OUTSIDE)
def test_a_damaged_manifest_is_refused(content: str, store: ObjectStore, made: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"outside")
    store.publish(KEY, made, {})
    store.put(f"{KEY}/{MANIFEST}", content.encode("utf-8", "surrogateescape"))
    with pytest.raises(StorageError, match=r"the manifest of .*adapter-1 is damaged; remove the folder and run again"):
        store.open_artifact(KEY)


@pytest.mark.parametrize("key", ["", "/etc/x", "../x", "a/../../x", "a//b", "a/", "./a", "a\\..\\b", "a\nb"])
def test_a_key_stays_below_the_store(key: str, store: ObjectStore, made: Path, client: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.uri(key),
        lambda: store.put(key, b""),
        lambda: store.get(key),
        lambda: store.has(key),
        lambda: store.publish(key, made, {}),
        lambda: store.open_artifact(key),
        lambda: store.has_artifact(key),
        lambda: store.artifacts(key or ".."),
        lambda: store.discard(key),
    ]
    for call in calls:
        with pytest.raises(StorageError, match="is no key of an object"):
            call()
    assert files(client, store) == []


@given(st.lists(st.sampled_from(["..", ".", "", "a", "..b", "ü x", "\\", "C:"]), min_size=1).map("/".join))
def test_no_key_leads_out(key: str) -> None:
    try:
        path = LocalStore(Path("/data/store")).uri(key)
    except StorageError:
        return
    assert os.path.normpath(path) == path
    assert path.startswith("/data/store/")


def test_an_artifact_published_from_a_published_one_is_whole(store: ObjectStore, made: Path) -> None:
    store.publish(KEY, made, {"n": 1})
    store.publish("adapters/copy", store.open_artifact(KEY), {"n": 2})
    assert store.manifest("adapters/copy")["n"] == 2
    assert (store.open_artifact("adapters/copy") / "a.txt").read_bytes() == b"first"


def test_what_cannot_be_published_whole_is_refused(store: ObjectStore, made: Path, tmp_path: Path, client: Any) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*none: No such file or directory"):
        store.publish(KEY, tmp_path / "none", {})
    (made / "sub" / "link").symlink_to(tmp_path)
    with pytest.raises(StorageError, match=r"sub/link is a link to a folder; put its files there"):
        store.publish(KEY, made, {})
    (made / "sub" / "link").unlink()
    (made / "sub" / MANIFEST).write_text("{}")
    with pytest.raises(StorageError, match=r"an artifact inside another; publish that folder by itself"):
        store.publish(KEY, made, {})
    assert files(client, store) == []


def test_whole_artifacts_below_a_prefix_are_listed(store: ObjectStore, made: Path) -> None:
    assert store.artifacts("adapters") == []
    for key in ("adapters/b", "adapters/a", "adapters/deeper/down/c", "adapters-old/d", "data"):
        store.publish(key, made, {})
    store.put("adapters/half/a.txt", b"")
    store.put("reports/x.html", b"")
    assert store.artifacts("adapters") == ["adapters/a", "adapters/b", "adapters/deeper/down/c"]
    assert store.artifacts("adapters/deeper") == ["adapters/deeper/down/c"]
    assert store.artifacts() == ["adapters-old/d", "adapters/a", "adapters/b", "adapters/deeper/down/c", "data"]
    assert store.artifacts("data") == store.artifacts("reports/x.html") == store.artifacts("none") == []


def test_what_is_discarded_is_gone(store: ObjectStore, made: Path, client: Any) -> None:
    store.publish(KEY, made, {})
    store.open_artifact(KEY)
    store.put(f"{KEY}0", b"stays")
    store.discard(KEY)
    assert not store.has_artifact(KEY)
    with pytest.raises(StorageError, match="cannot read"):
        store.open_artifact(KEY)
    assert files(client, store) == [f"{KEY}0"]
    store.discard(KEY)


def test_a_manifest_is_json_that_people_can_read(store: ObjectStore, made: Path) -> None:
    store.publish(KEY, made, {"b": 1, "a": 2})
    text = store.get(f"{KEY}/{MANIFEST}").decode()
    assert list(json.loads(text)) == ["a", "b", "files"]
    assert text.count("\n") > 3


# --- a folder: no room ----------------------------------------------------------------------------------------------------

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


def test_publishing_again_is_not_whole_until_it_is_done(local: LocalStore, made: Path) -> None:
    local.publish(KEY, made, {})
    (made / "a.txt").write_bytes(b"second")
    (local.root / KEY / "weights.bin").unlink()
    (local.root / KEY / "weights.bin").mkdir()  # the last file cannot be written
    with pytest.raises(StorageError, match=r"cannot write .*weights\.bin"):
        local.publish(KEY, made, {})
    assert not local.has_artifact(KEY)


def test_no_room_is_one_line_and_leaves_nothing_that_looks_whole(local: LocalStore, made: Path) -> None:
    (made / "weights.bin").write_bytes(b"w" * LARGE)
    ended = run([sys.executable, "-c", PUBLISH, str(local.root), str(made), KEY, str(LARGE // 2)])
    assert ended.returncode == 0, ended.stderr
    message, after = ended.stdout.splitlines()
    assert message == (f"cannot write {local.root / KEY / 'weights.bin'}: File too large; free some space or set CSIFT_DATA_DIR")
    assert after == "False ['a.txt', 'sub']"
    # With room again, the same call finishes.
    local.publish(KEY, made, {})
    assert (local.open_artifact(KEY) / "weights.bin").stat().st_size == LARGE


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
    assert after == "False ['a.txt', 'sub']"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, made: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot write .*store.*; free some space or set CSIFT_DATA_DIR"):
        LocalStore(tmp_path / "store").publish(KEY, made, {})
