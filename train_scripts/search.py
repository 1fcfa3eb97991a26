# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Rank a folder of videos for a sentence, with any checkpoint of a retrieval model.

Run:     python train_scripts/search.py --checkpoint outputs/quickstart --videos outputs/quickstart/data/test "a yellow square"

`--checkpoint` is the folder of a run, whose best checkpoint is taken, a folder with a checkpoint, or a name on the Hub.
Several sentences are answered one after the other; without any, they are asked for. Each video is encoded once. Captions,
where the folder has them as `video_folder` reads them, are shown beside the results.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers.utils.logging import disable_progress_bar

from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.building.media import VIDEO_SUFFIXES, MediaIndex
from clipbert.processing import VideoDecodeError
from clipbert.support.families import load_trained
from clipbert.support.terminal import printable
from clipbert.train_scripts.tasks.scoring import VideoBlock, match_texts, repeat_texts
from clipbert.train_scripts.tasks.texts import describe_losses


@dataclass
class RankedVideo:
    """
    Args:
        path (`Path`): The video.
        score (`float`): How well sentence and video fit, as log-odds pooled over its clips: larger is better. It orders
            the videos for one sentence; it is no probability, and a video that fits less may have a high one, too.
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
        model (`PreTrainedModel`): A model that keeps the contract of matching (`train_scripts.tasks.scoring`).
        processor (`ProcessorMixin`): Saved with it; its options decide how many clips are read.
        paths (`Iterable[Path]`): Videos. Those that cannot be decoded are listed in `unreadable`.
        sampling: Options of the processor, such as `num_clips`, that differ from its own.
    """

    def __init__(self, model, processor, paths: Iterable[Path], **sampling):
        self.model, self.processor = model.eval(), processor
        self.paths, self.unreadable = [], {}
        self.videos, self.clip_masks, self.seconds = [], [], []
        for path in tqdm(list(paths), desc="encoding", unit="video", disable=None):
            try:
                inputs = processor(videos=[path], return_metadata=True, **sampling)
            except VideoDecodeError as error:
                self.unreadable[path] = str(error)
                continue
            self._add(path, inputs)

    @torch.inference_mode()
    def _add(self, path, inputs):
        mask = {name: inputs[name].to(self.model.device) for name in ("clip_mask",) if name in inputs}
        self.paths.append(path)
        self.videos.append(self.model.encode_videos(inputs["pixel_values"].to(self.model.device), **mask))
        self.clip_masks.append(mask.get("clip_mask"))
        self.seconds.append(inputs["frame_seconds"][0])  # (clips, frames)

    @torch.inference_mode()
    def rank(self, sentence: str, block: int = 16) -> list[RankedVideo]:
        """All readable videos, best first; `block` of them are scored together."""
        words = self.processor(text=[sentence]).to(self.model.device)
        text, ranked = self.model.encode_texts(words["input_ids"], words["attention_mask"]), []
        for start in range(0, len(self.paths), block):
            numbers = range(start, min(start + block, len(self.paths)))
            videos = torch.cat([self.videos[number] for number in numbers])
            mask = (
                None if self.clip_masks[start] is None else torch.cat([self.clip_masks[number] for number in numbers])
            )
            video_indices = torch.arange(len(videos), device=videos.device)
            videos = VideoBlock(list(numbers), videos, mask)
            outputs = match_texts(self.model, repeat_texts(text, len(numbers)), videos, video_indices)
            scores, clip_odds = outputs.match_odds, outputs.clip_odds
            if mask is not None and mask.shape == clip_odds.shape:
                clip_odds = clip_odds.masked_fill(~mask.bool(), -torch.inf)
            for number, score, clip in zip(numbers, scores.tolist(), clip_odds.argmax(dim=1).tolist(), strict=True):
                start_s, end_s = self.seconds_of(number, clip, clip_odds.shape[1])
                ranked.append(RankedVideo(self.paths[number], score, start_s, end_s))
        return sorted(ranked, key=lambda video: -video.score)

    def seconds_of(self, number: int, place: int, num_places: int) -> tuple[float, float]:
        """First and last second of a clip, or of a frame where the model scores frames."""
        seconds = self.seconds[number]  # (clips, frames)
        if num_places == seconds.numel() != len(seconds):
            seconds = seconds.flatten()[:, None]
        shown = seconds[place] if num_places == len(seconds) else seconds.flatten()
        return shown[0].item(), shown[-1].item()


