# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Downloads from a server on this machine that breaks off, lies, changes its files and goes away."""

import gzip
import hashlib
import io
import json
import multiprocessing
import re
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from clipbert.datasets_scripts import find_loader, list_benchmarks, load_benchmark
from clipbert.datasets_scripts.building.docstrings import read_docstring
from clipbert.datasets_scripts.building.records import AnnotationError
from clipbert.datasets_scripts.fetching import downloading
from clipbert.datasets_scripts.fetching.benchmark import FetchError, default_folder, download_file, fetch_benchmark
from clipbert.datasets_scripts.fetching.sources import Source


CONTENT = bytes(range(256)) * 400  # 102,400 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Page:
    """A file of the server, and what goes wrong: one entry of `faults` for each request, then nothing."""

    content: bytes = CONTENT
    etag: str | None = '"first"'
    ranges: bool = True
    headers: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802
        page = self.server.pages.get(self.path)
        self.server.requests.append((self.path, self.headers.get("Range")))
        if page is None:
            return self.answer(404, {}, b"")
        fault = page.faults.pop(0) if page.faults else {}
        if callable(fault):
            fault = fault(page) or {}
        if "status" in fault:
            return self.answer(fault["status"], fault.get("headers", {}), b"")
        headers = {**({"ETag": page.etag} if page.etag else {}), **page.headers}
        body, status = page.content, 200
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if page.ranges and match and (condition is None or condition == page.etag):
            start = int(match.group(1))
            status, body = (206, page.content[start:]) if start < len(page.content) else (416, b"")
            shown = f"{start}-{len(page.content) - 1}" if status == 206 else "*"
            headers["Content-Range"] = f"bytes {shown}/{len(page.content)}"
        self.answer(status, headers, body, fault.get("cut"), fault.get("length"))

    def answer(self, status, headers, body, cut=None, length=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length != "untold":
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = cut is not None or length is not None

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.requests = {}, []

    def handle_error(self, request, client_address):
        """A client that hangs up early, as it does when it refuses an answer, is no news."""

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.requests]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def fetch(tmp_path):
    def fetch(urls, **options):
        options = {"attempts": 1, "backoff_s": 0.01, "timeout_s": 5.0, "progress": False, **options}
        return download_file(urls, tmp_path / "file.bin", **options)

    return fetch


def leftovers(folder) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != ".fetch.lock"}


# --------------------------------------------------------------------------------------------------------------------
# Breaking off
# --------------------------------------------------------------------------------------------------------------------


def test_a_whole_file_arrives_at_once_and_is_not_fetched_again(server, fetch, tmp_path):
    server.pages["/a"] = Page()
    assert fetch(server.url("/a"), sha256=SHA256, size=len(CONTENT)).read_bytes() == CONTENT
    assert fetch(server.url("/a"), sha256=SHA256) == tmp_path / "file.bin"
    assert server.ranges() == [None]
    assert leftovers(tmp_path) == {"file.bin"}


def test_a_second_run_asks_for_the_rest_only(server, fetch, tmp_path):
    server.pages["/a"] = Page(faults=[{"cut": 40_000}])
    with pytest.raises(FetchError, match=r"(?s)/a: .* after 40,000 bytes.*go on from the 40,000 bytes") as caught:
        fetch(server.url("/a"))
    assert str(tmp_path / "file.bin") in str(caught.value)
    assert leftovers(tmp_path) == {"file.bin.part", "file.bin.part.json"}  # nothing that is taken for the file
    assert fetch(server.url("/a")).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=40000-"]
    assert leftovers(tmp_path) == {"file.bin"}


def test_attempts_go_on_as_long_as_bytes_come(server, fetch):
    server.pages["/a"] = Page(faults=[{"cut": 10_000} for _ in range(10)])
    assert fetch(server.url("/a"), attempts=2, sha256=SHA256).read_bytes() == CONTENT
    assert server.ranges() == [None, *(f"bytes={done}-" for done in range(10_000, 110_000, 10_000))]


def test_a_server_that_always_breaks_at_the_same_byte_is_given_up(server, fetch):
    server.pages["/a"] = Page(ranges=False, faults=[{"cut": 10_000} for _ in range(10)])
    with pytest.raises(FetchError, match=r"3 attempts"):
        fetch(server.url("/a"), attempts=3)
    assert len(server.requests) == 3


