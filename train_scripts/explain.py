# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the score of a sentence and a video rests on: frames and words with their weights, and what a branch looks at.

Run:     python train_scripts/explain.py --checkpoint outputs/RUN --video dog.mp4 "a dog runs" --picture explained.png

For models that say so (`explain`: Mug-STAN, whose weights are those of Mug, also where a score takes the mean of the frames).
Without `--picture` the weights are bars in the terminal. Pictures need matplotlib: `pip install "clipbert[plots]"`. The first
hits of two checkpoints side by side: `search.py --beside --picture`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from clipbert.processing import VideoDecodeError
from clipbert.support.terminal import printable
from clipbert.train_scripts.engine.pictures import PicturesError
from clipbert.train_scripts.tasks.retrieval.pictures import Explanation, describe_explanation, draw_explanation
from clipbert.train_scripts.tasks.retrieval.trained import load_model


def explain(model: Any, processor: Any, path: Path, sentence: str, view: int = 0) -> tuple[float, Explanation]:
    """
    The score of a sentence and a video, and what it rests on.

    Args:
        model (`PreTrainedModel`): Has `explain`, and where it can tell them `attention_maps`.
        processor (`ProcessorMixin`): Saved with it.
        path (`Path`): The video.
        sentence (`str`): What it is said to show.
        view (`int`, *optional*, defaults to 0): Which of several views of the video.
    """
    inputs = processor(text=[sentence], videos=[path], return_metadata=True)
    pixel_values, ids = inputs["pixel_values"], inputs["input_ids"]
    with torch.inference_mode():
        texts = model.encode_texts(ids, inputs["attention_mask"])
        videos = model.encode_videos(pixel_values)
        score = model.match(texts, videos).match_odds.item()
        found = model.explain(texts, videos)
    maps = model.attention_maps(pixel_values)
    frames = pixel_values.flatten(0, -5)[view]  # (frames, 3, height, width)
    shown = processor.video_processor
    mean, std = (torch.tensor(values)[:, None, None] for values in (shown.image_mean, shown.image_std))
    seconds = inputs["frame_seconds"][0].reshape(-1, len(frames))  # (clips, frames); a single one has no dimension
    words = processor.tokenizer.convert_ids_to_tokens(ids[0][inputs["attention_mask"][0].bool()].tolist())
    is_word = texts["attention_mask"][0].bool()
    words += ["[class]"] * (int(is_word.sum()) - len(words))  # a tower with a class token behind the words
    return score, Explanation(
        frames=(frames * std + mean).clamp(0, 1).movedim(1, -1).numpy(),
        seconds=seconds[min(view, len(seconds) - 1)].numpy(),  # crops of a clip share its seconds
        words=[word.replace("</w>", "").strip("▁Ġ") or word for word in words],
        frame_weights=found.frame_weights[0, view].numpy(),
        word_weights=found.word_weights[0, view][is_word].numpy(),
        similarity=found.similarity[0, view][is_word].numpy(),
        attention=None if maps is None else maps[0, view].numpy(),
    )


def main(arguments: Sequence[str] | None = None) -> Explanation:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentence", metavar="SENTENCE")
    parser.add_argument("--checkpoint", required=True, help="a run, a checkpoint or a Hub name")
    parser.add_argument("--video", required=True, type=Path, help="a file")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw it")
    given = parser.parse_args(arguments)
    if not given.sentence.strip():
        raise SystemExit("SENTENCE: expected words, got none.")
    if not given.video.is_file():
        raise SystemExit(f"--video {given.video}: no such file.")
    disable_progress_bar()
    model, processor = load_model(given.checkpoint)
    if not hasattr(model, "explain"):
        raise SystemExit(
            f"--checkpoint {given.checkpoint}: {type(model).__name__} does not say what its scores rest on; models with "
            "`explain` do, such as Mug-STAN."
        )
    score, found = explain(model.eval(), processor, given.video, given.sentence)
    title = f'"{given.sentence}" and {given.video.name}: score {score:.2f}'
    print(f"{printable(title)}\n{describe_explanation(found)}")
    if given.picture is not None:
        print(printable(str(draw_explanation(found, given.picture, title))))
    return found


if __name__ == "__main__":
    try:
        main()
    except (PicturesError, VideoDecodeError) as error:
        sys.exit(printable(str(error)))
