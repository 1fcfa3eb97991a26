# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Texts scored with videos: each video decoded and encoded once, each text tokenised and encoded once, in blocks.

A block of videos meets one block of texts after the other; texts are sorted by length and padded to the longest of their
block. Memory is bounded by one block of videos and by the table of scores; of a head that has `match_all` by what it makes
of all videos and texts, and by one block of scores. Processes share the videos.

The contract of matching. A head that says how well a text fits a video has three methods, and nothing else is asked of
it, be it a cross-encoder that reads both together or a dual encoder that compares two vectors:

    encode_videos(pixel_values, clip_mask=None) -> videos   a tensor, first dimension videos
    encode_texts(input_ids, attention_mask) -> texts        a tensor, or a dict of them, first dimension texts; a
                                                            cross-encoder returns the tokens it will need
    match(texts, videos, video_indices, clip_mask=None)     text i with video `video_indices[i]`; returns
        .match_odds (pairs,)                                log-odds that they belong together
        .clip_odds (pairs, clips)                           the same for each clip, or frame, by itself
        .clip_logits (pairs, clips, labels), or None        what the model says of each clip, where its scores can be
                                                            pooled over clips in several ways

`clip_mask` is given only where the processor has made one.

A head that compares texts and videos after it has encoded them, each by itself, may say so, by all three of these:

    match_all(texts, videos, clip_mask=None)                every text with every video; log-odds (texts, videos), in blocks of its
                                                            own, so that memory does not grow with their number
    vectors(encoded) -> (rows, width)                       one vector of length 1 for each text, or video, whose products are a
                                                            first guess at the order
    match_frames(texts, videos, video_indices)              as `match`, of each frame by itself: log-odds (pairs, frames)
    similarity_scale                                        the log-odds are this number times a similarity in [-1, 1]

A head that learns by contrast has two methods besides:

    forward(..., return_features=True) -> texts, videos     what the two encoders return, of the texts and videos of a batch
    contrastive_loss(texts, videos, text_keys, video_keys)  of pairs: row i of both belongs together; keys (pairs,) are equal
                                                            where texts, or videos, are the same

A classifier that reads the names of its classes, so that none of them has weights of its own, has one:

    set_classes(names, processor, template=None)            from now on these are the classes: `logits` has a column for each,
                                                            `config.id2label` their names; `template` ("a video of {}") becomes
                                                            `config.class_template`, the text around a name
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from clipbert.processing.decoding import VideoDecodeError
from clipbert.processing.decoding_count import note_decoded
from clipbert.train_scripts.engine.checkpoint import writing
from clipbert.train_scripts.engine.cost import ReadItems, batches_of
from clipbert.train_scripts.engine.data import Skipped, UndecodableVideosError, build_loader, check_skipped
from clipbert.train_scripts.engine.recipe import Recipe
from clipbert.train_scripts.tasks.kept_videos import KeptVideo, KeptVideos
from clipbert.train_scripts.tasks.pooling import mark_absent_clips


logger = logging.getLogger("clipbert.train_scripts")
ELEMENTS_PER_MESSAGE = 2**24  # of a table that processes share; bounds memory, not the result
SCORES_PER_BLOCK = 2**22  # of all texts with some videos; likewise
PLACE = "kept_as"  # key of an item: where what will be made of it is kept
Texts = torch.Tensor | Mapping[str, torch.Tensor]


# ---------------------------------------------------------------------------------------------------------------------
# Videos in blocks
# ---------------------------------------------------------------------------------------------------------------------


def decode_or_explain(decode: Callable[[], Any], skip: bool) -> Any:
    """
    What `decode` returns; or, if that cannot be decoded and `skip` allows for it, the reason as a text.

    Raises:
        UndecodableVideosError: If it cannot be decoded and must be.
    """
    try:
        return decode()
    except VideoDecodeError as error:
        if not skip:
            raise UndecodableVideosError(f"{error} Repair it, or set data.on_decode_error=skip.") from error
        return str(error)


