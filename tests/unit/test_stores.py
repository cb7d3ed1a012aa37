"""What stores do when disks fill, workers are killed, and S3 answers as it does on bad days."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from penstock.errors import PenstockError, Rejected, SpecError, Transient
from penstock.stores import open_store
from penstock.stores.local import LocalStore
from penstock.stores.s3 import S3Store, _s3_explained
from penstock.testing.processes import killed

# ---- which store a url means


@pytest.mark.parametrize(
    "url", ["data", "./data", "file://data", "{absolute}", "file://{absolute}"]
)
def test_a_url_without_a_scheme_is_a_folder_beside_the_pipeline_file(
    tmp_path: Path, url: str
) -> None:
    store = open_store(url.replace("{absolute}", str(tmp_path / "data")), {}, tmp_path)
    store.create("a", b"1")
    assert (tmp_path / "data" / "a").read_bytes() == b"1"


@pytest.mark.parametrize("url", ["gs://bucket/x", "https://example.org", "s3://", "s3:///x"])
def test_a_url_of_another_kind_is_an_error_of_the_file(tmp_path: Path, url: str) -> None:
    with pytest.raises(SpecError) as raised:
        open_store(url, {}, tmp_path)
    assert "s3://bucket/prefix" in raised.value.fix


def test_an_unknown_option_is_an_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="regoin"):
        open_store("s3://bucket/x", {"regoin": "eu-central-1"}, tmp_path)


# ---- the local folder


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore.at(tmp_path / "data")


def test_bytes_are_synced_before_their_name_appears_and_the_name_after(
    local: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name whose bytes a power cut took would stand in the way for ever."""
    target = tmp_path / "data" / "raw" / "link.json"
    real, synced = os.fsync, []

    def fsync(descriptor: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), target.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    local.create("raw/link.json", b"1")
    files = [(path, there) for path, there in synced if Path(path).parent.name == ".unfinished"]
    assert [there for _, there in files] == [False]
    assert (str(tmp_path / "data"), False) in synced, "the new folder raw is durable"
    assert synced[-1] == (str(target.parent), True), "the name is durable on return"
    synced.clear()
    assert not local.create("raw/link.json", b"2")
    assert synced[-1] == (str(target.parent), True), "who loses builds on a name that stays"
    synced.clear()
    target = tmp_path / "data" / "raw" / "part.parquet"
    (tmp_path / "part").write_bytes(b"rows")
    local.adopt(tmp_path / "part", "raw/part.parquet")
    assert synced == [(str(tmp_path / "part"), False), (str(target.parent), True)]


def _die_before_the_name_appears(tell: Callable[[object], None], root: Path) -> None:
    def link(source: Path, target: Path) -> None:
        tell(source.read_bytes())

    os.link = link  # type: ignore[assignment]
    LocalStore.at(root).create("raw/link.json", b"half done")


def test_a_killed_create_leaves_nothing_that_is_seen(tmp_path: Path) -> None:
    assert killed(_die_before_the_name_appears, tmp_path / "data") == b"half done"
    store = LocalStore.at(tmp_path / "data")
    assert len(list((tmp_path / "data" / ".unfinished").iterdir())) == 1
    assert list(store.list("")) == []
    assert list(store.list(".")) == []
    assert store.read("raw/link.json") is None
    assert store.create("raw/link.json", b"done")


def test_leftovers_are_swept_after_a_day(tmp_path: Path) -> None:
    LocalStore.at(tmp_path)
    old, new = tmp_path / ".unfinished" / "old", tmp_path / ".unfinished" / "new"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (1_600_000_000, 1_600_000_000))
    LocalStore.at(tmp_path)
    assert list((tmp_path / ".unfinished").iterdir()) == [new]


def test_no_object_lies_among_the_unfinished(local: LocalStore) -> None:
    with pytest.raises(Rejected):
        local.create(".unfinished/x", b"1")
    assert local.create("a/.unfinished/x", b"1")
    assert [found.key for found in local.list("")] == ["a/.unfinished/x"]


