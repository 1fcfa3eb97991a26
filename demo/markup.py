# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Answers as HTML. Everything that other people have written, file names and captions, questions and labels, is text: it passes
[`said`], and nothing else does.
"""

import base64
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from clipbert.demo.labels import Words
from clipbert.demo.media import Media
from clipbert.support.terminal import printable, show_seconds


LONGEST = 300  # characters of a text that is shown
MOST_COLUMNS = 6  # of metadata
CURVE_WIDTH, CURVE_HEIGHT = 600, 90


def said(text: object) -> str:
    """Text of other people, for HTML: escaped, without controls and marks of direction, in a direction of its own, shortened."""
    plain = printable(str(text))
    plain = plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"
    return f"<bdi>{html.escape(plain)}</bdi>"


def attribute(text: object) -> str:
    """The same for the value of an attribute in double quotes."""
    plain = printable(str(text))
    return html.escape(plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…")


class Markup:
    """
    Answers for one reader.

    Args:
        media ([`Media`]): What a browser gets videos from.
        words ([`Words`]): Of the reader's language.
    """

    def __init__(self, media: Media, words: Words):
        self.media, self.words = media, words

    # Messages ------------------------------------------------------------------------------------------------------

    def note(self, text: str) -> str:
        return f'<p class="note" role="status">{html.escape(text)}</p>'

    def remark(self, found: Mapping[str, Any]) -> str:
        """What the model does not see of the words."""
        return f'<p class="note" role="status">{said(found["note"])}</p>' if found.get("note") else ""

    def error(self, text: str) -> str:
        return (
            f'<div class="error" role="alert"><strong>{html.escape(self.words("wrong"))}</strong> {said(text)}</div>'
        )

    def working(self, seconds: float, passes: int) -> str:
        more = self.words("passes", passes=passes) if passes else ""
        return (
            f'<p class="note working" role="status">{html.escape(self.words("working", seconds=seconds) + more)}</p>'
        )

    # Parts ---------------------------------------------------------------------------------------------------------

    def player(self, video: str | None = None) -> str:
        """Where videos are played: one from its start, or hidden until a button plays one."""
        source = ""
        if video is not None:
            address, begin = self.media.source(video, 0.0, self.media.limits.preview_s)
            source = f' src="{html.escape(address)}" data-begin="{begin:g}"'
        hidden = "" if video is not None else " hidden"
        return (
            f'<figure class="player"{hidden}><video controls playsinline preload="metadata"{source}></video>'
            f'<figcaption aria-live="polite">{"" if video is None else said(video)}</figcaption></figure>'
        )

    def play(
        self, video: str, start_s: float, end_s: float, label: str, inside: str, kind: str, style: str = ""
    ) -> str:
        """A button that plays a video from a second on."""
        address, begin = self.media.source(video, start_s, end_s)
        return (
            f'<button type="button" class="{kind}" data-source="{html.escape(address)}" data-begin="{begin:g}" '
            f'data-start="{start_s:.3f}" data-end="{end_s:.3f}" data-name="{attribute(video)}" title="{attribute(label)}" '
            f'aria-label="{attribute(label)}"{style}>{inside}</button>'
        )

    def timeline(self, video: str, clips: Sequence[Mapping[str, Any]], duration_s: float) -> str:
        """Clips as bars over time, as strong as their scores."""
        clips = [clip for clip in clips if clip["start_s"] is not None]
        if not clips or not duration_s > 0:
            return ""
        scores = [clip["score"] for clip in clips]
        low, most = min(scores), max(scores)
        bars = []
        for clip in clips:
            share = 1.0 if most == low else (clip["score"] - low) / (most - low)
            left, width = clip["start_s"] / duration_s, max((clip["end_s"] - clip["start_s"]) / duration_s, 0.012)
            left = min(left, 1 - width)
            span = {"start": show_seconds(clip["start_s"]), "end": show_seconds(clip["end_s"])}
            label = self.words("play_clip", score=clip["score"], **span)
            style = f' style="left:{left:.2%};width:{width:.2%};height:{0.25 + 0.75 * share:.0%};opacity:{0.45 + 0.55 * share:.2f}"'
            bars.append(self.play(video, clip["start_s"], clip["end_s"], label, "", "bar", style))
        label = self.words("timeline", video=video)
        return f'<div class="timeline" role="group" aria-label="{attribute(label)}">{"".join(bars)}</div>'

    def bars(self, rows: Sequence[tuple[str, float, str]]) -> str:
        """Names with a share from 0 to 1 and what is said of it."""
        items = [
            f'<li><span class="answer">{said(name)}</span><span class="track"><span class="share" '
            f'style="width:{min(max(share, 0.0), 1.0):.1%}"></span></span><span class="number">{html.escape(number)}</span></li>'
            for name, share, number in rows
        ]
        return f'<ol class="bars">{"".join(items)}</ol>'

    def frames(self, video: str, frames: Sequence[Mapping[str, Any]]) -> str:
        """The frames that a model has seen."""
        items = []
        for frame in frames:
            when = "" if frame["second"] is None else show_seconds(frame["second"])
            label = self.words("frame", video=video, second=when or "?")
            items.append(
                f'<li><img src="{frame["picture"]}" alt="{attribute(label)}"><span>{html.escape(when)}</span></li>'
            )
        return f'<h4>{html.escape(self.words("frames"))}</h4><ul class="frames">{"".join(items)}</ul>'

    # Answers -------------------------------------------------------------------------------------------------------

    def hits(self, found: Mapping[str, Any], can_explain: bool, can_ask: bool) -> str:
        """What a search has found."""
        words = self.words
        stages = "".join(
            f"<li>{html.escape(words('stage', name=one['name'], videos=one['num_videos'], milliseconds=one['milliseconds']))}</li>"
            for one in found["stages"]
        )
        count = words("found", count=len(found["hits"]), total=found["num_videos"])
        verdict = ""
        if not found["hits"]:
            verdict = f'<p class="verdict" role="status">{html.escape(words("no_hit"))}</p>'
        elif found["nothing_fits"]:
            why = words("nothing_why", best=found["best"], threshold=found["threshold"])
            verdict = f'<p class="verdict" role="status"><strong>{html.escape(words("nothing_fits"))}</strong> {html.escape(why)}</p>'
        cards = "".join(self.card(hit, can_explain, can_ask) for hit in found["hits"])
        return (
            f'{self.player()}{self.remark(found)}{verdict}<p class="count" role="status">{html.escape(count)}</p><ul class="stages">{stages}</ul>'
            f'<ol class="cards">{cards}</ol>'
        )

    def card(self, hit: Mapping[str, Any], can_explain: bool, can_ask: bool) -> str:
        words, video, start_s, end_s = self.words, hit["video"], hit["start_s"], hit["end_s"]
        when = show_seconds(start_s)
        picture = (
            f'<img loading="lazy" src="{html.escape(self.media.frame_source(video, start_s))}" '
            f'alt="{attribute(words("frame", video=video, second=when))}">'
        )
        play = self.play(video, start_s, end_s, words("play", video=video, start=when), picture, "thumbnail")
        facts = [words("score", score=hit["score"]), words("lasts", duration=show_seconds(hit["duration_s"]))]
        metadata = "".join(
            f"<div><dt>{said(name)}</dt><dd>{said(' · '.join(value) if isinstance(value, list) else value)}</dd></div>"
            for name, value in list(hit["metadata"].items())[:MOST_COLUMNS]
        )
        about = (
            f'data-video="{html.escape(video)}" data-start="{hit["segment_s"][0]}" data-end="{hit["segment_s"][1]}"'
        )
        actions = "".join(
            f'<button type="button" class="action" data-action="{name}" {about}>{html.escape(words(name))}</button>'
            for name, is_there in (("explain", can_explain), ("ask", can_ask))
            if is_there
        )
        return (
            f'<li class="card">{play}<div class="facts"><h4>{said(video)}</h4><p>{html.escape(" · ".join(facts))}</p>'
            f"{self.timeline(video, hit['clips'], hit['duration_s'])}"
            f"<dl>{metadata}</dl>{actions}</div></li>"
        )

    def answers(self, found: Mapping[str, Any], name: str, duration_s: float) -> str:
        """Answers to a question, or classes."""
        video, answers = found["video"], found["answers"]
        if answers and "value" in answers[0]:  # a count
            most = max(abs(answers[0]["value"]), 1.0)
            rows = [(one[name], abs(one["value"]) / most, f"{one['value']:.2f}") for one in answers]
        else:
            rows = [(one[name], one["score"], f"{one['score']:.1%}") for one in answers]
        clips = answers[0].get("clips", []) if answers else []
        line = self.timeline(video, clips, duration_s)
        line = f"<h4>{html.escape(self.words('clips'))}</h4>{line}" if line else ""
        return f"{self.remark(found)}{self.bars(rows)}{self.player(video)}{line}{self.frames(video, found['frames'])}"

    def moments(self, found: Mapping[str, Any]) -> str:
        """When something happens."""
        video, items = found["video"], []
        for place, one in enumerate(found["moments"]):
            span = {"start": show_seconds(one["start_s"]), "end": show_seconds(one["end_s"])}
            text = f'{html.escape(span["start"])} – {html.escape(span["end"])} <span class="number">{one["score"]:.3f}</span>'
            kind = "moment best" if place == 0 else "moment"
            items.append(
                f"<li>{self.play(video, one['start_s'], one['end_s'], self.words('play_span', **span), text, kind)}</li>"
            )
        return f'{self.remark(found)}{self.player(video)}{self.curve(found)}<ol class="moments">{"".join(items)}</ol>'

    def curve(self, found: Mapping[str, Any]) -> str:
        """How likely each second is inside, as SVG, and the best moment."""
        curves = found["curves"]
        starts, ends, inside = curves["start_s"], curves["end_s"], curves["inside"]
        if not inside or not ends[-1] > 0:
            return ""
        length = max(max(ends), 1e-9)
        points = " ".join(
            f"{CURVE_WIDTH * (start + end) / 2 / length:.1f},{CURVE_HEIGHT * (1 - min(max(share, 0.0), 1.0)):.1f}"
            for start, end, share in zip(starts, ends, inside, strict=True)
            if math.isfinite(share)
        )
        place = max(range(len(inside)), key=lambda number: inside[number])
        label = self.words("curve", share=inside[place], second=show_seconds((starts[place] + ends[place]) / 2))
        best = found["moments"][0] if found["moments"] else None
        span = (
            ""
            if best is None
            else (
                f'<rect class="span" x="{CURVE_WIDTH * best["start_s"] / length:.1f}" y="0" '
                f'width="{max(CURVE_WIDTH * (best["end_s"] - best["start_s"]) / length, 2):.1f}" height="{CURVE_HEIGHT}"/>'
            )
        )
        return (
            f'<svg class="curve" viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" preserveAspectRatio="none" role="img" '
            f'aria-label="{html.escape(label)}"><title>{html.escape(label)}</title>{span}<polyline points="{points}"/></svg>'
            f'<p class="scale"><span>0 s</span><span>{html.escape(show_seconds(length))}</span></p>'
        )

    def explanation(self, found: Mapping[str, Any]) -> str:
        """What a score rests on."""
        words = self.words
        why = words("why", label="\0", kind=found["kind"], score=found["score"], baseline=found["baseline_score"])
        why = html.escape(why).replace("\0", said(found["label"]))
        checks = "".join(
            "<li>"
            + html.escape(
                words("deletion", name=words(name), verdict=words("faster" if curve["is_faster"] else "no_faster"))
            )
            + "</li>"
            for name, curve in found["deletion"].items()
        )
        picture = base64.b64encode(found["picture"]).decode()
        return (
            f'<section class="why"><h4>{why}</h4><img class="wide" src="data:image/png;base64,{picture}" '
            f'alt="{html.escape(words("picture_of_why"))}"><ul>{checks}</ul></section>'
        )


__all__ = ["Markup", "attribute", "said"]