class VisualInputs(Dataset):
    """
    Videos or images as model inputs with `frame_seconds`; in place of one that cannot be decoded the reason, and in place of one that
    has been encoded before a [`KeptVideo`].

    Args:
        visuals (`Mapping[int, str]`): Paths by number.
        media (`str`): `"video"` or `"image"`.
        processor (`ProcessorMixin` or `BaseVideoProcessor`): Decodes them.
        options (`Mapping[str, Any]`): How clips are chosen, as the processor takes it; empty for images.
        skip (`bool`): Whether those that cannot be decoded pass, with the reason, instead of failing.
        seed (`int`): Random clips of a video depend on it and on its number.
        spans (`Sequence`, *optional*): For each video the part that is meant, `(start_s, end_s)`, or `None` for the whole.
        kept ([`KeptVideos`], *optional*): Those that have been encoded before.
    """

    def __init__(
        self,
        visuals: Mapping[int, str],
        media: str,
        processor: Any,
        options: Mapping[str, Any],
        skip: bool,
        seed: int,
        spans: Sequence[tuple[float, float] | None] | None = None,
        kept: KeptVideos | None = None,
    ):
        self.spans, self.kept = spans, kept
        self.numbers, self.visuals, self.media = list(visuals), visuals, media
        self.processor, self.options, self.skip = processor, options, skip
        self.seed = seed if options.get("sampling") == "random" else None

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any] | KeptVideo | str:
        number, place = self.numbers[index], self.place_of(self.numbers[index])
        if place is not None and (found := KeptVideos.read(place)) is not None:
            note_decoded(0)
            return found
        inputs = decode_or_explain(lambda: self.prepare(number), self.skip)
        if isinstance(inputs, str):
            return inputs
        inputs = {name: value for name, value in inputs.items() if name not in ("frame_indices", "video_metadata")}
        return inputs if place is None else {**inputs, PLACE: place}

    def place_of(self, number: int) -> Path | None:
        """Where what a model makes of a video is kept, if it is."""
        if self.kept is None:
            return None
        span = None if self.spans is None else self.spans[number]
        drawn = None if self.seed is None else (self.seed, number)
        return self.kept.path_of(self.visuals[number], span=span, drawn=drawn)

    def prepare(self, number: int) -> Mapping[str, Any]:
        """What the processor makes of a video or image."""
        return self.processor(**self.arguments(number))

    def arguments(self, number: int) -> dict[str, Any]:
        """What the processor is called with."""
        seeds = {} if self.seed is None else {"seeds": [(self.seed, number)]}
        given = {f"{self.media}s": [self.visuals[number]]}
        if self.spans is not None:
            given["spans_se"] = [self.spans[number]]
        return {**given, "return_metadata": True, **seeds, **self.options}


class VideoBlock(NamedTuple):
    """Encoded videos: their numbers, what `encode_videos` returned, and which of their clips exist."""

    numbers: list[int]
    videos: torch.Tensor
    clip_mask: torch.Tensor | None


