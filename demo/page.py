# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The page: a tab for what each model can do, and an endpoint for each of them.

    a click, or Enter --> a handler here --> `Models`, one at a time --> `Markup` --> the browser
    `gradio_client`, curl --> the endpoints below --> `Models`, in the same queue --> JSON
"""

import base64
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from clipbert.demo.labels import ENGLISH, LABELS, Words, language_of
from clipbert.demo.limits import RequestError
from clipbert.demo.markup import Markup
from clipbert.demo.media import Media
from clipbert.demo.models import CLASSES, MOMENTS, QUESTIONS, RETRIEVAL, Models
from clipbert.processing import VideoDecodeError, read_video_metadata


SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
STYLE = Path(__file__).with_name("page.css")
LOOKS_S = 0.3  # between two looks at whether work is done
IN_TURN = {"concurrency_id": "models", "concurrency_limit": 1}  # of all that models do
OF_THE_PAGE = {**IN_TURN, "api_visibility": "private", "show_progress": "hidden"}
PLAIN = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
logger = logging.getLogger(__name__)


class CancelledError(Exception):
    """Nobody waits for it any longer."""


class Page:
    """
    The page over some models.

    Args:
        models ([`Models`]): What is asked.
        media ([`Media`]): What videos are shown from.
        title (`str`, *optional*): Of the page.
    """

    def __init__(self, models: Models, media: Media, title: str = "clipbert"):
        self.models, self.media, self.title = models, media, title
        self.limits = models.videos.limits
        self.say = Words(ENGLISH)  # a label as it is built; see `add_languages`
        self.has_upload = False

    def build(self) -> gr.Blocks:
        """The blocks of gradio."""
        say, tasks = self.say, self.models.pipelines
        with gr.Blocks(title=self.title, analytics_enabled=False, delete_cache=(300, 300)) as blocks:
            self.add_endpoints()  # first: names are theirs
            gr.Markdown("# clipbert")
            with gr.Tabs() as self.tabs:
                if self.models.index is not None:
                    with gr.Tab(say("search"), id="search"):
                        self.add_search()
                for name, task, add in (
                    ("ask", QUESTIONS, self.add_ask),
                    ("moments", MOMENTS, self.add_moments),
                    ("classify", CLASSES, self.add_classify),
                ):
                    if task in tasks:
                        with gr.Tab(say(name), id=name):
                            add()
            self.connect()
            self.add_languages(blocks)
        return blocks.queue(max_size=self.limits.waiting, api_open=False, default_concurrency_limit=1)

    # Tabs ----------------------------------------------------------------------------------------------------------

    def add_search(self) -> None:
        say = self.say
        with gr.Row():
            query = gr.Textbox(
                label=say("sentence"), placeholder=say("no_search"), elem_id="query", scale=4, autofocus=True
            )
            button = gr.Button(say("search"), variant="primary", scale=1, min_width=120)
            cancel = gr.Button(say("cancel"), scale=0, min_width=90)
        with gr.Accordion(say("filters"), open=False), gr.Row():
            name = gr.Textbox(label=say("name"))
            shortest = gr.Number(label=say("shortest"), minimum=0)
            longest = gr.Number(label=say("longest"), minimum=0)
            top_k = gr.Slider(1, self.limits.top_k, value=10, step=1, label=say("top_k"))
        upload = self.add_upload("like") if self.models.has_vectors else None
        asked = gr.State("")  # what the hits below are for
        why, found = self.answer("why"), self.answer("hits")  # the reason stands above many hits

        filters = [top_k, name, shortest, longest]

        def search(
            query: str, top_k: float, name: str, shortest: float, longest: float, request: gr.Request
        ) -> Iterator[Any]:
            for answer in self.work(
                request, lambda markup, report: self.find(markup, query, top_k, name, shortest, longest)
            ):
                yield query, answer, ""

        events = [gr.on([query.submit, button.click], search, [query, *filters], [asked, found, why], **OF_THE_PAGE)]
        if upload is not None:
            token, taken = self.on_upload(upload)
            events.append(taken.success(search, [token, *filters], [asked, found, why], **OF_THE_PAGE))
        self.hits = found
        events.append(self.on_action(found, asked, why))
        self.add_cancel(cancel, found, events)

    def find(self, markup: Markup, query: str, top_k: Any, name: Any, shortest: Any, longest: Any) -> str:
        found = self.models.search(query, top_k, (name or "").strip(), shortest or None, longest or None)
        has_words = query not in self.models.videos.uploads  # of which each could be left out
        can_explain = has_words and RETRIEVAL in self.models.pipelines
        return markup.hits(found, can_explain, QUESTIONS in self.models.pipelines)

    def on_action(self, found: gr.HTML, asked: gr.State, why: gr.HTML) -> Any:
        """A button of a hit: why it was found."""

        def explain(asked: str, event: gr.EventData, request: gr.Request) -> Iterator[Any]:
            if event.action != "explain":
                yield gr.skip()
                return
            video, start_s, end_s = event.video, event.start, event.end
            yield from self.work(
                request,
                lambda markup, report: markup.explanation(
                    self.models.explain(video, text=asked, start_s=start_s, end_s=end_s, report=report)
                ),
            )

        return found.select(explain, asked, why, **OF_THE_PAGE)

    def add_ask(self) -> None:
        say = self.say
        video = self.asked_video = self.add_chooser()
        question = gr.Textbox(label=say("question"), elem_id="question")
        options = gr.Textbox(label=say("options"), lines=4, visible=self.models.can_choose)
        asked = [video, question, options]

        def answer(video: str, question: str, options: str, request: gr.Request) -> Iterator[Any]:
            def run(markup: Markup, report: Callable[[], None]) -> str:
                found = self.models.ask(self.chosen(markup, video), question, lines_of(options))
                return markup.answers(found, "answer", self.duration(video))

            for found in self.work(request, run):
                yield found, ""

        def explain(video: str, question: str, options: str, request: gr.Request) -> Iterator[str]:
            def run(markup: Markup, report: Callable[[], None]) -> str:
                chosen = lines_of(options) if self.models.can_choose else []
                return markup.explanation(
                    self.models.explain(self.chosen(markup, video), question=question, options=chosen, report=report)
                )

            yield from self.work(request, run)

        self.add_answer(asked, answer, explain, "ask", [question.submit])

    def add_moments(self) -> None:
        video = self.add_chooser()
        query = gr.Textbox(label=self.say("moment"), elem_id="moment")

        def answer(video: str, query: str, request: gr.Request) -> Iterator[Any]:
            for found in self.work(
                request, lambda markup, report: markup.moments(self.models.locate(self.chosen(markup, video), query))
            ):
                yield found, ""

        def explain(video: str, query: str, request: gr.Request) -> Iterator[str]:
            yield from self.work(
                request,
                lambda markup, report: markup.explanation(
                    self.models.explain(self.chosen(markup, video), moment=query, report=report)
                ),
            )

        self.add_answer([video, query], answer, explain, "moments", [query.submit])

    def add_classify(self) -> None:
        video = self.add_chooser()

        def answer(video: str, request: gr.Request) -> Iterator[Any]:
            def run(markup: Markup, report: Callable[[], None]) -> str:
                return markup.answers(self.models.classify(self.chosen(markup, video)), "label", self.duration(video))

            for found in self.work(request, run):
                yield found, ""

        def explain(video: str, request: gr.Request) -> Iterator[str]:
            yield from self.work(
                request,
                lambda markup, report: markup.explanation(
                    self.models.explain(self.chosen(markup, video), report=report)
                ),
            )

        self.add_answer([video], answer, explain, "classify", [])

    # Parts of tabs -------------------------------------------------------------------------------------------------

    def add_upload(self, label: str) -> gr.File:
        return gr.File(label=self.say(label), file_types=["video"], type="filepath", height=120)

    def on_upload(self, upload: gr.File) -> tuple[gr.Textbox, Any]:
        """Where the id of an upload is written, and the event after which it is there; the first of the page is the endpoint."""
        token = gr.Textbox(visible=False)
        endpoint = {"api_visibility": "private"} if self.has_upload else {"api_name": "upload"}
        self.has_upload = True
        in_turn = {"concurrency_id": "uploads", "concurrency_limit": 1}
        return token, upload.upload(self.take, upload, token, show_progress="hidden", **in_turn, **endpoint)

    def add_chooser(self) -> gr.Dropdown:
        """A video of the collection, or one that is uploaded."""
        names = self.models.videos.names()
        with gr.Row():
            video = gr.Dropdown(names, value=names[0] if names else None, label=self.say("video"), scale=2)
            upload = self.add_upload("upload")
        token, taken = self.on_upload(upload)

        def show(token: str) -> gr.Dropdown:
            return gr.Dropdown(choices=[*self.models.videos.names(), token], value=token)

        taken.success(show, token, video, **PLAIN)
        return video

    def add_answer(self, asked: list[Any], answer: Any, explain: Any, name: str, further: list[Any]) -> None:
        """Buttons, and what they are answered with."""
        say = self.say
        with gr.Row():
            button = gr.Button(say(name), variant="primary", elem_id=f"{name}-button")
            reason = gr.Button(say("explain"), elem_id=f"{name}-explain")
            cancel = gr.Button(say("cancel"), scale=0, min_width=90)
        found, why = self.answer(f"{name}-answer"), self.answer(f"{name}-why")
        events = [gr.on([button.click, *further], answer, asked, [found, why], **OF_THE_PAGE)]
        events.append(reason.click(explain, asked, why, **OF_THE_PAGE))
        self.add_cancel(cancel, found, events)

    def add_cancel(self, cancel: gr.Button, found: gr.HTML, events: list[Any]) -> None:
        def stop(request: gr.Request) -> str:
            markup = self.markup(request)
            return markup.note(markup.words("cancelled"))

        cancel.click(stop, None, found, cancels=events, **PLAIN)

    def answer(self, name: str) -> gr.HTML:
        return gr.HTML("", js_on_load=SCRIPT, elem_id=name, elem_classes="answer-html", apply_default_css=False)

    def connect(self) -> None:
        """A hit is taken over by the tab of questions."""
        if self.models.index is None or QUESTIONS not in self.models.pipelines:
            return

        def take_over(event: gr.EventData) -> Any:
            if event.action != "ask":
                return gr.skip(), gr.skip()
            video, names = event.video, self.models.videos.names()
            choices = names if video in names else [*names, video]
            return gr.Tabs(selected="ask"), gr.Dropdown(choices=choices, value=video)

        self.hits.select(take_over, None, [self.tabs, self.asked_video], **PLAIN)

    def add_languages(self, blocks: gr.Blocks) -> None:
        """Labels are put into the language of whoever opens the page, which gradio does for languages of its own alone."""
        names = {texts[ENGLISH]: name for name, texts in LABELS.items()}
        labelled = {}
        for block in blocks.blocks.values():
            found = {what: getattr(block, what, None) for what in ("label", "placeholder", "value")}
            found = {what: names[text] for what, text in found.items() if isinstance(text, str) and text in names}
            if found:
                labelled[block] = found

        def translate(request: gr.Request) -> list[Any]:
            words = self.markup(request).words
            if words.language == ENGLISH:
                return [gr.skip()] * len(labelled)
            return [gr.update(**{what: words(name) for what, name in of_one.items()}) for of_one in labelled.values()]

        blocks.load(translate, None, list(labelled), **PLAIN)

    # Work ----------------------------------------------------------------------------------------------------------

    def markup(self, request: gr.Request) -> Markup:
        return Markup(self.media, Words(language_of(request.headers.get("accept-language"))))

    def work(self, request: gr.Request, run: Callable[[Markup, Callable[[], None]], str]) -> Iterator[str]:
        """
        What is shown while something is worked out, and then that. Whoever stops taking from it cancels it, at the next pass of a model.
        """
        markup, begun, passes, is_over = self.markup(request), time.monotonic(), 0, threading.Event()
        found: list[str] = []

        def report() -> None:
            nonlocal passes
            passes += 1
            if is_over.is_set():
                raise CancelledError

        def worker() -> None:
            try:
                found.append(run(markup, report))
            except RequestError as error:
                found.append(markup.error(str(error)))
            except CancelledError:
                pass
            except Exception:
                logger.exception("A request of the page failed")
                found.append(markup.error(markup.words("failed")))

        thread = threading.Thread(target=worker, daemon=True)
        thread.start()
        try:
            while True:
                thread.join(LOOKS_S)
                if not thread.is_alive():
                    break
                yield markup.working(time.monotonic() - begun, passes)
            if found:
                yield found[0]
        finally:
            is_over.set()

    def take(self, path: str) -> str:
        """A file that was uploaded, as the id by which it can be asked about."""
        return told(self.models.videos.uploads.take, path)

    def chosen(self, markup: Markup, video: str | None) -> str:
        if not video:
            raise RequestError(markup.words("choose"))
        return video

    def duration(self, video: str) -> float:
        """Seconds of a video; 0 where nothing tells."""
        try:
            return read_video_metadata(self.models.videos.find(video), timeout_s=self.limits.decode_s).duration or 0.0
        except VideoDecodeError:
            return 0.0

    # Endpoints -----------------------------------------------------------------------------------------------------

    def add_endpoints(self) -> None:
        """What the page does, as JSON, under names."""
        models = self.models

        def videos(name: str = "") -> list:
            """Ids of the collection that contain a text, the first 200."""
            return told(models.videos.names, name)

        def search(
            query: str,
            top_k: int = 10,
            name: str = "",
            shortest_s: float | None = None,
            longest_s: float | None = None,
        ) -> dict:
            """The videos that fit a sentence, best first; of an upload's id those that are like it."""
            return told(models.search, query, top_k, name, shortest_s, longest_s)

        def ask(video: str, question: str, options: list | None = None, top_k: int = 5) -> dict:
            """Answers to a question about a video of the collection, or an upload, by its id."""
            return told(models.ask, video, question, options or (), top_k)

        def locate(video: str, query: str, top_k: int = 5) -> dict:
            """When something happens in a video."""
            return told(models.locate, video, query, top_k)

        def classify(video: str, top_k: int = 5) -> dict:
            """The classes of a video."""
            return told(models.classify, video, top_k)

        def explain(
            video: str,
            text: str = "",
            question: str = "",
            moment: str = "",
            options: list | None = None,
            target: str = "",
        ) -> dict:
            """What a score rests on; `picture` is a PNG in base64."""
            found = told(models.explain, video, text, question, moment, options or (), target)
            return {**found, "picture": base64.b64encode(found["picture"]).decode()}

        there = [videos, explain] if models.pipelines else [videos]
        there += [search] if models.index is not None else []
        for task, endpoint in ((QUESTIONS, ask), (MOMENTS, locate), (CLASSES, classify)):
            there += [endpoint] if task in models.pipelines else []
        for endpoint in there:
            gr.api(endpoint, api_name=endpoint.__name__, **IN_TURN)


def told(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function says, or what is wrong, as a message for whoever asked."""
    try:
        return function(*arguments)
    except RequestError as error:
        raise gr.Error(str(error), print_exception=False) from error


def lines_of(text: str | None) -> list[str]:
    return [line for line in (text or "").splitlines() if line.strip()]


__all__ = ["STYLE", "Page"]
