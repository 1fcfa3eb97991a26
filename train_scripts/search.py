# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Rank a folder of videos for a sentence, with any checkpoint of a retrieval model.

Run:     python train_scripts/search.py --checkpoint outputs/quickstart/checkpoints/best --videos my_videos "a dog"
Several sentences are answered one after the other; without any, they are asked for. Each video is encoded once.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForSequenceClassification, AutoProcessor

import clipbert  # noqa: F401  registers the classes that the checkpoint names
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES
from clipbert.processing import VideoDecodeError


@dataclass
class RankedVideo:
    """
    Args:
        path (`Path`): The video.
        score (`float`): Match of sentence and video in [0, 1], pooled over its clips. How well it is calibrated
            depends on the training objective; the order is what counts.
        start_s, end_s (`float`): First and last frame, in seconds, of the clip that agrees best.
    """

    path: Path
    score: float
    start_s: float
    end_s: float


class VideoSearch:
    """
    Videos encoded once, to be ranked for any number of sentences.

    Args:
        model (`PreTrainedModel`): A retrieval model.
        processor (`VideoTextProcessor`): Saved with it; its options decide how many clips are read.
        paths (`Iterable[Path]`): Videos. Those that cannot be decoded are listed in `unreadable`.
        sampling: Options of the processor, such as `num_clips`, that differ from its own.
    """

    def __init__(self, model, processor, paths: Iterable[Path], **sampling):
        self.model, self.processor = model.eval(), processor
        self.paths, self.unreadable = [], {}
        self.visual_embeds, self.clip_masks, self.seconds = [], [], []
        for path in tqdm(list(paths), desc="encoding", unit="video", disable=None):
            try:
                inputs = processor(videos=[path], return_metadata=True, **sampling)
            except VideoDecodeError as error:
                self.unreadable[path] = str(error)
                continue
            self._add(path, inputs)

    @torch.inference_mode()
    def _add(self, path, inputs):
        pixel_values = inputs["pixel_values"].to(self.model.device)
        self.paths.append(path)
        self.visual_embeds.append(self.model.encode_videos(pixel_values))  # (1, clips, cells, width)
        self.clip_masks.append(inputs.get("clip_mask", torch.ones(pixel_values.shape[:2])).to(self.model.device))
        self.seconds.append(inputs["frame_seconds"][0])  # (clips, frames)

    @torch.inference_mode()
    def rank(self, sentence: str, block: int = 16) -> list[RankedVideo]:
        """All readable videos, best first; `block` of them are scored together."""
        words = self.processor(text=[sentence]).to(self.model.device)
        ranked = []
        for start in range(0, len(self.paths), block):
            visual_embeds = torch.cat(self.visual_embeds[start : start + block])
            clip_mask = torch.cat(self.clip_masks[start : start + block])
            outputs = self.model(
                input_ids=words["input_ids"].expand(len(visual_embeds), -1),
                attention_mask=words["attention_mask"].expand(len(visual_embeds), -1),
                visual_embeds=visual_embeds,
                clip_mask=clip_mask,
                pooled_only=True,
            )
            scores = self.model.match_scores(outputs.logits.double())  # double: certain matches stay apart
            by_clip = self.model.match_scores(outputs.clip_logits.flatten(0, 1)).view_as(clip_mask)
            best_clips = by_clip.masked_fill(~clip_mask.bool(), -1).argmax(dim=1)
            for offset, (score, clip) in enumerate(zip(scores.tolist(), best_clips.tolist(), strict=True)):
                seconds = self.seconds[start + offset][clip].tolist()
                ranked.append(RankedVideo(self.paths[start + offset], score, seconds[0], seconds[-1]))
        return sorted(ranked, key=lambda video: -video.score)


def find_videos(folder: Path) -> list[Path]:
    """The videos below a folder, by their suffix."""
    if not folder.is_dir():
        raise SystemExit(f"--videos {folder}: no such folder.")
    paths = (Path(root, name) for root, _, names in os.walk(folder, followlinks=True) for name in names)
    found = sorted(path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES)
    if not found:
        raise SystemExit(f"--videos {folder}: no file there ends in {', '.join(sorted(VIDEO_SUFFIXES))}.")
    return found


def read_captions(folder: Path) -> dict[Path, str]:
    """The first caption of each video, if the folder has a `captions.jsonl`: shown beside the results, never scored."""
    captions: dict[Path, str] = {}
    if (folder / "captions.jsonl").is_file():
        for line in (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            captions.setdefault(folder / record["video"], str(record["caption"]))
    return captions


def print_ranking(sentence: str, ranked: Sequence[RankedVideo], top: int, root: Path) -> None:
    captions = read_captions(root)
    print(f'\n"{sentence}"')
    for place, video in enumerate(ranked[:top], start=1):
        caption = f"   ({captions[video.path]})" if video.path in captions else ""
        seconds = f"{video.start_s:.1f}-{video.end_s:.1f} s"
        print(f"{place:4d}.  {video.score:7.2%}  {seconds:>13s}  {video.path.relative_to(root)}{caption}")


def asked_sentences():
    """Sentences typed at a prompt, until an empty one."""
    while sys.stdin.isatty() and (sentence := input("\nsearch for (empty: stop): ").strip()):
        yield sentence


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE")
    parser.add_argument("--checkpoint", required=True, help="folder or Hub name of a retrieval model")
    parser.add_argument("--videos", required=True, type=Path, help="folder of videos, searched with its sub-folders")
    parser.add_argument("--num_clips", type=int, help="clips read of each video (default: the checkpoint's own)")
    parser.add_argument("--top", type=int, default=5, help="videos to show (default: 5)")
    given = parser.parse_args(arguments)

    paths = find_videos(given.videos)
    model = AutoModelForSequenceClassification.from_pretrained(given.checkpoint)
    processor = AutoProcessor.from_pretrained(given.checkpoint)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    search = VideoSearch(
        model.to(device), processor, paths, **({"num_clips": given.num_clips} if given.num_clips else {})
    )
    for reason in search.unreadable.values():
        print(f"left out: {reason}")
    for sentence in given.sentences or asked_sentences():
        print_ranking(sentence, search.rank(sentence), given.top, given.videos)


if __name__ == "__main__":
    main()