def find_videos(place: Path) -> list[Path]:
    """The videos below a folder, by their suffix; or one file, whatever it is called."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise SystemExit(f"--videos {place}: no such folder or file.")
    found = sorted(place / name for names in MediaIndex(place).files.values() for name in names)
    if not found:
        raise SystemExit(f"--videos {place}: no file there ends in {', '.join(sorted(VIDEO_SUFFIXES))}.")
    return found


def read_captions(folder: Path) -> dict[Path, str]:
    """The first caption of each video as the loader `video_folder` reads them: shown beside the results, never scored."""
    captions: dict[Path, str] = {}
    # captions lie beside the videos, or beside a folder `videos/` of them
    for root in (folder, folder.parent) if folder.name == "videos" else (folder,):
        with suppress(FileNotFoundError):  # a folder without captions
            splits = load_benchmark("video_folder", "retrieval", data_dir=root, on_missing="keep", streaming=True)
            for row in (row for rows in splits.values() for row in rows):
                path = root / Path(row["video"]).relative_to(root.resolve())
                captions.setdefault(path, row["caption"])
    return captions


def find_checkpoint(name: str) -> str:
    """A checkpoint folder or a name on the Hub; of a run its best checkpoint, else its last."""
    folder = Path(name)
    for checkpoint in (folder, *(folder / "checkpoints" / which for which in ("best", "last"))):
        if (checkpoint / "config.json").is_file():
            return str(checkpoint)
    if folder.exists():
        raise SystemExit(
            f"--checkpoint {name}: neither a checkpoint (it has no config.json) nor a run with a finished one "
            "(checkpoints/best or checkpoints/last)."
        )
    return name


def load_model(name: str):
    """The model of a checkpoint that matches texts with videos, and its processor; anything else ends the program."""
    try:
        model, processor = load_trained(find_checkpoint(name))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        where = "" if Path(name).exists() else f"no such folder in {Path.cwd()}. As for the Hub: "
        raise SystemExit(f"--checkpoint {name}: {where}{reason}") from error
    if not hasattr(model, "match"):
        raise SystemExit(
            f"--checkpoint {name}: {type(model).__name__} does not match texts with videos; search takes what "
            "train_scripts/retrieval.py has trained."
        )
    return model, processor


def print_ranking(
    sentence: str, ranked: Sequence[RankedVideo], top: int, root: Path, captions: Mapping[Path, str]
) -> None:
    print(f'\n"{printable(sentence)}"   (score: larger fits better; not a probability)')
    for place, video in enumerate(ranked[:top], start=1):
        caption = f"   ({printable(captions[video.path])})" if video.path in captions else ""
        seconds = f"{video.start_s:.1f}-{video.end_s:.1f} s"
        name = printable(str(video.path.relative_to(root)))
        print(f"{place:4d}.  {video.score:7.2f}  {seconds:>13s}  {name}{caption}")


def asked_sentences():
    """Sentences typed at a prompt, until an empty one."""
    while sys.stdin.isatty() and (sentence := input("\nsearch for (empty: stop): ").strip()):
        yield sentence


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE")
    parser.add_argument("--checkpoint", required=True, help="a run, a checkpoint or a Hub name: a retrieval model")
    parser.add_argument("--videos", required=True, type=Path, help="folder of videos, with its sub-folders; or a file")
    parser.add_argument("--num_clips", type=int, help="clips read of each video (default: the checkpoint's own)")
    parser.add_argument("--top", type=int, default=5, help="videos to show (default: 5)")
    given = parser.parse_args(arguments)

    paths = find_videos(given.videos)
    root = given.videos if given.videos.is_dir() else given.videos.parent
    try:
        captions = read_captions(root)  # a broken line is told before anything is encoded
    except ValueError as error:
        raise SystemExit(f"--videos {given.videos}: {error}") from error
    disable_progress_bar()  # of transformers: a second of loading
    model, processor = load_model(given.checkpoint)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    search = VideoSearch(
        model.to(device), processor, paths, **({"num_clips": given.num_clips} if given.num_clips else {})
    )
    for reason in search.unreadable.values():
        print(f"left out: {reason}")
    for sentence in given.sentences or asked_sentences():
        if losses := describe_losses(processor, [sentence]):
            print(f"\nnote: {losses}")
        print_ranking(sentence, search.rank(sentence), given.top, root, captions)


if __name__ == "__main__":
    main()