def test_a_file_of_another_filesystem_is_copied_and_moved(
    local: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(source).parent == tmp_path:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    (tmp_path / "part").write_bytes(b"rows")
    local.adopt(tmp_path / "part", "raw/part")
    assert local.read("raw/part") == b"rows"
    assert not (tmp_path / "part").exists()
    assert list((tmp_path / "data" / ".unfinished").iterdir()) == []


def test_a_folder_that_gc_removes_meanwhile_is_made_again(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, raced = os.link, []

    def link(source: Path, target: Path) -> None:
        if not raced:
            raced.append(target)
            target.parent.rmdir()
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    assert local.create("raw/run/link.json", b"1")
    assert raced
    assert local.read("raw/run/link.json") == b"1"


def test_deleting_the_last_object_removes_its_folders(local: LocalStore, tmp_path: Path) -> None:
    local.create("raw/shop/run/1", b"1")
    local.create("raw/shop/other", b"1")
    local.delete(["raw/shop/run/1"])
    assert not (tmp_path / "data/raw/shop/run").exists()
    assert (tmp_path / "data/raw/shop").exists()
    local.delete(["raw/shop/other"])
    assert (tmp_path / "data").exists()
    assert not (tmp_path / "data/raw").exists()


def test_a_full_disk_is_transient_and_says_where_and_how_much(
    local: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "part").write_bytes(b"rows")
    for write in (
        lambda: local.create("raw/link.json", b"1"),
        lambda: local.adopt(tmp_path / "part", "raw/part"),
    ):
        with pytest.raises(Transient, match="the disk is full") as raised:
            write()
        assert str(tmp_path / "data" / "raw") in raised.value.where
        assert "MiB are free" in raised.value.why
        assert "penstock gc" in raised.value.fix
    assert (tmp_path / "part").exists(), "nothing was half done"
    assert list(local.list("")) == []
    assert list((tmp_path / "data" / ".unfinished").iterdir()) == []


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Rights count in here, for root too."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_without_rights_is_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    local = LocalStore.at(root)
    local.create("raw/link.json", b"1")
    for folder in (root, root / ".unfinished", root / "raw"):
        folder.chmod(0o555 if folder != root / "raw" else 0o000)
    try:
        with nobody():
            for act in (
                lambda: local.create("new/link.json", b"1"),
                lambda: local.read("raw/link.json"),
                lambda: list(local.list("raw/")),
                lambda: local.delete(["raw/link.json"]),
                lambda: LocalStore.at(root / "deeper"),
            ):
                with pytest.raises(PenstockError, match="may not write or read") as raised:
                    act()
                assert not isinstance(raised.value, Transient)
                assert str(root) in raised.value.where
                assert raised.value.why
                assert "storage.url" in raised.value.fix
    finally:
        for folder in (root, root / ".unfinished", root / "raw"):
            folder.chmod(0o755)


def test_a_name_in_the_way_is_told(local: LocalStore) -> None:
    local.create("raw", b"1")
    with pytest.raises(PenstockError, match="cannot be stored under this name"):
        local.create("raw/link.json", b"1")


def test_a_vanished_file_is_transient(local: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(Transient):
        local.adopt(tmp_path / "never", "raw/part")


# ---- S3, and its bad days


class Bucket(BaseHTTPRequestHandler):
    """A bucket that keeps objects, and does to each request what `faults` says next.

    Shape: a fault is None, "drop" (the request was not carried out), "lose" (it was, and the reply
    was lost), or (status, error code) instead of carrying it out; a later create may win in
    between with ("other", body).
    """

    protocol_version = "HTTP/1.1"
    server: Server

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        fault = self._fault()
        if isinstance(fault, tuple) and fault[0] == "other":
            self.server.objects[self.path] = fault[1].encode()
        elif fault == "drop" or isinstance(fault, tuple):
            self._answer_fault(fault)
            return
        if self.headers["If-None-Match"] == "*" and self.path in self.server.objects:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        self.server.objects[self.path] = body
        if fault == "lose":
            self.close_connection = True
            return
        self._answer(200, b"")

    def do_GET(self) -> None:
        fault = self._fault()
        if fault is not None:
            self._answer_fault(fault)
        elif self.path in self.server.objects:
            self._answer(200, self.server.objects[self.path])
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _fault(self) -> object:
        self.server.requests.append(self.command)
        return self.server.faults.pop(0) if self.server.faults else None

    def _answer_fault(self, fault: object) -> None:
        if isinstance(fault, tuple):
            self._answer(fault[0], f"<Error><Code>{fault[1]}</Code></Error>".encode())
        else:
            self.close_connection = True

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 06:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """The test's output stays clean."""


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Bucket)
        self.objects: dict[str, bytes] = {}
        self.faults: list[object] = []
        self.requests: list[str] = []
        self.pauses: list[float] = []

    def store(self, retries: int = 0) -> S3Store:
        options = {
            "endpoint": f"http://127.0.0.1:{self.server_port}",
            "region": "us-east-1",
            "access_key_id": "test",
            "secret_access_key": "test",
        }
        return S3Store("shop", "p", options, retries, self.pauses.append)

    def stored(self, key: str) -> bytes | None:
        return self.objects.get(f"/shop/p/{key}")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


CONFLICT = (409, "ConditionalRequestConflict")


def test_a_conflicting_create_is_tried_again(server: Server) -> None:
    """409: another create is under way, and may still fail."""
    server.faults = [CONFLICT, None, CONFLICT, None]
    assert server.store().create("link", b"ours")
    assert server.stored("link") == b"ours"
    assert server.requests == ["PUT", "GET", "PUT", "GET", "PUT"]
    assert len(server.pauses) == 2
    assert 0 < server.pauses[0] <= 0.2 < server.pauses[1] <= 0.4


def test_a_conflict_that_the_other_wins_is_lost(server: Server) -> None:
    server.faults = [CONFLICT, None, ("other", "theirs")]
    assert not server.store().create("link", b"ours")
    assert server.stored("link") == b"theirs"


def test_an_equal_body_of_another_is_no_win_when_no_reply_was_lost(server: Server) -> None:
    server.faults = [CONFLICT, None, ("other", "ours")]
    assert not server.store().create("link", b"ours")


@pytest.mark.parametrize("fault", ["drop", (500, "InternalError"), (503, "SlowDown")])
def test_a_create_that_failed_is_tried_again(server: Server, fault: object) -> None:
    server.faults = [fault, fault]
    assert server.store().create("link", b"ours")
    assert server.stored("link") == b"ours"
    assert server.requests == ["PUT", "PUT", "PUT"]


def test_a_create_whose_reply_was_lost_is_ours(server: Server) -> None:
    server.faults = ["lose"]
    assert server.store().create("link", b"ours")
    assert server.stored("link") == b"ours"


def test_a_create_whose_failed_try_another_overtook_is_lost(server: Server) -> None:
    """What is stored is read, never one's own rows sent."""
    server.faults = ["drop", ("other", "theirs")]
    assert not server.store().create("link", b"ours")
    assert server.stored("link") == b"theirs"


def test_a_create_that_never_gets_a_reply_is_transient(server: Server) -> None:
    server.faults = ["drop"] * 50
    with pytest.raises(Transient, match="did not say whether") as raised:
        server.store().create("link", b"ours")
    assert raised.value.where == "s3://shop/p/link"
    assert raised.value.why
    assert "\n" not in raised.value.why
    assert server.requests == ["PUT"] * 6


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ((403, "AccessDenied"), "refuses access to bucket 'shop'"),
        ((404, "NoSuchBucket"), "no bucket 'shop'"),
        ((301, "PermanentRedirect"), "another region"),
        ((400, "ExpiredToken"), "no longer valid"),
    ],
)
def test_what_only_a_person_can_mend_says_how(
    server: Server, tmp_path: Path, fault: object, what: str
) -> None:
    (tmp_path / "part").write_bytes(b"rows")
    for act in (
        lambda store: store.create("link", b"1"),
        lambda store: store.adopt(tmp_path / "part", "part"),
        lambda store: store.read("link"),
        lambda store: store.fetch("link", tmp_path),
        lambda store: list(store.list("")),
    ):
        server.faults = [fault]
        with pytest.raises(PenstockError) as raised:
            act(server.store())
        assert what in raised.value.what
        assert not isinstance(raised.value, (Transient, Rejected))
        assert raised.value.where.startswith("s3://shop/p")
        assert raised.value.why
        assert raised.value.fix


