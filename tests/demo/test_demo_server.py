# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The page without a browser: its endpoints over HTTP, files and previews, what strangers may send, and HTML in which nothing of theirs runs."""

import base64
import io
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from urllib.parse import urlencode

import av
import httpx2
import numpy as np
import PIL.Image
import pytest
from demo_pages import AVI, HOSTILE, MKV, MP4, NAMES, opened_page, write_collection
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from numbered_videos import KINDS, plain_decode, read_number, write_numbered
from tiny_pipelines import make_pipeline

from clipbert.demo.app import open_models, serve
from clipbert.demo.labels import LABELS, Words, language_of
from clipbert.demo.limits import Limits, RequestError
from clipbert.demo.markup import Markup, said
from clipbert.demo.media import Media, media_type
from clipbert.demo.models import Models
from clipbert.demo.page import Page
from clipbert.demo.videos import FolderVideos, Videos
from clipbert.search import VideoIndex


LIMITS = Limits(upload_bytes=400_000, upload_s=10, text_length=200)
LONG = "a dog runs " * 1000


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return write_collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="module")
def page(collection):
    with opened_page(collection, limits=LIMITS) as (models, address):
        yield models, address


@pytest.fixture(scope="module")
def client(page):
    return Client(page[1], verbose=False)


def get(page, path, headers=None, **query):
    address = f"{page[1]}{path}"
    return httpx2.get(f"{address}?{urlencode(query)}" if query else address, headers=headers or {})