@dataclass
class VisualReader:
    """
    Decodes and encodes a list of videos or images, those of this process, block by block.

    Args:
        visuals (`Sequence[str]`): All of them, on every process.
        media (`str`): `"video"` or `"image"`.
        processor: Makes model inputs.
        options (`Mapping[str, Any]`): How clips are chosen; empty for images.
        recipe (`Recipe`): Size of blocks, workers, and what happens to videos that cannot be decoded.
        accelerator (`Accelerator`): The processes.
        draw (`int`, *optional*, defaults to 0): Which of several draws of random clips.
        spans (`Sequence`, *optional*): For each video the part that is meant, `(start_s, end_s)`, or `None` for the whole.
        notes_frames (`bool`, *optional*, defaults to `False`): Whether to tell which videos have the same frames.

    After all blocks have been read, `skipped` maps the numbers of those that could not be decoded to the reason,
    `frame_seconds` `(videos, clips, frames)` says when each frame is shown, from the start of the video (NaN where
    unknown), and `frame_keys` `(videos,)`, with `notes_frames`, are equal where videos show the same frames, in whatever
    order; all of them for all processes once `gather` has been called.

    With `eval.kept_videos` in the recipe, what the model makes of each video is kept there, and read instead where it is there.
    """

    keeps_videos: ClassVar[bool] = True  # whether what is encoded of a video may be

    visuals: Sequence[str]
    media: str
    processor: Any
    options: Mapping[str, Any]
    recipe: Recipe
    accelerator: Accelerator
    draw: int = 0
    spans: Sequence[tuple[float, float] | None] | None = None
    notes_frames: bool = False
    skipped: dict[int, str] = field(default_factory=dict)

    def __post_init__(self):
        self.own = range(self.accelerator.process_index, len(self.visuals), self.accelerator.num_processes)
        self.num_clips = self.options.get("num_clips", 1)
        # zeros, to which the other processes add what they have found
        shape = (len(self.visuals), self.num_clips, self.options.get("num_frames", 1))
        self.frame_seconds = torch.zeros(shape, dtype=torch.float64)
        self.frame_keys = torch.zeros(len(self.visuals), dtype=torch.int64)
        self.kept: KeptVideos | None = None
        self.num_read = 0  # videos of this process that had been kept

    def blocks(self, model: PreTrainedModel) -> Iterator[VideoBlock]:
        """The usable videos of this process; those that cannot be decoded are noted."""
        recipe, self.kept = self.recipe, self.open_kept(model)
        read, pin_memory = ReadItems(self.inputs(), list), self.accelerator.device.type == "cuda"
        loader = build_loader(
            read, recipe.data, pin_memory, batch_size=recipe.eval.video_block, collate_fn=read.collate
        )
        quiet, done = None if self.accelerator.is_main_process else True, 0
        with tqdm(total=len(self.own), desc="evaluating", unit=self.media, disable=quiet) as bar:
            for items in batches_of(loader):
                numbers, inputs, places, found = [], [], [], []
                for number, item in zip(self.own[done : done + len(items)], items, strict=True):
                    if isinstance(item, str):
                        self.skipped[number], self.frame_seconds[number] = item, torch.nan
                    elif isinstance(item, KeptVideo):
                        found.append(self.restore(number, item))
                    else:
                        places.append(item.pop(PLACE, None))
                        self.note(number, item)
                        numbers.append(number)
                        inputs.append(item)
                if numbers:
                    found.append(self.encode(model, numbers, inputs))
                    self.keep(found[-1], places)
                if found:
                    yield join_blocks(found)
                done += len(items)
                bar.update(len(items))

    def inputs(self, build: Callable[..., VisualInputs] = VisualInputs) -> VisualInputs:
        """The videos of this process, as model inputs."""
        return build(
            {number: self.visuals[number] for number in self.own},
            self.media,
            self.processor,
            self.options,
            skip=self.recipe.data.on_decode_error == "skip",
            seed=self.recipe.run.seed + self.draw,
            spans=self.spans,
            kept=self.kept,
        )

    def open_kept(self, model: PreTrainedModel) -> KeptVideos | None:
        """What has been kept of this model and these options, if the recipe says where."""
        folder = getattr(self.recipe.eval, "kept_videos", None)
        if folder is None or not self.keeps_videos:
            return None
        seen = {"media": self.media, "options": dict(self.options), "notes_frames": self.notes_frames}
        return KeptVideos(folder, model, self.processor, **seen, precision=self.accelerator.mixed_precision)

    def restore(self, number: int, item: KeptVideo) -> VideoBlock:
        """A video that had been kept, as if it had been encoded now."""
        self.num_read += 1
        self.frame_seconds[number], self.frame_keys[number] = item.frame_seconds, item.frame_key
        device = self.accelerator.device
        return VideoBlock(
            [number], item.videos.to(device), None if item.clip_mask is None else item.clip_mask.to(device)
        )

    def keep(self, block: VideoBlock, places: Sequence[Path | None]) -> None:
        """Write what was encoded to its places."""
        for row, (number, place) in enumerate(zip(block.numbers, places, strict=True)):
            if place is not None:
                mask = None if block.clip_mask is None else block.clip_mask[row : row + 1]
                noted = (self.frame_seconds[number], self.frame_keys[number])
                with writing(place):
                    KeptVideos.write(place, KeptVideo(block.videos[row : row + 1], mask, *noted))

    def note(self, number: int, item: dict[str, torch.Tensor]) -> None:
        """Keep what is to be known of a video, and take out what is no input of the model."""
        seconds = item.pop("frame_seconds", None)
        self.frame_seconds[number] = torch.nan if seconds is None else seconds[0]
        if self.notes_frames:
            self.frame_keys[number] = key_of_frames(item["pixel_values"])

    def encode(
        self, model: PreTrainedModel, numbers: list[int], inputs: Sequence[Mapping[str, torch.Tensor]]
    ) -> VideoBlock:
        device = self.accelerator.device
        # one by one: pinned memory is copied in the background, what is put together here would not be pinned
        parts = {name: [item[name].to(device, non_blocking=True) for item in inputs] for name in inputs[0]}
        together = {name: torch.cat(values) for name, values in parts.items()}
        mask = {"clip_mask": together["clip_mask"]} if "clip_mask" in together else {}
        return VideoBlock(numbers, model.encode_videos(together["pixel_values"], **mask), mask.get("clip_mask"))

    def gather(self) -> None:
        """Let every process know what all of them have found."""
        self.frame_seconds = add_tables(self.frame_seconds, self.accelerator)
        self.frame_keys = add_tables(self.frame_keys, self.accelerator)
        self.skipped = dict(gather_object(list(self.skipped.items())))
        if self.kept is not None:
            num_read = sum(gather_object([self.num_read]))
            logger.info(f"Videos that {self.kept.folder} had: {num_read} of {len(self.visuals)}; others were encoded.")

    def check_skipped(self, names: Sequence[str]) -> None:
        """Report what could not be decoded, by name; more than the recipe allows for is an error."""
        skipped = [Skipped(0, names[number], reason) for number, reason in self.skipped.items()]
        check_skipped(skipped, len(self.visuals), self.recipe.data.max_decode_error_rate)


