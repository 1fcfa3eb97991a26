# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The command `look`: what a video file holds, which frames a processor would take, and whether all of it decodes."""

import argparse
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from clipbert.command_line.arguments import (
    Command,
    CommandParser,
    add_checkpoint,
    add_json,
    add_processor,
    add_videos,
    read_settings,
)
from clipbert.command_line.inputs import open_inputs
from clipbert.command_line.opening import check_checkpoint, open_video_processor
from clipbert.command_line.output import Output, heading
from clipbert.support.terminal import printable, show_seconds


if TYPE_CHECKING:  # what is heavy waits for the command to run
    from clipbert.processing import SparseVideoProcessor, VideoDecodeError
    from clipbert.processing.decoding import DecodedVideoMetadata

SHOWN = 8  # clips that a terminal shows
LABEL = 12  # columns


def add_look(parser: CommandParser) -> None:
    add_videos(parser)
    add_checkpoint(parser, otherwise="four clips of two frames, evenly spread")
    add_processor(parser)
    add_json(parser)


def run_look(given: argparse.Namespace) -> int:
    """Look at all videos, one by one."""
    settings = read_settings(given)
    if given.checkpoint is not None:
        check_checkpoint(given.checkpoint)
    with Output(given.json) as output:
        videos = open_inputs(given.videos, output)
        processor = open_video_processor(given, settings)
        output.begin()
        for video in videos:
            found, error = look_at(video, processor)
            output.advance()
            output.write(found, lambda columns, found=found: describe(found, columns))
            if error is not None:
                output.fail(str(error))
        return output.exit_code


def look_at(video: str, processor: "SparseVideoProcessor") -> tuple[dict[str, Any], "VideoDecodeError | None"]:
    """
    What there is to know of a video. All of it is decoded.

    Args:
        video (`str`): A path or a URL.
        processor (`SparseVideoProcessor`): Whose frames are of interest.

    Returns:
        `tuple[dict, VideoDecodeError | None]`: What is wrong with it, if it does not decode; and before that `video`, `decodes`,
        `error` and `missing_frame` where it does not; what is known of the file: `container`, `codec`, `width` and `height` as it
        is seen, `rotation` (degrees, already applied), `pixel_ratio`, `num_frames`, `fps`, `duration_s`, `num_key_frames`,
        `longest_key_distance` (frames); and `sampled`, a list of clips with `frame_indices` and `frame_seconds`, or
        `sampling_error`.
    """
    from clipbert.processing import VideoDecodeError, read_video_metadata

    try:
        metadata = read_video_metadata(video)
    except VideoDecodeError as error:
        return {"video": video, **verdict(error)}, error
    error = find_damage(video)
    return {
        "video": video,
        **verdict(error),
        "container": metadata.container,
        "codec": metadata.codec,
        "width": metadata.width,
        "height": metadata.height,
        "rotation": metadata.rotation,
        "pixel_ratio": metadata.pixel_ratio,
        "num_frames": metadata.total_num_frames,
        "fps": metadata.fps,
        "duration_s": metadata.duration,
        **key_frames(metadata),
        **sample(metadata, processor),
    }, error


def verdict(error: "VideoDecodeError | None") -> dict[str, Any]:
    if error is None:
        return {"decodes": True}
    missing = {} if error.frame_index is None else {"missing_frame": error.frame_index}
    return {"decodes": False, "error": error.reason, **missing}


def find_damage(video: str) -> "VideoDecodeError | None":
    """What is wrong with a video whose header can be read; all of it is decoded to find out."""
    from clipbert.processing import VideoDecodeError
    from clipbert.processing.streaming import stream_video

    try:
        for _ in stream_video(video, transform=lambda picture: None):  # no picture is kept
            pass
    except VideoDecodeError as error:
        return error
    return None


def key_frames(metadata: "DecodedVideoMetadata") -> dict[str, int]:
    """How many there are, and how many frames at most have to be decoded for one."""
    keys = metadata.key_frames
    if keys is None or not len(keys):
        return {}
    distances = [after - before for before, after in zip(keys, [*keys[1:], metadata.total_num_frames], strict=True)]
    return {"num_key_frames": len(keys), "longest_key_distance": int(max(distances))}


def sample(metadata: "DecodedVideoMetadata", processor: "SparseVideoProcessor") -> dict[str, Any]:
    """The clips that a processor would take."""
    from clipbert.processing.video_processing import times_of_frames

    try:
        chosen = processor.sample_frames(metadata)
    except ValueError as error:
        return {"sampling_error": str(error)}
    try:
        begins = times_of_frames(metadata)[0]
    except ValueError:  # nothing tells them
        begins = None
    exists = getattr(chosen, "clip_mask", [True] * len(chosen.frame_indices))
    clips = []
    for row in chosen.frame_indices[[bool(there) for there in exists]].tolist():
        numbers = [number for number in row if number >= 0]
        seconds = None if begins is None else [float(begins[number]) for number in numbers]
        clips.append({"frame_indices": numbers, "frame_seconds": seconds})
    return {"sampled": clips}


def describe(found: Mapping[str, Any], columns: int) -> Iterator[str]:
    """The same as lines of a terminal."""
    yield heading(found["video"], columns)
    for name, text in facts(found):
        for line in textwrap.wrap(printable(text), max(columns - LABEL - 2, LABEL)):
            yield f"  {name:<{LABEL}}{line}"
            name = ""


def facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "container" in found:
        yield "format", " in ".join(filter(None, (found["codec"], found["container"])))
        turned = f", turned by {found['rotation']} degrees" if found["rotation"] else ""
        stretched = f", pixels of {found['pixel_ratio']:.3g}:1" if found["pixel_ratio"] != 1 else ""
        yield "size", f"{found['width']} x {found['height']}{turned}{stretched}"
        rate = "" if found["fps"] is None else f", {found['fps']:.6g} a second"
        length = "" if found["duration_s"] is None else f", {show_seconds(found['duration_s'])}"
        yield "frames", f"{found['num_frames']}{rate}{length}"
    if "num_key_frames" in found:
        distance = found["longest_key_distance"]
        seconds = f" ({show_seconds(distance / found['fps'])})" if found["fps"] else ""
        yield "key frames", f"{found['num_key_frames']}, at most {distance} frames{seconds} from one to the next"
    if "sampling_error" in found:
        yield "sampled", f"nothing: {found['sampling_error']}"
    clips = found.get("sampled", ())
    for place, clip in enumerate(clips[:SHOWN]):
        numbers, seconds = clip["frame_indices"], clip["frame_seconds"]
        text = f"frame{'s' if len(numbers) > 1 else ''} {join(numbers)}"
        text += "" if seconds is None else f" at {join([f'{second:.2f}' for second in seconds])} s"
        yield "sampled" if place == 0 else "", text
    if len(clips) > SHOWN:
        yield "", f"and {len(clips) - SHOWN} clips more"
    frame = f", frame {found['missing_frame']}" if "missing_frame" in found else ""
    yield "decodes", "as a whole" if found["decodes"] else f"NO{frame}: {found['error']}"


def join(values: list[Any]) -> str:
    shown = [str(value) for value in values]
    return " ".join(shown if len(shown) <= SHOWN else [*shown[: SHOWN - 1], "...", shown[-1]])


LOOK = Command(
    "what a video file holds, which frames would be taken, and whether all of it decodes",
    """  clipbert look film.mp4
  clipbert look my_videos --checkpoint outputs/quickstart --set num_clips=8""",
    add_look,
    run_look,
)

__all__ = ["LOOK"]