@pytest.mark.slow
def test_what_the_page_does_is_there_by_name(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert named.keys() == {"/videos", "/search", "/ask", "/locate", "/classify", "/explain", "/upload"}


@pytest.mark.slow
def test_search(client, page):
    assert client.predict(api_name="/videos") == sorted(NAMES)
    assert client.predict("films", api_name="/videos") == [MKV]
    found = client.predict("a dog runs", 3, api_name="/search")
    expected = page[0].index.search("a dog runs", 3)
    assert [hit["video"] for hit in found["hits"]] == [hit.video_id for hit in expected]
    assert [hit["score"] for hit in found["hits"]] == [hit.score for hit in expected]
    assert found["stages"][0]["num_videos"] == 4 == found["num_videos"] and found["hits"][0]["clips"]
    (hit,) = client.predict("a dog runs", 10, "films", 1.0, 60.0, api_name="/search")["hits"]
    assert hit["video"] == MKV and HOSTILE in hit["metadata"]["caption"]
    assert client.predict("a dog runs", 10, "", 60.0, api_name="/search")["hits"] == []


@pytest.mark.slow
def test_answers_are_those_of_the_pipelines(client, page, collection):
    models = page[0]
    asked = client.predict(MP4, "does the dog run", api_name="/ask")
    pipe = models.pipelines["video-question-answering"]
    assert asked["answers"] == json.loads(json.dumps(pipe(collection / MP4, question="does the dog run")))
    pictures = [PIL.Image.open(io.BytesIO(base64.b64decode(one["picture"].split(",")[1]))) for one in asked["frames"]]
    assert len(pictures) == 4 and {picture.size for picture in pictures} == {(64, 64)}
    assert [one["second"] for one in asked["frames"]] == sorted(one["second"] for one in asked["frames"])
    classes = client.predict(AVI, 2, api_name="/classify")
    assert classes["answers"] == models.pipelines["video-classification"](collection / AVI, top_k=2)
    moments = client.predict(MKV, "a man opens the door", 2, api_name="/locate")
    found = models.pipelines["moment-retrieval"](collection / MKV, "a man opens the door", top_k=2, return_curves=True)
    assert moments["moments"] == found["moments"] and moments["curves"] == json.loads(json.dumps(found["curves"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked", [{"text": "a dog runs"}, {"question": "does the dog run"}, {"moment": "a man opens the door"}, {}]
)
def test_explanations(client, asked):
    found = client.predict(MP4, **asked, api_name="/explain")
    assert PIL.Image.open(io.BytesIO(base64.b64decode(found["picture"]))).format == "PNG"
    assert found["deletion"]["places"]["fractions"][0] == 0


@pytest.mark.slow
def test_curl(page):
    """As the README has it: an event is asked for, and then read."""
    started = httpx2.post(f"{page[1]}gradio_api/call/classify", json={"data": [MP4, 1]}).json()
    said = httpx2.get(f"{page[1]}gradio_api/call/classify/{started['event_id']}").text
    assert "event: complete" in said and json.loads(said.split("data: ")[1])[0]["video"] == MP4
    refused = httpx2.post(f"{page[1]}gradio_api/run/classify", json={"data": [MP4, 1]})
    assert refused.status_code >= 400  # past the queue


# What is served ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_files_come_in_parts(page, collection):
    whole = get(page, "media/video", id=MP4)
    assert whole.content == (collection / MP4).read_bytes() and whole.headers["content-type"] == "video/mp4"
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = get(page, "media/video", {"range": "bytes=100-199"}, id=MP4)
    assert part.status_code == 206 and part.content == whole.content[100:200]


@pytest.mark.slow
def test_what_browsers_do_not_play_has_a_preview(page):
    for name in (MKV, AVI):
        assert get(page, "media/video", id=name).status_code == 404
        preview = get(page, "media/preview", id=name, start_s=1, end_s=2)
        assert preview.headers["content-type"] == "video/mp4"
        with av.open(io.BytesIO(preview.content)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            frames = list(container.decode(video=0))
        assert [read_number(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(25, 51))
        assert [frame.time - frames[0].time for frame in frames] == pytest.approx(np.arange(26) / 25, abs=2e-3)
    assert len(list((page[0].videos.folder / "previews").iterdir())) == 2  # and no unfinished one


@pytest.mark.slow
def test_frames(page, collection):
    answer = get(page, "media/frame", id=AVI, second=2.0)
    picture = np.asarray(PIL.Image.open(io.BytesIO(answer.content)))
    assert answer.headers["content-type"] == "image/jpeg" and read_number(picture) == 50


def test_which_files_browsers_play(tmp_path):
    played = {"mp4_h264", "mp4_h264_no_b_frames", "mov_h264", "webm_vp9", "webm_vp8"}
    for name in (
        *played,
        "mp4_h264_10_bits",
        "mp4_hevc",
        "mp4_mpeg4",
        "mkv_h264",
        "flv_h264",
        "gif",
        "avi_mpeg4",
        "ts_h264",
    ):
        path = write_numbered(tmp_path / f"{name}{KINDS[name].suffix}", 10, KINDS[name])
        expected = "video/webm" if "webm" in name else "video/mp4"
        assert media_type(path) == (expected if name in played else None), name
    (tmp_path / "no.mp4").write_bytes(b"no video")
    assert media_type(tmp_path / "no.mp4") is None


def test_previews_are_forgotten_beyond_their_limit(tmp_path):
    path = write_numbered(tmp_path / "a.mkv", 100, KINDS["mkv_h264"])
    with Videos(FolderVideos(tmp_path), Limits(cache_bytes=1)) as videos:
        media = Media(videos)
        first, second = media.preview(path, 0.0, 1.0), media.preview(path, 1.0, 2.0)
        assert second.exists() and not first.exists()
        assert media.preview(path, 1.0, 2.0) == second
        folder = videos.folder
    assert not folder.exists()


def test_a_preview_is_short(tmp_path):
    path = write_numbered(tmp_path / "a.mkv", 100, KINDS["mkv_h264"])
    with Videos(FolderVideos(tmp_path), Limits(preview_s=1.0)) as videos:
        media = Media(videos)
        assert len(plain_decode(media.preview(path, 1.0, 1e6))[0]) == 26
        with pytest.raises(RequestError, match="lasts 4 s"):
            media.preview(path, 900.0, 910.0)


# What strangers send -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../captions.jsonl", "captions.jsonl", "films/../plain.mp4", "http://127.0.0.1/x.mp4", "upload:0", "", "\0", "a" * 10000]
)  # fmt: skip
def test_only_ids_are_opened(client, page, name):
    for path, more in (
        ("media/video", {}),
        ("media/frame", {"second": 0}),
        ("media/preview", {"start_s": 0, "end_s": 1}),
    ):
        assert get(page, path, id=name, **more).status_code == 404
    for endpoint, asked in (("/ask", ("what",)), ("/classify", ()), ("/locate", ("what",)), ("/explain", ())):
        with pytest.raises(AppError, match="no such video|not there any more"):
            client.predict(name, *asked, api_name=endpoint)


def test_a_link_that_leads_out_is_no_video(tmp_path):
    write_numbered(tmp_path / "secret.mp4", 10)
    root = tmp_path / "root"
    root.mkdir()
    write_numbered(root / "inside.mp4", 10)
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    with Videos(FolderVideos(root)) as videos:
        assert videos.names() == ["inside.mp4"]
        (root / "inside.mp4").unlink()
        (root / "inside.mp4").symlink_to(tmp_path / "secret.mp4")  # later
        for name in ("link.mp4", "inside.mp4"):
            with pytest.raises(RequestError):
                videos.find(name)


@pytest.mark.slow
def test_files_of_the_server_are_no_uploads(page):
    """A file that was not uploaded is named as if it had been."""
    for path in ("/etc/passwd", os.path.abspath(__file__)):
        given = {"path": path, "meta": {"_type": "gradio.FileData"}}
        event = httpx2.post(f"{page[1]}gradio_api/call/upload", json={"data": [given]}).json()["event_id"]
        assert "event: error" in httpx2.get(f"{page[1]}gradio_api/call/upload/{event}").text
        for route in ("gradio_api/file=", "file="):
            assert httpx2.get(f"{page[1]}{route}{path}").status_code in (403, 404)


@pytest.mark.slow
def test_uploads(client, page, tmp_path):
    path = write_numbered(tmp_path / "..hidden <b>.mp4", 20)
    token = client.predict(handle_file(path), api_name="/upload")
    kept = page[0].videos.find(token)
    assert (
        token.startswith("upload:")
        and kept.name == token.removeprefix("upload:")
        and kept.read_bytes() == path.read_bytes()
    )
    assert client.predict(token, 1, api_name="/classify")["video"] == token
    assert get(page, "media/video", id=token).content == path.read_bytes()
    with pytest.raises(AppError, match="no vectors"):
        client.predict(token, api_name="/search")


@pytest.mark.slow
def test_an_index_with_vectors(tmp_path):
    """It is opened as it is, and a video finds what is like it."""
    videos, checkpoint = write_collection(tmp_path / "videos"), tmp_path / "checkpoint"
    make_pipeline("dual_encoder").save_pretrained(checkpoint)
    VideoIndex.create(tmp_path / "index", videos, encoder=checkpoint).add()
    with open_models(index=VideoIndex.open(tmp_path / "index")) as models:
        blocks, address = serve(models, blocks_until_stopped=False)
        client = Client(address, verbose=False)
        token = client.predict(handle_file(videos / MKV), api_name="/upload")
        best, *_ = client.predict(token, api_name="/search")["hits"]
        assert best["score"] == pytest.approx(1.0, abs=1e-5)
        texts = client.predict("a dog runs", api_name="/search")
        assert len(texts["hits"]) == len(NAMES) and client.predict(MP4, "a dog runs", api_name="/explain")["score"]
        blocks.close()


@pytest.mark.slow
def test_uploads_that_are_refused(client, page, tmp_path):
    before = set((page[0].videos.folder / "uploads").iterdir())
    PIL.Image.new("RGB", (64, 64)).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "picture.mp4")
    whole = write_numbered(tmp_path / "whole.mp4", 50)
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "page.mp4").write_text("<script>alert(1)</script>")
    write_numbered(tmp_path / "long.mp4", 300, fps=25)
    for name, reason in (("picture.mp4", "cannot be read"), ("cut.mp4", "cannot be read"), ("page.mp4", "cannot be read"), ("long.mp4", "at most 10.0 s")):  # fmt: skip
        with pytest.raises(AppError, match=reason):
            client.predict(handle_file(tmp_path / name), api_name="/upload")
    assert set((page[0].videos.folder / "uploads").iterdir()) == before


@pytest.mark.slow
def test_an_upload_that_is_too_large_is_not_even_received(page):
    content = b"0" * (LIMITS.upload_bytes + 100_000)
    answer = httpx2.post(f"{page[1]}gradio_api/upload", files={"files": ("large.mp4", content)})
    assert answer.status_code == 413
    assert get(page, "media/frame", id=MP4, second=0).status_code == 200  # the page lives on


def test_uploads_are_deleted_after_a_while(tmp_path):
    with Videos(limits=Limits(keep_s=0.0)) as videos:
        token = videos.uploads.take(write_numbered(tmp_path / "a.mp4", 10))
        with pytest.raises(RequestError, match="not there any more"):
            videos.find(token)
        assert not list((videos.folder / "uploads").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("endpoint", "asked", "reason"),
    [
        ("/search", ("",), "with words"),
        ("/search", (LONG,), "at most 200 characters"),
        ("/search", ("a dog", 0), "top_k from 1 to 50"),
        ("/search", ("a dog", 51), "top_k from 1 to 50"),
        ("/search", ("a dog", 10, "", -1.0), "in seconds"),
        ("/ask", (MP4, "  "), "with words"),
        ("/ask", (MP4, "what", ["one"]), "takes no options"),
        ("/ask", (MP4, "what", ["one"] * 30), "at most 20 options"),
        ("/locate", (MKV, LONG), "at most 200 characters"),
        ("/explain", (MP4, "", "what", "", None, "no such answer"), "no such answer"),
    ],
)
def test_what_is_asked_wrongly_gets_a_reason(client, endpoint, asked, reason):
    with pytest.raises(AppError, match=reason):
        client.predict(*asked, api_name=endpoint)


@pytest.mark.slow
def test_many_ask_at_once(page):
    """Each gets its answer, one after the other."""

    def ask(number):
        client = Client(page[1], verbose=False)
        return client.predict(MP4, 1 + number % 2, api_name="/classify")["answers"]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert [len(found) for found in answers] == [1 + number % 2 for number in range(20)]


@pytest.mark.slow
def test_it_listens_on_this_machine_alone(page):
    port = int(page[1].rstrip("/").rpartition(":")[2])
    assert page[1].startswith("http://127.0.0.1:")
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for other in (other for other in others if not other.startswith("127.")):
        with pytest.raises(OSError), socket.create_connection((other, port), timeout=2):
            pass


# HTML ----------------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """All tags, and attributes that may run something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.running, self.texts = set(), [], []  # texts: all that is shown or read aloud
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.running += [name for name, _ in attributes if name.startswith("on")]
        self.texts += [value for name, value in attributes if name in ("alt", "aria-label", "data-name", "title")]
        self.running += [value for name, value in attributes if name in ("href", "src") and "script" in (value or "")]

    def handle_data(self, data):
        self.texts.append(data)


OURS = {
    "article",
    "bdi",
    "button",
    "dd",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "h4",
    "img",
    "li",
    "ol",
    "p",
    "polyline",
    "rect",
    "section",
    "span",
    "strong",
    "svg",
    "title",
    "ul",
    "video",
}


def all_answers(models, markup, words=HOSTILE):
    hostile = next(name for name in NAMES if name not in (MP4, MKV, AVI))
    yield markup.hits(models.search("a dog runs"), True, True)
    asked = models.ask(hostile, words)
    yield markup.answers({**asked, "answers": [{**one, "answer": words} for one in asked["answers"]]}, "answer", 4.0)
    yield markup.moments(models.locate(hostile, words))
    yield markup.explanation(models.explain(hostile, text=words))
    yield markup.error(words)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "vi"])