def join_blocks(blocks: Sequence[VideoBlock]) -> VideoBlock:
    """The videos of several blocks, in the order of their numbers."""
    if len(blocks) == 1:
        return blocks[0]
    numbers = [number for block in blocks for number in block.numbers]
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    masks = [block.clip_mask for block in blocks]
    mask = None if masks[0] is None else torch.cat(masks)[order]
    return VideoBlock([numbers[place] for place in order], torch.cat([block.videos for block in blocks])[order], mask)


def paths_of(reader: VisualReader) -> list[str | None]:
    """Where the videos or images of a reader lie; `None` of those that are no files."""
    return [visual if isinstance(visual, str) else None for visual in reader.visuals]


def key_of_frames(pixel_values: torch.Tensor) -> int:
    """A whole number of 63 bits for frames `(..., colours, height, width)`, whatever their order."""
    frames = pixel_values.contiguous().flatten(0, -4).view(torch.uint8).numpy()
    digests = sorted(hashlib.blake2b(frame, digest_size=8).digest() for frame in frames)
    return int.from_bytes(hashlib.blake2b(b"".join(digests), digest_size=8).digest(), "big") >> 1


def add_tables(table: torch.Tensor, accelerator: Accelerator) -> torch.Tensor:
    """The sum of what every process has found; each row is not 0 in one of them at most."""
    if accelerator.num_processes > 1:
        for part in table.flatten().split(ELEMENTS_PER_MESSAGE):  # views: the table itself changes
            part.copy_(accelerator.reduce(part.to(accelerator.device), reduction="sum"))
    return table


