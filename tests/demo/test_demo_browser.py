# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The page in a browser: what a reader types, clicks and sees, on a desk and on a phone, with the keyboard alone, and with hostile names."""

import os
import shutil

import pytest
from demo_pages import MKV, NAMES, opened_page, write_collection
from numbered_videos import write_numbered


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
SENTENCE = "a dog runs"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with opened_page(write_collection(tmp_path_factory.mktemp("collection"))) as (models, address):
        yield models, address


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed, and CHROMIUM names none")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def tab(request, chromium, page):
    """The page, opened; afterwards nothing must have gone wrong, or to another host."""
    yield from opened_tab(chromium, page[1], viewport=SIZES[request.param])


def opened_tab(chromium, address, **options):
    context, wrong = chromium.new_context(**options), []
    tab = context.new_page()
    tab.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    tab.on(
        "request",
        lambda request: (
            request.url.startswith((address, "data:", "blob:")) or wrong.append(f"asked for {request.url}")
        ),
    )
    tab.on("response", lambda answer: answer.status >= 400 and wrong.append(f"{answer.status} of {answer.url}"))
    tab.goto(address)
    tab.wait_for_selector("#query textarea, #query input")
    yield tab
    assert tab.title() == "clipbert"  # which hostile names would change
    assert wrong == []
    width, visible = tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= visible
    assert tab.locator("img:not([alt])").count() == 0
    context.close()


def search(tab, sentence=SENTENCE):
    box = tab.locator("#query textarea, #query input").first
    box.fill(sentence)
    box.press("Enter")
    tab.wait_for_selector("#hits .card")


def player(tab, where="#hits"):
    """The second that is shown, and whether there is a picture, once there is one."""
    tab.wait_for_function(
        "where => { const video = document.querySelector(`${where} video`); return video.readyState >= 2 && !video.seeking; }",
        arg=where,
    )
    return tab.evaluate(
        "where => { const video = document.querySelector(`${where} video`); return [video.currentTime, video.videoWidth]; }",
        where,
    )


def open_tab(tab, number):
    tab.locator("button[role=tab]").nth(number).click()


def test_a_sentence_is_typed_and_the_best_clip_is_played(tab, page):
    search(tab)
    expected = page[0].search(SENTENCE)
    shown = tab.locator("#hits .card [data-action=explain]").evaluate_all(
        "found => found.map(one => one.dataset.video)"
    )
    assert shown == [hit["video"] for hit in expected["hits"]]
    best = max(expected["hits"][0]["clips"], key=lambda clip: clip["score"])
    bars = tab.locator("#hits .card").first.locator(".bar")
    number = expected["hits"][0]["clips"].index(best)
    assert bars.count() == len(expected["hits"][0]["clips"])
    bars.nth(number).click()
    second, width = player(tab)
    assert best["start_s"] - 0.05 <= second <= max(best["end_s"], best["start_s"] + 1) + 0.3 and width > 0
    assert (
        "4" in tab.locator("#hits .count").inner_text() and "clipbert: 4" in tab.locator("#hits .stages").inner_text()
    )


def test_a_container_that_browsers_do_not_play(tab, page):
    search(tab)
    card = tab.locator("#hits .card", has=tab.locator(f'[data-video="{MKV}"]'))
    card.locator(".thumbnail").click()
    _, width = player(tab)
    assert width == 128
    card.locator("h4").click()  # so does the card
    player(tab)
    assert "media/preview" in tab.locator("#hits video").get_attribute("src")


def test_why(tab):
    search(tab)
    tab.locator("#hits .card [data-action=explain]").first.click()
    tab.wait_for_selector("#why section img")
    assert SENTENCE in tab.locator("#why h4").inner_text()


def test_a_question_is_asked(tab, page):
    search(tab)
    tab.locator(f'#hits .card [data-action=ask][data-video="{MKV}"]').click()
    tab.wait_for_selector("#question textarea:visible, #question input:visible")
    box = tab.locator("#question textarea, #question input").first
    box.fill("does the dog run")
    box.press("Enter")
    tab.wait_for_selector("#ask-answer .bars")
    expected = page[0].ask(MKV, "does the dog run")["answers"]
    assert tab.locator("#ask-answer .answer").all_inner_texts() == [str(one["answer"]) for one in expected]
    assert tab.locator("#ask-answer .frames img").count() == 4
    tab.locator("#ask-explain").click()
    tab.wait_for_selector("#ask-why section img")


def test_moments_and_classes(tab, page):
    open_tab(tab, 2)
    box = tab.locator("#moment textarea, #moment input").first
    box.fill("a man opens the door")
    box.press("Enter")
    tab.wait_for_selector("#moments-answer svg")
    tab.locator("#moments-answer .moment").first.click()
    second, _ = player(tab, "#moments-answer")
    best = page[0].locate(sorted(NAMES)[0], "a man opens the door")["moments"][0]
    assert best["start_s"] - 0.05 <= second <= max(best["end_s"], best["start_s"] + 1) + 0.3
    open_tab(tab, 3)
    tab.locator("#classify-button").click()
    tab.wait_for_selector("#classify-answer .bars")


def test_an_upload_is_asked_about(tab, tmp_path):
    open_tab(tab, 1)
    path = write_numbered(tmp_path / "mine <b>.mp4", 40)
    tab.locator("input[type=file]:not([disabled])").locator("visible=true").or_(
        tab.locator("input[type=file]")
    ).first.set_input_files(path)
    tab.wait_for_function("[...document.querySelectorAll('input')].some(one => one.value.startsWith('upload:'))")
    box = tab.locator("#question textarea, #question input").first
    box.fill("does the dog run")
    box.press("Enter")
    tab.wait_for_selector("#ask-answer .bars")


def test_what_is_wrong_is_said(tab):
    box = tab.locator("#query textarea, #query input").first
    box.fill("a dog runs " * 900)
    box.press("Enter")
    tab.wait_for_selector("#hits [role=alert]")
    assert "at most 1,000 characters" in tab.locator("#hits [role=alert]").inner_text()
    box.fill("<script>document.title='hurt'</script><img src=x onerror=alert(1)>")
    box.press("Enter")
    tab.wait_for_selector("#hits .card")


def test_the_keyboard_alone(tab):
    tab.locator("#query textarea, #query input").first.focus()
    tab.keyboard.type(SENTENCE)
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#hits .card")
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.className") == "bar":
            break
    tab.keyboard.press("Enter")
    _, width = player(tab)
    assert width > 0


def test_vietnamese(chromium, page):
    for tab in opened_tab(chromium, page[1], locale="vi-VN"):
        tab.wait_for_selector("text=Khoảnh khắc")
        search(tab)
        assert (
            "video" in tab.locator("#hits .count").inner_text()
            and "điểm" in tab.locator("#hits .facts").first.inner_text()
        )