def test_a_server_without_ranges_starts_from_zero(server, fetch):
    server.pages["/a"] = Page(ranges=False, faults=[{"cut": 40_000}])
    assert fetch(server.url("/a"), attempts=3).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=40000-"]


def test_parts_of_two_versions_are_never_glued(server, fetch):
    other = CONTENT[::-1]

    def change(page):
        page.content, page.etag = other, '"second"'

    server.pages["/a"] = Page(faults=[{"cut": 40_000}, change])
    assert fetch(server.url("/a"), attempts=3).read_bytes() == other
    assert server.ranges() == [None, "bytes=40000-"]


def test_a_changed_file_is_noticed_although_the_server_ignores_if_range(server, fetch):
    other = b"x" * len(CONTENT)

    def change(page):  # answers 206 with bytes of the new version
        page.content, page.etag = other, '"second"'

    server.pages["/a"] = Page(faults=[{"cut": 40_000}, change])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "do_GET", without_if_range(Handler.do_GET))
        assert fetch(server.url("/a"), attempts=3).read_bytes() == other
    assert server.ranges() == [None, "bytes=40000-", None]


def test_a_changed_date_is_noticed_too(server, fetch):
    other = b"x" * len(CONTENT)

    def change(page):
        page.content = other
        page.headers["Last-Modified"] = "Thu, 22 Oct 2015 07:28:00 GMT"

    dated = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server.pages["/a"] = Page(etag=None, headers=dated, faults=[{"cut": 40_000}, change])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "do_GET", without_if_range(Handler.do_GET))
        assert fetch(server.url("/a"), attempts=3).read_bytes() == other
    assert server.ranges() == [None, "bytes=40000-", None]


def without_if_range(handle):
    def do_get(self):
        del self.headers["If-Range"]
        handle(self)

    return do_get


def test_without_etag_or_checksum_the_download_starts_again(server, fetch):
    server.pages["/a"] = Page(etag=None, faults=[{"cut": 40_000}])
    assert fetch(server.url("/a"), attempts=3).read_bytes() == CONTENT
    assert server.ranges() == [None, None]


def test_with_a_checksum_it_is_resumed_without_etag_and_started_again_when_the_parts_do_not_fit(server, fetch):
    def change(page):
        page.content = CONTENT

    server.pages["/a"] = Page(content=b"y" * len(CONTENT), etag=None, faults=[{"cut": 40_000}, change])
    assert fetch(server.url("/a"), attempts=3, sha256=SHA256).read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=40000-", None]


def test_a_whole_part_needs_no_more_bytes(server, fetch, tmp_path):
    server.pages["/a"] = Page()
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    notes = {"url": server.url("/a"), "etag": '"first"', "total": len(CONTENT)}
    (tmp_path / "file.bin.part.json").write_text(json.dumps(notes))
    assert fetch(server.url("/a")).read_bytes() == CONTENT
    assert server.ranges() == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("notes", ["", "{", "[]", '{"url": "http://elsewhere"}'])
def test_bytes_of_unknown_origin_are_not_continued(server, fetch, tmp_path, notes):
    server.pages["/a"] = Page()
    (tmp_path / "file.bin.part").write_bytes(b"junk")
    (tmp_path / "file.bin.part.json").write_text(notes)
    assert fetch(server.url("/a")).read_bytes() == CONTENT
    assert server.ranges() == [None]


# --------------------------------------------------------------------------------------------------------------------
# Lies about length and content
# --------------------------------------------------------------------------------------------------------------------


def test_a_length_that_is_too_long(server, fetch, tmp_path):
    server.pages["/a"] = Page(faults=[{"length": len(CONTENT) + 50}])
    with pytest.raises(FetchError, match="after 102,400 bytes"):
        fetch(server.url("/a"))
    assert not (tmp_path / "file.bin").exists()
    with pytest.raises(FetchError, match="starting from zero"):  # 102,400 bytes are all there are, not 102,450
        fetch(server.url("/a"))
    assert fetch(server.url("/a")).read_bytes() == CONTENT  # the server tells the truth by now
    assert server.ranges() == [None, f"bytes={len(CONTENT)}-", None]