# ---------------------------------------------------------------------------------------------------------------------
# Texts in blocks
# ---------------------------------------------------------------------------------------------------------------------


class TextBlock(NamedTuple):
    """Texts of similar length: their numbers, and their tokens."""

    numbers: list[int]
    input_ids: torch.Tensor
    attention_mask: torch.Tensor


def build_text_blocks(texts: Sequence[str], processor: Any, size: int, device: torch.device) -> list[TextBlock]:
    """Texts in blocks of similar length, longest first."""
    is_fixed = getattr(processor, "padding", None) == "max_length"  # as models with positions for padding need it
    encoded = processor(text=list(texts), padding=is_fixed, return_tensors=None)
    order = sorted(range(len(texts)), key=lambda text: -sum(encoded["attention_mask"][text]))
    blocks = []
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        padded = processor.tokenizer.pad(
            {name: [encoded[name][text] for text in chosen] for name in ("input_ids", "attention_mask")},
            return_tensors="pt",
        )
        blocks.append(TextBlock(chosen, padded["input_ids"].to(device), padded["attention_mask"].to(device)))
    return blocks


def repeat_texts(texts: Texts, times: int) -> Texts:
    """All texts of a block, so many times in a row."""
    if isinstance(texts, Mapping):
        return {name: repeat_texts(values, times) for name, values in texts.items()}
    return texts.repeat(times, *[1] * (texts.ndim - 1))


# ---------------------------------------------------------------------------------------------------------------------
# Scores
# ---------------------------------------------------------------------------------------------------------------------


def match_texts(model: PreTrainedModel, texts: Texts, block: VideoBlock, video_indices: torch.Tensor) -> Any:
    """What `match` says of texts and the videos of a block."""
    mask = {} if block.clip_mask is None else {"clip_mask": block.clip_mask}
    return model.match(texts, block.videos, video_indices, **mask)


def matches_of_clips(outputs: Any) -> torch.Tensor:
    """Scores `(pairs, clips, labels)` that can be pooled, or `(pairs, 1, 1)` where the model pools by itself."""
    clip_logits = getattr(outputs, "clip_logits", None)
    return outputs.match_odds[:, None, None].float() if clip_logits is None else clip_logits.float()


def score_blocks(model: PreTrainedModel, block: VideoBlock, encoded: Sequence[Texts]) -> torch.Tensor:
    """Scores `(videos, texts, clips, labels)` of a block of videos with all texts, which stand as in their blocks."""
    num_videos, parts = len(block.numbers), []
    for texts in encoded:
        num_texts = count_texts(texts)
        video_indices = torch.arange(num_videos, device=block.videos.device).repeat_interleave(num_texts)
        outputs = match_texts(model, repeat_texts(texts, num_videos), block, video_indices)
        parts.append(matches_of_clips(outputs).unflatten(0, (num_videos, -1)))
    return torch.cat(parts, dim=1).cpu()


