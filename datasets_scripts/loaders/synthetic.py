# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Generated videos of moving coloured shapes, with captions, questions and moments: everything runs offline.

    python -m datasets_scripts.synthetic --output_dir DIR --preset easy
    load_benchmark("synthetic", config="retrieval", data_dir="DIR")
    load_benchmark("synthetic", config="retrieval", data_dir="DIR", generate={"preset": "easy"})      # both in one

Source:    made on the spot, H.264 in MP4 (default 64x64, 8 frames a second, 2-3 s); about 10 ms a video on one core, 0.1 s
           one with events.
Licence:   the files are yours.
Splits:    train / validation / test, by default 400 / 64 / 64 videos. No file occurs twice: place, path, colours and
           grain of every video are drawn anew. In validation and test a caption fits exactly one video of its split,
           as long as the preset has enough combinations; `manifest.json` says whether that holds. The combinations
           themselves may be known from training, unless `--unseen_combinations` keeps them out of it.
Presets:   `standard`: 6 shapes, 8 colours, 5 backgrounds, 2 sizes, 1-3 objects, 11 motions, one or two in order.
           `easy`: 288 combinations of 3 shapes, 6 colours, 4 backgrounds and 4 directions, one large object.
           `counting`: one large bright object on a dark background bounces, pulses or blinks 2 to 5 times, half a
           second each (at 8 frames a second), with stillness before and after.
           `sequences`: the same object, always two acts of any kind.
           `motions`: six classes, the same object moves in one of four directions, grows or shrinks. The mean of the frames
           does not show which of two.
           `orders`: six classes with the same pictures in another order: an object is red, green and blue, each for a third
           of the 18 frames. Choose 3, 6, 9 or 18 of them, so that all colours are in what is chosen equally often.
           `motion`: 36 captions of one or two movements ("an object moves right and then grows"); how it looks is drawn, and
           not told. Videos come in pairs with the same pictures in another order (backwards; where that shows the same,
           halves exchanged), of which a model that is blind to order finds half. Each run of 36 videos has each caption once,
           so that test videos are so many galleries. Choose 6 or 18 of the 18 frames, or 12.
           `motion_boxes`: two objects that move differently, with their boxes in the middle frame (config `detection`; the
           manifest names the actions).
           `motion_shots`: the caption is about all of a video, a half, or a sixth (`aligned_share` in captions.jsonl);
           other shots show what no caption tells. Choose 12 or 36 of the 36 frames.
           `events`: 16 to 60 seconds (or `duration_s`, such as an hour) with 2 to 6 events among pauses, for `moments`. An object
           appears, moves, and is gone; colour, shape and movement tell it apart, and it shares two of them with another one.
           Sentences, and one word where it fits one event alone. `boundary_noise` moves borders of training moments.
           `evidence`: 16 to 40 seconds about one thing, of which a known share shows it. A large object (16 of four colours and four
           shapes) is there always, for a half or an eighth, or there are two for an eighth each, and their order is told ("a red
           square and then a blue ring", for which a twin has the same pictures the other way round). Small white stars come and
           go, of which nothing is told. Rows have the columns `evidence` (always, half, eighth, order) and `visible_share` (1, 0.5,
           0.125; 0.25 of both objects). Each run of 16 videos is a gallery in which every caption fits one video, and where each
           kind of evidence has two colours, and every shape; in four of them it has every object once. Numbers of videos are multiples
           of 16. A contiguous half always holds the middle of its video: choose clips at random to see it with even odds.
Captions:  one whole caption a video, of events all sentences in order; with `search_phrases` training videos have others, too, of which most are shorter.
           Clips in the layout of `ucf101_top5`: `python -m datasets_scripts.synthetic.action_clips`.
Odd cases: `easy` has one uncounted act a video, hence no action, transition or count questions. In `counting` the time
           spent acting shows how often; in `standard` it does not, as repetitions there are of any speed, and the mean
           of the frames says little about their number. A blinking object is absent from some frames. Left and right,
           growing and shrinking look the same to a model that averages its frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig
from clipbert.datasets_scripts.building.records import Record
from clipbert.datasets_scripts.loaders.video_folder import VideoFolder, VideoFolderConfig
from clipbert.datasets_scripts.synthetic.generation import generate_synthetic, read_manifest


@dataclass
class SyntheticConfig(VideoFolderConfig):
    """`generate` holds settings to generate `data_dir` with, unless it is there with the same ones."""

    generate: dict | None = None
    language: str | None = "en"


def question_config(task: str, description: str) -> SyntheticConfig:
    return SyntheticConfig(name=task, task="qa", question_task=task, description=description)


class Synthetic(VideoFolder):
    """Moving coloured shapes, generated by `python -m datasets_scripts.synthetic`."""

    BUILDER_CONFIG_CLASS = SyntheticConfig
    BUILDER_CONFIGS = [
        SyntheticConfig(name="retrieval", task="retrieval", description="find the video of a caption"),
        SyntheticConfig(name="moments", task="moments", description="when a described act begins and ends"),
        question_config("open_qa", "MSRVTT-QA kind: one-word answers to what, who, how, where, when"),
        question_config("action", "TGIF-QA kind: what is done N times, five options"),
        question_config("transition", "TGIF-QA kind: what is done before or after, five options"),
        question_config("frameqa", "TGIF-QA kind: colour, object, number or location that one frame shows"),
        question_config("count", "TGIF-QA kind: how many times something is done, a number as text"),
        SyntheticConfig(
            name="classification", task="classification", description="the motion, or the order of the colours"
        ),
        SyntheticConfig(name="detection", task="detection", description="boxes of two objects, and how each moves"),
    ]
    LAYOUT = "Generate it first: `python -m datasets_scripts.synthetic --output_dir DATA_DIR`."

    @classmethod
    def complete_config(cls, config_name, data_dir, config_fields):
        if data_dir is not None and config_fields.get("generate") is not None:
            generate_synthetic(data_dir, **config_fields["generate"])
        if (
            data_dir is not None
            and config_fields.get("columns") is None
            and (root := Path(data_dir).expanduser()).is_dir()
        ):
            splits = read_manifest(root)["splits"].values()
            config_fields["columns"] = next(iter(splits)).get("columns")
        return super().complete_config(config_name, data_dir, config_fields)

    @classmethod
    def annotation_files(cls, config: BenchmarkConfig) -> dict[str, list[Path]]:
        manifest = read_manifest(Path(config.data_dir))
        for split, facts in manifest["splits"].items():
            if config.task == "classification" and not facts.get("classes"):
                raise ValueError(
                    f"The preset {manifest['settings']['preset']!r} of {config.data_dir} has no classes; generate the preset "
                    "'motions' or 'orders', or 'motion'"
                )
            if config.task == "detection" and not facts.get("actions"):
                raise ValueError(
                    f"The preset {manifest['settings']['preset']!r} of {config.data_dir} has no boxes; generate the preset "
                    "'motion_boxes'"
                )
            if config.task == "qa" and config.question_task not in facts["questions"]:
                raise ValueError(
                    f"The preset {manifest['settings']['preset']!r} of {config.data_dir} gives no "
                    f"{config.question_task} questions in {split}, only {', '.join(facts['questions'])}; generate the "
                    "preset 'standard', or more videos"
                )
        return super().annotation_files(config)

    def class_names(self) -> list[str]:
        if self.config.task != "detection":
            return super().class_names()
        splits = read_manifest(Path(self.config.data_dir))["splits"]
        return next(iter(splits.values()))["actions"]

    def text(self, record: Record) -> Iterator[dict]:
        if self.config.task != "detection":
            yield from super().text(record)
            return
        timestamp_s, video_id = record.number("timestamp_s"), record.require("video_id")
        columns = {name: record.require(name, list) for name in ("boxes", "labels", "person_ids")}
        yield {"video_id": video_id, "timestamp_s": timestamp_s, **columns, "keyframe_id": f"{video_id}@{timestamp_s}"}