def test_a_length_that_is_too_short(server, fetch, tmp_path):
    server.pages["/a"] = Page(faults=[{"length": 50_000}] * 2)
    with pytest.raises(FetchError, match="expected 102,400 bytes, the server announces 50,000"):
        fetch(server.url("/a"), size=len(CONTENT))
    with pytest.raises(FetchError, match=f"expected sha256 {SHA256}, got .*thrown away"):
        fetch(server.url("/a"), sha256=SHA256)
    assert leftovers(tmp_path) == set()
    assert fetch(server.url("/a"), sha256=SHA256, size=len(CONTENT)).read_bytes() == CONTENT


def test_an_untold_length_is_taken_only_with_something_to_verify(server, fetch):
    server.pages["/a"] = Page(faults=[{"length": "untold"}, {"length": "untold", "cut": 40_000}, {"length": "untold"}])
    with pytest.raises(FetchError, match="a cut would go unnoticed"):
        fetch(server.url("/a"))
    with pytest.raises(FetchError, match="expected 102,400 bytes, the connection ended after 40,000"):
        fetch(server.url("/a"), size=len(CONTENT))
    assert fetch(server.url("/a"), size=len(CONTENT)).read_bytes() == CONTENT
    assert server.ranges() == [None, None, "bytes=40000-"]


def test_more_bytes_than_expected(server, fetch, tmp_path):
    server.pages["/a"] = Page(content=CONTENT + b"more", faults=[{"length": "untold"}])
    with pytest.raises(FetchError, match="expected 102,400 bytes, more than"):
        fetch(server.url("/a"), size=len(CONTENT))
    assert leftovers(tmp_path) == set()


def test_a_wrong_checksum_is_told_and_leaves_nothing(server, fetch, tmp_path):
    server.pages["/a"] = Page(content=b"z" * len(CONTENT))
    with pytest.raises(FetchError, match=f"expected sha256 {SHA256}, got [0-9a-f]{{64}}; what came was thrown away"):
        fetch(server.url("/a"), sha256=SHA256, attempts=5)
    assert leftovers(tmp_path) == set() and len(server.requests) == 1  # the same bytes would come again
    server.pages["/a"].content = CONTENT
    assert fetch(server.url("/a"), sha256=SHA256).read_bytes() == CONTENT


def test_a_web_page_is_not_taken_for_a_file(server, fetch):
    server.pages["/a"] = Page(content=b"<html>log in</html>", headers={"Content-Type": "text/html; charset=utf-8"})
    with pytest.raises(FetchError, match="got a web page"):
        fetch(server.url("/a"))


def test_a_compressed_answer_is_unpacked(server, fetch):
    headers = {"Content-Encoding": "gzip"}
    server.pages["/a"] = Page(content=gzip.compress(CONTENT), headers=headers, ranges=False, faults=[{"cut": 100}])
    assert fetch(server.url("/a"), sha256=SHA256, attempts=2).read_bytes() == CONTENT
    assert server.ranges() == [None, None]


def test_a_file_that_does_not_fit_on_the_disk_is_not_begun(server, fetch, monkeypatch):
    server.pages["/a"] = Page()
    usage = downloading.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(FetchError, match="it needs 102,400 bytes, the disk has 1,000 left"):
        fetch(server.url("/a"))


# --------------------------------------------------------------------------------------------------------------------
# Servers that are away; mirrors
# --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 409, 410])
def test_a_final_refusal_is_not_repeated(server, fetch, status):
    server.pages["/a"] = Page(faults=[{"status": status}])
    with pytest.raises(FetchError, match=rf"/a: {status} .*\n.*place the file by hand"):
        fetch(server.url("/a"), attempts=5)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_refusal_is_repeated(server, fetch, status):
    server.pages["/a"] = Page(faults=[{"status": status}, {"status": status, "headers": {"Retry-After": "0"}}])
    assert fetch(server.url("/a"), attempts=3).read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_waits_double_and_follow_the_server(server, fetch, monkeypatch):
    waits = []
    monkeypatch.setattr(downloading.time, "sleep", waits.append)
    asked = {"status": 503, "headers": {"Retry-After": "7"}}
    server.pages["/a"] = Page(faults=[{"status": 503}, {"status": 503}, asked])
    fetch(server.url("/a"), attempts=4, backoff_s=4.0)
    assert 3 <= waits[0] <= 5 and 6 <= waits[1] <= 10 and waits[2] == 7