def score_all_pairs(
    model: PreTrainedModel,
    reader: VisualReader,
    texts: Sequence[str],
    pairs_per_forward: int,
    galleries: Sequence[tuple[Sequence[int], Sequence[int]]] | None = None,
    choose: Callable[[VideoBlock], VideoBlock] = lambda block: block,
    num_clips: int | None = None,
) -> torch.Tensor:
    """
    Score every text with every video, or with those of its gallery; all processes return the whole table.

    Args:
        model (`PreTrainedModel`): Keeps the contract of matching; in evaluation mode.
        reader (`VisualReader`): The videos.
        texts (`Sequence[str]`): Sentences.
        pairs_per_forward (`int`): Pairs of a text and a clip that `match` gets at a time.
        galleries (`Sequence`, *optional*): Of each the numbers of its videos and of its texts, which are scored with each other
            alone. `None`: one with all of them.
        choose (`Callable`, *optional*): What of a block of videos is scored; by default all of it.
        num_clips (`int`, *optional*): Clips of a video in that; by default all of the reader's.

    Returns:
        `torch.FloatTensor` of shape `(texts, videos, clips, labels)`: What the model says of each clip; NaN for clips
        that do not exist, for videos that could not be decoded, and for pairs of different galleries. One clip and one label, the
        log-odds, where the model gives nothing that could be pooled.
    """
    accelerator, size = reader.accelerator, reader.recipe.eval.video_block * (num_clips or reader.num_clips)
    galleries = [(range(len(reader.visuals)), range(len(texts)))] if galleries is None else galleries
    place = {video: number for number, (videos, _) in enumerate(galleries) for video in videos}

    @cache
    def encode_gallery(number: int) -> tuple[list[int], list[Texts], dict[int, int]]:
        """Different texts, what they are encoded as, and which texts are the same as which of them."""
        firsts: dict[str, int] = {}
        owners = {text: firsts.setdefault(texts[text], text) for text in galleries[number][1]}
        own = list(firsts.values())
        blocks = build_text_blocks(
            list(firsts), reader.processor, max(1, pairs_per_forward // size), accelerator.device
        )
        encoded = [model.encode_texts(block.input_ids, block.attention_mask) for block in blocks]
        repeated = {text: first for text, first in owners.items() if text != first}
        return [own[text] for block in blocks for text in block.numbers], encoded, repeated

    table = SharedTable((len(reader.visuals), len(texts)), accelerator)
    for whole in reader.blocks(model):
        for block in parts_of_block(choose(whole), place):
            numbers, encoded, repeated = encode_gallery(place[block.numbers[0]])
            if not numbers:
                continue
            scores = score_blocks(model, block, encoded)

            def name(row: int, text: int, videos: list[int] = block.numbers, numbers: list[int] = numbers) -> str:
                return f"the text {texts[numbers[text]]!r} and the video {reader.visuals[videos[row]]}"

            mask = None if block.clip_mask is None or scores.shape[2] == 1 else block.clip_mask[:, None]
            rows = scores.new_full((len(scores), len(texts), *scores.shape[2:]), torch.nan)
            rows[:, numbers] = mark_absent_clips(scores, mask, name)
            if repeated:
                rows[:, list(repeated)] = rows[:, list(repeated.values())]
            table.fill(block.numbers, rows)
    is_scored = {number for number, (_, own) in enumerate(galleries) if len(own)}
    unscored = [video for video in reader.own if place.get(video) not in is_scored]
    table.fill([*reader.skipped, *unscored], torch.tensor(torch.nan))
    reader.gather()
    return table.gather().transpose(0, 1).contiguous()


def parts_of_block(block: VideoBlock, place: Mapping[int, int]) -> Iterator[VideoBlock]:
    """The videos of each gallery in a block; `place` says which one a video is in, if any."""
    for gallery in dict.fromkeys(place[number] for number in block.numbers if number in place):
        own = [row for row, number in enumerate(block.numbers) if place.get(number) == gallery]
        mask = None if block.clip_mask is None else block.clip_mask[own]
        yield VideoBlock([block.numbers[row] for row in own], block.videos[own], mask)


def score_own_texts(
    model: PreTrainedModel,
    reader: VisualReader,
    texts: Sequence[str],
    owners: Sequence[int],
    read: Callable[[PreTrainedModel, TextBlock, VideoBlock, torch.Tensor], torch.Tensor],
    pairs_per_forward: int,
) -> torch.Tensor:
    """
    Score every text with the video, or image, that it belongs to; all processes return the whole table.

    Args:
        model (`PreTrainedModel`): In evaluation mode.
        reader (`VisualReader`): The videos.
        texts (`Sequence[str]`): Questions, questions with an option, or captions.
        owners (`Sequence[int]`): For each text the number of its video.
        read (`Callable`): `read(model, texts, videos, video_indices)` gives scores `(texts, clips, labels)`.
        pairs_per_forward (`int`): Pairs of a text and a clip in one forward pass.

    Returns:
        `torch.FloatTensor` of shape `(texts, clips, labels)`; NaN for clips that do not exist and for videos that could
        not be decoded.
    """
    accelerator = reader.accelerator
    members: dict[int, list[int]] = {}
    for text, owner in enumerate(owners):
        members.setdefault(owner, []).append(text)
    table = SharedTable((len(texts),), accelerator)
    for block in reader.blocks(model):
        rows = [row for number in block.numbers for row in members.get(number, ())]
        if not rows:
            continue
        places = {number: place for place, number in enumerate(block.numbers)}
        video_indices = torch.tensor([places[owners[row]] for row in rows], device=accelerator.device)
        text_blocks = build_text_blocks(
            [texts[row] for row in rows],
            reader.processor,
            max(1, pairs_per_forward // reader.num_clips),
            accelerator.device,
        )
        parts = [read(model, texts_, block, video_indices[texts_.numbers]).float() for texts_ in text_blocks]
        order = torch.tensor([number for text_block in text_blocks for number in text_block.numbers]).argsort()
        scores = torch.cat(parts).cpu()[order]

        def name(row: int, rows: list[int] = rows) -> str:
            return f"the text {texts[rows[row]]!r} and the {reader.media} {reader.visuals[owners[rows[row]]]}"

        mask = None if block.clip_mask is None or scores.shape[1] == 1 else block.clip_mask[video_indices]
        table.fill(rows, mark_absent_clips(scores, mask, name))
    table.fill([row for number in reader.skipped for row in members.get(number, ())], torch.tensor(torch.nan))
    reader.gather()
    return table.gather()


# ---------------------------------------------------------------------------------------------------------------------
# Scores of models that compare what they have encoded
# ---------------------------------------------------------------------------------------------------------------------


class EncodedVideos(NamedTuple):
    """All videos of a reader, on the CPU: what `encode_videos` returned, and which of their clips exist."""

    videos: torch.Tensor
    clip_mask: torch.Tensor | None

    def block(self, numbers: Sequence[int], device: torch.device) -> VideoBlock:
        """Some of them."""
        numbers = list(numbers)
        mask = None if self.clip_mask is None else self.clip_mask[numbers].to(device)
        return VideoBlock(numbers, self.videos[numbers].to(device), mask)


class EncodedTexts(NamedTuple):
    """Texts in blocks of similar length: their numbers, and what `encode_texts` returned of each block."""

    numbers: list[int]
    blocks: list[Texts]


def encode_all_videos(model: PreTrainedModel, reader: VisualReader) -> EncodedVideos:
    """All videos, for all processes; 0 for those that could not be decoded, which are in `reader.skipped` then."""
    accelerator, size = reader.accelerator, (len(reader.visuals),)
    videos, masks, has_mask = SharedTable(size, accelerator), SharedTable(size, accelerator), False
    for block in reader.blocks(model):
        videos.fill(block.numbers, block.videos.float().cpu())
        if block.clip_mask is not None:
            has_mask = True
            masks.fill(block.numbers, block.clip_mask.float().cpu())
    reader.gather()
    return EncodedVideos(videos.gather(), masks.gather().long() if any(gather_object([has_mask])) else None)


def encode_all_texts(model: PreTrainedModel, texts: Sequence[str], reader: VisualReader, size: int) -> EncodedTexts:
    """Texts, `size` of them at a time."""
    blocks = build_text_blocks(texts, reader.processor, size, reader.accelerator.device)
    encoded = [model.encode_texts(block.input_ids, block.attention_mask) for block in blocks]
    return EncodedTexts([number for block in blocks for number in block.numbers], encoded)


def score_own_pairs(
    model: PreTrainedModel, texts: EncodedTexts, videos: EncodedVideos, owners: Sequence[int], device: torch.device
) -> torch.Tensor:
    """Log-odds `(texts,)` of each text with the video that it belongs to."""
    odds, first = torch.zeros(len(texts.numbers)), 0
    for encoded in texts.blocks:
        numbers = texts.numbers[first : first + count_texts(encoded)]
        block = videos.block([owners[number] for number in numbers], device)
        pairs = torch.arange(len(numbers), device=device)
        with torch.autocast(device.type, enabled=False):
            odds[numbers] = match_texts(model, as_floats(encoded), block, pairs).match_odds.float().cpu()
        first += len(numbers)
    return odds


def score_all_texts(model: PreTrainedModel, texts: EncodedTexts, block: VideoBlock) -> torch.Tensor:
    """Log-odds `(texts, videos)` of all texts with a block of videos, in float32 whatever the precision of the features."""
    mask = {} if block.clip_mask is None else {"clip_mask": block.clip_mask}
    with torch.autocast(block.videos.device.type, enabled=False):
        parts = [model.match_all(as_floats(encoded), block.videos, **mask).float().cpu() for encoded in texts.blocks]
    scores = torch.cat(parts)
    return torch.empty_like(scores).index_copy_(0, torch.tensor(texts.numbers), scores)


def as_floats(texts: Texts) -> Texts:
    """Features in float32; whole numbers and masks as they are."""
    if isinstance(texts, Mapping):
        return {name: as_floats(values) for name, values in texts.items()}
    return texts.float() if texts.is_floating_point() else texts


def count_texts(texts: Texts) -> int:
    return len(next(iter(texts.values())) if isinstance(texts, Mapping) else texts)


class SharedTable:
    """
    Scores that processes fill together, each its own rows.

    Args:
        shape (`Sequence[int]`): Leading dimensions; those of a score are known when there is one.
        accelerator (`Accelerator`): The processes.
    """

    def __init__(self, shape: Sequence[int], accelerator: Accelerator):
        self.shape, self.accelerator = tuple(shape), accelerator
        self.parts: list[tuple[list[int], torch.Tensor]] = []
        self.table: torch.Tensor | None = None

    def fill(self, rows: list[int], scores: torch.Tensor) -> None:
        """Set rows; a single number stands for all of their scores."""
        if scores.ndim and self.table is None:
            self.table = torch.zeros(*self.shape, *scores.shape[len(self.shape) :])
        if scores.ndim:
            self.table[rows] = scores
        elif rows:
            self.parts.append((rows, scores))

    def gather(self) -> torch.Tensor:
        """The table with the rows of all processes."""
        own = [] if self.table is None else [tuple(self.table.shape[len(self.shape) :])]
        found = gather_object(own)
        if self.table is None:
            self.table = torch.zeros(*self.shape, *(found[0] if found else (1, 1)))
        for rows, value in self.parts:
            self.table[rows] = value
        return add_tables(self.table, self.accelerator)


__all__ = [
    "ELEMENTS_PER_MESSAGE",
    "SCORES_PER_BLOCK",
    "EncodedTexts",
    "EncodedVideos",
    "TextBlock",
    "VideoBlock",
    "VisualInputs",
    "VisualReader",
    "build_text_blocks",
    "add_tables",
    "as_floats",
    "count_texts",
    "decode_or_explain",
    "encode_all_texts",
    "encode_all_videos",
    "join_blocks",
    "match_texts",
    "matches_of_clips",
    "paths_of",
    "score_all_pairs",
    "score_all_texts",
    "score_blocks",
    "score_own_pairs",
    "score_own_texts",
]