def test_missing_credentials_are_told_from_refused_ones() -> None:
    """obstore asks the machine's own address for a role when no keys are given."""
    error = OSError(
        "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 1 ms - "
        "Server returned non-2xx status code: 403 Forbidden\n\nDebug source:\nGeneric {"
    )
    explained = _s3_explained(error, "s3://shop/p/link")
    assert "no credentials" in explained.what
    assert "AWS_ACCESS_KEY_ID" in explained.fix
    assert "\n" not in explained.why


def test_a_dropped_connection_is_transient(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"rows")
    for act in (
        lambda store: store.read("link"),
        lambda store: store.fetch("link", tmp_path),
        lambda store: list(store.list("")),
        lambda store: store.adopt(tmp_path / "part", "part"),
    ):
        server.faults = ["drop"]
        with pytest.raises(Transient, match="S3 did not answer"):
            act(server.store())
    assert [path.name for path in tmp_path.iterdir()] == ["part"], "the file waits for its retry"


def test_a_read_is_tried_again(server: Server) -> None:
    server.objects["/shop/p/link"] = b"1"
    server.faults = [(503, "SlowDown")]
    assert server.store(retries=1).read("link") == b"1"


def test_an_upload_is_tried_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"rows")
    server.faults = [(503, "SlowDown")]
    server.store(retries=1).adopt(tmp_path / "part", "part")
    assert server.stored("part") == b"rows"
    assert not (tmp_path / "part").exists()


def test_a_full_disk_below_a_download_is_transient(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.objects["/shop/p/part"] = b"rows"

    def replace(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(Transient, match="the disk is full"):
        server.store().fetch("part", tmp_path)
    assert list(tmp_path.iterdir()) == []