@pytest.mark.parametrize(
    "header, seconds", [("12", 12), ("100000", 60), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", None), (None, None)]
)
def test_retry_after(header, seconds):
    assert downloading.retry_after(header) == seconds


def test_mirrors_are_taken_in_order(server, fetch):
    server.pages["/wrong"], server.pages["/good"] = Page(content=b"wrong"), Page()
    urls = [server.url(path) for path in ("/gone", "/wrong", "/good", "/never")]
    assert fetch(urls, sha256=SHA256).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/gone", "/wrong", "/good"]


def test_a_mirror_goes_on_where_the_first_stopped_when_the_checksum_is_known(server, fetch):
    server.pages["/a"], server.pages["/b"] = Page(faults=[{"cut": 40_000}]), Page(etag='"mirror"')
    assert fetch([server.url("/a"), server.url("/b")], sha256=SHA256).read_bytes() == CONTENT
    assert server.requests == [("/a", None), ("/b", "bytes=40000-")]


def test_every_address_is_named_when_all_fail(server, fetch):
    server.pages["/b"] = Page(content=b"short")
    with pytest.raises(FetchError) as caught:
        fetch([server.url("/a"), server.url("/b"), "ftp://127.0.0.1/c"], sha256=SHA256, size=len(CONTENT))
    message = str(caught.value)
    assert f"{server.url('/a')}: 404" in message and f"102,400 bytes with sha256 {SHA256}" in message
    assert "the server announces 5" in message and "ftp://127.0.0.1/c: " in message


def test_a_server_out_of_reach(fetch):
    with pytest.raises(FetchError, match=r"ConnectError.*2 attempts") as caught:
        fetch("http://127.0.0.1:1/a", attempts=2)
    assert caught.value.unreachable == {"127.0.0.1:1"}
    with pytest.raises(FetchError, match=r"ConnectError.*2 attempts"):  # offline: told at once, not after five
        fetch("http://127.0.0.1:1/a", attempts=5)


def test_redirections_are_followed(server, fetch):
    server.pages["/old"] = Page(faults=[{"status": 302, "headers": {"Location": "/new"}}])
    server.pages["/new"] = Page()
    assert fetch(server.url("/old")).read_bytes() == CONTENT


def test_a_client_of_ones_own_is_used_and_left_open(server, fetch):
    server.pages["/a"] = Page()
    with httpx2.Client(headers={"X-Mine": "yes"}) as client:
        fetch(server.url("/a"), client=client)
        assert not client.is_closed


# --------------------------------------------------------------------------------------------------------------------
# What is there already
# --------------------------------------------------------------------------------------------------------------------


def test_another_file_is_never_overwritten(server, fetch, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(FetchError, match="another file: expected 102,400 bytes, got 4. Move it away"):
        fetch(server.url("/a"), size=len(CONTENT))
    with pytest.raises(FetchError, match=f"another file: expected sha256 {SHA256}"):
        fetch(server.url("/a"), sha256=SHA256)
    assert (tmp_path / "file.bin").read_bytes() == b"mine" and not server.requests


def test_offline_mode_is_refused_clearly_unless_the_file_is_there(server, fetch, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "is_offline_mode", lambda: True)
    with pytest.raises(FetchError, match=r"offline mode \(HF_HUB_OFFLINE\)"):
        fetch(server.url("/a"))
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert fetch(server.url("/a"), sha256=SHA256) and not server.requests


@pytest.mark.parametrize("sha256", ["ABC", SHA256.upper(), SHA256[:-1]])
def test_a_checksum_that_is_none(fetch, sha256):
    with pytest.raises(ValueError, match="64 lower-case hexadecimal"):
        fetch("http://127.0.0.1:1/a", sha256=sha256)
    with pytest.raises(ValueError, match="at least one address"):
        fetch([])


def download_slowly(url, folder):
    download_file(url, f"{folder}/file.bin", sha256=SHA256, progress=False)


def test_two_processes_fetch_once(server, tmp_path):
    server.pages["/a"] = Page()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=download_slowly, args=(server.url("/a"), tmp_path)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert server.ranges() == [None] and (tmp_path / "file.bin").read_bytes() == CONTENT


# --------------------------------------------------------------------------------------------------------------------
# A benchmark
# --------------------------------------------------------------------------------------------------------------------

QUICK = {"attempts": 1, "backoff_s": 0.01, "progress": False}


def zip_of(**files) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/"), text)
    return packed.getvalue()


def tar_of(name: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    return packed.getvalue()


def source(server, file, **options) -> Source:
    return Source(file, (server.url(f"/{file}"),), **options)


def test_a_benchmark_is_fetched_and_unpacked_once(server, tmp_path):
    server.pages |= {"/lists/a.txt": Page(b"a"), "/b.zip": Page(zip_of(b__c="text")), "/v.zip": Page(zip_of(v="film"))}
    files = [
        source(server, "lists/a.txt", sha256=hashlib.sha256(b"a").hexdigest()),
        source(server, "b.zip", unpack="."),
        source(server, "v.zip", kind="videos", unpack="videos"),
    ]
    folder = fetch_benchmark("mine", tmp_path / "data", sources=files, **QUICK)
    assert (folder / "lists/a.txt").read_text() == "a" and (folder / "b/c").read_text() == "text"
    assert not (folder / "v.zip").exists()
    fetch_benchmark("mine", folder, sources=files, kinds=("annotations", "videos"), **QUICK)
    assert (folder / "videos/v").read_text() == "film"
    (folder / "b.zip").unlink()  # to save space
    fetch_benchmark("mine", folder, sources=files, **QUICK)
    assert [path for path, _ in server.requests] == ["/lists/a.txt", "/b.zip", "/v.zip"]


def test_one_bad_file_does_not_keep_the_others_away(server, tmp_path):
    server.pages |= {"/a.txt": Page(faults=[{"cut": 1000}]), "/bad.tar": Page(tar_of("../evil")), "/c.txt": Page(b"c")}
    files = [source(server, "a.txt"), source(server, "bad.tar", unpack="."), source(server, "c.txt")]
    with pytest.raises(FetchError, match=r"(?s)2 of 3 files of mine.*after 1,000 bytes.*leads out of the folder"):
        fetch_benchmark("mine", tmp_path / "data", sources=files, **QUICK)
    assert (tmp_path / "data/c.txt").exists() and not (tmp_path / "evil").exists()
    server.pages["/bad.tar"].content = tar_of("good")
    (tmp_path / "data/bad.tar").unlink()
    fetch_benchmark("mine", tmp_path / "data", sources=files, **QUICK)
    assert server.requests[3] == ("/a.txt", "bytes=1000-") and (tmp_path / "data/good").exists()


def test_a_host_out_of_reach_is_tried_once(server, tmp_path):
    away = [Source(f"{number}.txt", (f"http://127.0.0.1:1/{number}",)) for number in range(6)]
    server.pages["/here.txt"] = Page(b"here")
    with pytest.raises(FetchError, match=r"(?s)6 of 7 files.*Not tried.*1.txt, 2.txt, 3.txt and 2 more") as caught:
        fetch_benchmark("mine", tmp_path, sources=[*away, source(server, "here.txt")], **QUICK)
    assert str(caught.value).count("ConnectError") == 1
    assert (tmp_path / "here.txt").read_bytes() == b"here"


def test_files_are_chosen_by_pattern(server, tmp_path):
    server.pages |= {"/train.zip": Page(zip_of(t="t")), "/val.zip": Page(zip_of(v="v"))}
    files = [source(server, name, kind="videos") for name in ("train.zip", "val.zip")]
    fetch_benchmark("mine", tmp_path, sources=files, files="val*", **QUICK)
    assert leftovers(tmp_path) == {"val.zip"}
    with pytest.raises(ValueError, match="got 'test.zip'. Known: train.zip, val.zip"):
        fetch_benchmark("mine", tmp_path, sources=files, files=["test.zip"], **QUICK)


@pytest.mark.parametrize("kinds", ["films", ("annotations", "film"), ()])
def test_kinds_that_are_none(server, tmp_path, kinds):
    with pytest.raises(ValueError, match='"annotations" and "videos"'):
        fetch_benchmark("mine", tmp_path, sources=[source(server, "a.zip")], kinds=kinds, **QUICK)
    server.pages["/v.zip"] = Page()
    fetch_benchmark("mine", tmp_path, sources=[source(server, "v.zip", kind="videos")], kinds="videos", **QUICK)


def test_what_is_not_public_is_told_and_never_asked_for(tmp_path):
    with pytest.raises(FetchError, match=r"(?s)access is restricted\): .*LSMDC16_annos_training.csv.*user name"):
        fetch_benchmark("lsmdc", tmp_path / "data")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/LSMDC16_annos_val.csv").touch()
    assert fetch_benchmark("lsmdc", tmp_path / "data") == tmp_path / "data"  # placed by hand
    with pytest.raises(ValueError, match="did you mean 'lsmdc'"):
        fetch_benchmark("lsmcd")


# --------------------------------------------------------------------------------------------------------------------
# load_benchmark without a folder
# --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def didemo(server, monkeypatch):
    """A server in place of the sources of DiDeMo, with one validation video."""
    record = {"annotation_id": 1, "description": "a cat", "video": "1@N_22_33.mov", "num_segments": 5}
    record |= {"times": [[0, 0]], "dl_link": ""}
    server.pages["/val_data.json"] = Page(json.dumps([record]).encode())
    by_hand = Source("train_data.json", status="gated", instructions="Ask its authors.")
    monkeypatch.setattr(find_loader("didemo"), "SOURCES", (source(server, "val_data.json"), by_hand))
    return server


def test_load_benchmark_fetches_what_is_public(didemo, tmp_path):
    with pytest.raises(FileNotFoundError, match="1 videos: 1 missing"):  # the annotation was read
        load_benchmark("didemo", "retrieval", "validation", cache_dir=str(tmp_path), on_missing="error")
    (tmp_path / "clipbert/didemo/1@N_22_33.mov").touch()
    rows = load_benchmark("didemo", "retrieval", "validation", cache_dir=str(tmp_path))
    assert rows["caption"][:] == ["a cat"]
    assert didemo.requests == [("/val_data.json", None)] and default_folder("didemo", tmp_path).is_dir()


def test_a_wrong_config_is_told_before_anything_is_fetched(didemo, tmp_path):
    with pytest.raises(ValueError, match="retrieval: "):
        load_benchmark("didemo", cache_dir=str(tmp_path))
    assert not didemo.requests


def test_a_cut_download_is_an_error_and_not_an_empty_split(didemo, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading.time, "sleep", lambda seconds: None)
    didemo.pages["/val_data.json"].faults = [{"status": 503}] * 5
    with pytest.raises(FetchError, match=r"1 of 1 files of didemo.*\n.*\n.*503"):
        load_benchmark("didemo", "retrieval", cache_dir=str(tmp_path))
    didemo.pages["/val_data.json"].content = b"[{]"
    with pytest.raises(AnnotationError):
        load_benchmark("didemo", "retrieval", cache_dir=str(tmp_path))


def test_missing_annotations_are_told_with_what_to_do(didemo, tmp_path, monkeypatch):
    loader = find_loader("didemo")
    monkeypatch.setattr(loader, "SOURCES", (source(didemo, "val_list.txt"), loader.SOURCES[1]))
    didemo.pages["/val_list.txt"] = Page(b"x")
    with pytest.raises(FileNotFoundError, match=r"(?s)No annotation file.*train_data.json.*Ask its authors"):
        load_benchmark("didemo", "retrieval", cache_dir=str(tmp_path))


# --------------------------------------------------------------------------------------------------------------------
# The sources of the loaders
# --------------------------------------------------------------------------------------------------------------------

SHARING_HOSTS = ("drive.google", "dropbox", "mediafire", "pan.baidu", "1drv.ms", "onedrive")


def listed_sources() -> dict[str, tuple[Source, ...]]:
    return {name: find_loader(name).SOURCES for name in list_benchmarks() if find_loader(name).SOURCES}


def all_sources():
    return [(name, each) for name, listed in listed_sources().items() for each in listed]


def test_every_source_is_complete():
    assert all(read_docstring(find_loader(name)).get("Licence") for name in listed_sources())
    for name, each in all_sources():
        assert not each.file.startswith("/") and ".." not in each.file
        assert all(url.startswith(("https://", "http://images.cocodataset.org/")) for url in each.urls), each
        assert not any(host in url.lower() for host in SHARING_HOSTS for url in each.urls), each
        if any("raw.githubusercontent.com" in url for url in each.urls):
            assert all(re.search(r"/[0-9a-f]{40}/", url) for url in each.urls), f"{name}: {each} may change"
    fetched = [(name, each.file) for name, each in all_sources() if each.urls]
    assert len(fetched) == len(set(fetched))


def test_every_benchmark_has_sources_or_is_the_users_own():
    own = {"action_clips", "synthetic", "synthetic_images", "video_folder", "clipbert_jsonl"}
    assert set(list_benchmarks()) - set(listed_sources()) == own


UNPACKED = {  # what the archives hold, as far as loaders read it
    "ava": [
        f"ava_{part}_{version}.csv"
        for part in ("train", "val", "train_excluded_timestamps", "val_excluded_timestamps")
        for version in ("v2.1", "v2.2")
    ],
    "msvd": [f"msvd_data/{split}_list.txt" for split in ("train", "val", "test")],
}
PLACED_BY_HAND = {  # benchmark, config -> splits
    ("msrvtt", "multiple_choice"): {"test"},
    ("ssv2", "classification"): {"train", "validation", "test"},
    ("ssv2", "label_retrieval"): {"train", "validation"},
    ("ssv2", "template_retrieval"): {"train", "validation"},
    ("tgif_qa", "frameqa_hqga"): {"validation"},
    ("ucf101", "top5"): {"train", "test"},
    ("vatex", "retrieval_hgr"): {"validation", "test"},
    ("youcook2", "retrieval"): {"train"},
    ("youcook2", "segments"): {"train", "validation"},
}


def test_files_are_fetched_under_the_names_that_the_loaders_read():
    placed, compared = {}, 0
    for name, listed in listed_sources().items():
        there = {each.file for each in listed if each.urls and each.kind == "annotations"} | {*UNPACKED.get(name, ())}
        loader = find_loader(name)
        if not there or "split_files" not in vars(loader):
            continue
        for config in loader.BUILDER_CONFIGS:
            compared += 1
            splits = loader.split_files(config).items()
            if left := {split for split, choices in splits if not any(there.issuperset(names) for names in choices)}:
                placed[name, config.name] = left
    assert placed == PLACED_BY_HAND and compared >= 30


def test_the_split_files_of_hmdb51_are_those_of_all_its_classes():
    sources = find_loader("hmdb51").SOURCES
    files = [each.file for each in sources if each.file.startswith("splits/")]
    classes = {re.fullmatch(r"splits/(\w+)_test_split[123]\.txt", file).group(1) for file in files}
    assert len(files) == 153 and len(classes) == 51 and all(each.sha256 for each in sources if each.urls)


def test_checksums_are_those_of_the_real_files(data_dir):
    """Files of the collection that are original copies have the checksum that the loader asks for."""
    verified = 0
    for name, each in all_sources():
        path = data_dir / "annotations" / name / each.file
        if each.sha256 and path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == each.sha256, path
            assert each.size in (None, path.stat().st_size)
            verified += 1
    assert verified >= 185


@pytest.mark.parametrize("options", [{"file": "a"}, {"file": "a", "urls": ("b",), "status": "gated"}])
def test_a_source_that_makes_no_sense(options):
    with pytest.raises(ValueError, match="Expected"):
        Source(**options)
    with pytest.raises(ValueError, match="Unknown kind"):
        Source("a", ("b",), kind="films")


# --------------------------------------------------------------------------------------------------------------------
# Servers that mean harm, or are of no use
# --------------------------------------------------------------------------------------------------------------------


def client_of(answers: dict[str, httpx2.Response], asked: list) -> httpx2.Client:
    def answer(request):
        asked.append(str(request.url))
        return answers[str(request.url)]

    return httpx2.Client(transport=httpx2.MockTransport(answer), follow_redirects=True)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirections_do_not_give_up_encryption(fetch, status):
    to = {name: {"Location": f"{name}://b/file"} for name in ("http", "https")}
    answers = {
        "https://a/file": httpx2.Response(status, headers=to["https"]),
        "https://b/file": httpx2.Response(status, headers=to["http"]),
        "http://a/file": httpx2.Response(status, headers=to["http"]),
        "http://b/file": httpx2.Response(200, stream=httpx2.ByteStream(CONTENT)),
    }
    asked = []
    with client_of(answers, asked) as client:
        with pytest.raises(
            FetchError, match=r"(?s)file\.bin.*https://a/file: it redirects from https to http.*http://b/file"
        ):
            fetch("https://a/file", sha256=SHA256, client=client)
        assert asked == ["https://a/file", "https://b/file"]
        assert fetch("http://a/file", sha256=SHA256, client=client).read_bytes() == CONTENT


def test_redirections_without_end(fetch):
    asked = []
    client = client_of({"https://a/": httpx2.Response(302, headers={"Location": "https://a/"})}, asked)
    with client, pytest.raises(FetchError, match="more than 20 redirections"):
        fetch("https://a/", client=client)
    assert len(asked) == 20


def test_a_compressed_answer_without_end_is_stopped(server, fetch, tmp_path):
    """100 MB in 100 kB: refused before they are on the disk, whatever the encoding is called."""
    bomb = gzip.compress(bytes(100 << 20), compresslevel=9)
    server.pages["/gzip"] = Page(content=bomb, headers={"Content-Encoding": "gzip"})
    server.pages["/br"] = Page(content=bomb, headers={"Content-Encoding": "br"})
    server.pages["/cut"] = Page(content=bomb[:-100], headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchError, match="unpacks to more than 200 times its size"):
        fetch(server.url("/gzip"))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 40 << 20
    with pytest.raises(FetchError, match="compresses as 'br', unasked"):
        fetch(server.url("/br"))
    server.pages["/cut"].content = gzip.compress(CONTENT)[:-100]
    with pytest.raises(FetchError, match="ended within the compressed file"):
        fetch(server.url("/cut"))
    server.pages["/cut"].content = b"no gzip"
    with pytest.raises(FetchError, match="incorrect header check"):
        fetch(server.url("/cut"))


def test_a_trickle_is_given_up(server, fetch):
    """Each attempt brings one byte, so that none is the last; however fast they follow, the whole takes too long."""
    server.pages["/a"] = Page(faults=[{"cut": 1}] * len(CONTENT))
    with pytest.raises(FetchError, match=r"file\.bin.*\n.*/a: too slow: [1-9][\d,]* bytes in \d s"):
        fetch(server.url("/a"), attempts=2, patience_s=0.3, backoff_s=0.001)


@pytest.mark.parametrize("length", ["many", "-1", "1_0", "9" * 30])
def test_lengths_that_are_none(fetch, length):
    answer = httpx2.Response(200, headers={"Content-Length": length}, stream=httpx2.ByteStream(CONTENT))
    with (
        client_of({"https://a/": answer}, []) as client,
        pytest.raises(FetchError, match=r"file\.bin.*\n.*a length that is none"),
    ):
        fetch("https://a/", client=client)


def test_a_reason_without_words(fetch):
    answers = {"https://a/": httpx2.Response(404, extensions={"reason_phrase": b""})}
    answers["https://b/"] = httpx2.Response(499, extensions={"reason_phrase": b"\x1b[31mno"})
    with client_of(answers, []) as client, pytest.raises(FetchError) as caught:
        fetch(list(answers), client=client)
    assert "https://a/: 404 Not Found" in str(caught.value) and r"499 \x1b[31mno" in str(caught.value)


def test_a_name_too_long_for_the_disk_does_not_keep_the_others_away(server, tmp_path):
    server.pages |= {
        "/long.tar": Page(tar_of("n" * 300)),
        "/long.zip": Page(zip_of(**{"n" * 300: b"x"})),
        "/c.txt": Page(b"c"),
    }
    files = [*(source(server, name, unpack=".") for name in ("long.tar", "long.zip")), source(server, "c.txt")]
    with pytest.raises(
        FetchError, match=r"(?s)2 of 3 files.*long\.tar cannot be unpacked into .*File name too long.*long\.zip"
    ):
        fetch_benchmark("mine", tmp_path / "data", sources=files, **QUICK)
    assert (tmp_path / "data/c.txt").exists() and not list((tmp_path / "data").glob("n*"))