def test_nothing_of_other_people_runs(page, language):
    models, _ = page
    markup = Markup(Media.__new__(Media), Words(language))
    markup.media.videos, markup.media.limits = models.videos, models.videos.limits
    for answer in all_answers(models, markup):
        found = Tags(answer)
        assert found.tags <= OURS and not found.running
        assert not any("\u202e" in text for text in found.texts)
    assert any(HOSTILE[:10] in text for text in found.texts)


def test_text_is_text():
    assert said("<b>\u202e\"'&") == "<bdi>&lt;b&gt;\\u202e&quot;&#x27;&amp;</bdi>"
    assert len(said("a" * 10_000)) < 400


def test_labels():
    for name, texts in LABELS.items():
        assert texts.keys() == {"en", "vi"} and all(texts.values()), name
        fields = [{part.split("}")[0].split(":")[0] for part in text.split("{")[1:]} for text in texts.values()]
        assert fields[0] == fields[1], name
    english = [texts["en"] for texts in LABELS.values()]
    assert len(set(english)) == len(english)  # a label is found by its English text
    assert [language_of(header) for header in ("vi", "en;q=0.5,vi;q=0.9", "de, vi", "*", "vi;q=x")] == [
        "vi",
        "vi",
        "vi",
        "en",
        "en",
    ]


# Work ----------------------------------------------------------------------------------------------------------------


class Reader:
    headers = {"accept-language": "en"}


def test_whoever_stops_waiting_ends_the_work(tmp_path):
    with Videos(limits=LIMITS) as videos:
        page, is_over, calls = Page(Models(videos, {}), Media(videos)), threading.Event(), []

        def run(markup, report):
            try:
                while True:
                    calls.append(report())
                    time.sleep(0.01)
            finally:
                is_over.set()

        shown = page.work(Reader, run)
        assert "passes of the model" in next(shown)
        shown.close()
        assert is_over.wait(10) and calls


def test_what_fails_on_the_server_is_in_its_log_alone(tmp_path, caplog):
    with Videos(limits=LIMITS) as videos:
        page = Page(Models(videos, {}), Media(videos))

        def run(markup, report):
            raise RuntimeError("secret")

        *_, shown = page.work(Reader, run)
    assert "secret" not in shown and "its log says what" in shown and "secret" in caplog.text


def test_nothing_to_show_is_refused():
    with pytest.raises(ValueError, match="got both"), open_models([], "videos", index=object()):
        pass
