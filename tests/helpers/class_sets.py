# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A few records of the recognition sets of Mug-STAN's paper, in the files and with the names under which they are published,
and a CLIP to start from.

`write_class_sets(folder, write_video)` makes `data/kinetics400` and so on, where the recipes look for them.
"""

import numpy as np
import torch
from benchmark_files import Videos, write_table
from small_files import write_json
from text_ends import clip_tokenizer
from tiny_mug_stan import IMAGE_SIZE, tiny_clip
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from clipbert.datasets_scripts.synthetic.action_clips import write_mpeg4


CLASSES = {
    "kinetics400": ["dunking (b)", "playing cello", "punching bag"],
    "ssv2": ["Holding something", "Pushing left", "Pushing right"],
    "hmdb51": ["brush_hair", "run", "wave"],
    "ucf101": ["PlayingCello", "Punch", "TaiChi"],
}


def write_tiny_clip(folder, max_length=20):
    """A CLIP from random weights, as a folder of the Hub has it."""
    tokenizer = clip_tokenizer(max_length)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": max_length, **ends}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(**tiny_clip(text_config=text))).save_pretrained(folder)
    sizes = {"size": {"shortest_edge": IMAGE_SIZE}, "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE}}
    CLIPImageProcessor(**sizes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_kinetics400(folder, videos):
    for file, count in (("train", 2), ("val", 1)):
        rows = []
        for label in CLASSES["kinetics400"]:
            for _ in range(count):
                youtube_id = f"{file[0]}{len(rows):010d}"
                row = {"label": label, "youtube_id": youtube_id, "time_start": 4, "time_end": 14, "split": file}
                rows.append(row)
                videos.put(folder / "videos" / f"{youtube_id}_000004_000014.mp4")
        write_table(folder / f"kinetics-400_{file}.csv", rows)


def write_ssv2(folder, videos):
    templates = [name.replace("something", "[something]") for name in CLASSES["ssv2"]]
    number = 0
    for split, count in (("train", 2), ("validation", 1)):
        entries = []
        for template in templates:
            for _ in range(count):
                number += 1
                about = {"id": str(number), "label": template.lower(), "template": template, "placeholders": []}
                entries.append(about)
                videos.put(folder / "videos" / f"{number}.mp4")
        write_json(folder / f"{split}.json", entries)
    write_json(folder / "labels.json", {name: str(n) for n, name in enumerate(CLASSES["ssv2"])})


def write_hmdb51(folder, videos):
    folder.mkdir(parents=True)
    (folder / "label_map.txt").write_text("".join(f"{name}\n" for name in CLASSES["hmdb51"]))
    for label in CLASSES["hmdb51"]:
        names = [f"{label}film{number}_{label}_u_cm_np1_ba_med_0" for number in range(5)]
        for split in (1, 2, 3):
            flags = [2 if (number + split) % 5 == 0 else 1 for number in range(5)]
            lines = (f"{name}.avi {flag} \n" for name, flag in zip(names, flags, strict=True))
            (folder / f"{label}_test_split{split}.txt").write_text("".join(lines))
        for name in names:
            videos.put(folder / "videos" / label / f"{name}.avi")


def write_ucf101(folder, videos):
    folder.mkdir(parents=True)
    (folder / "classInd.txt").write_text("".join(f"{n} {name}\r\n" for n, name in enumerate(CLASSES["ucf101"], 1)))
    clips = {label: [f"v_{label}_g{g:02d}_c01" for g in range(1, 6)] for label in CLASSES["ucf101"]}
    for split in (1, 2, 3):
        lists = {"train": [], "test": []}
        for number, (label, names) in enumerate(clips.items(), start=1):
            for place, name in enumerate(names, start=split):
                part = "test" if place % 5 == 0 else "train"
                lists[part].append(f"{label}/{name}.avi" + (f" {number}" if part == "train" else ""))
        for part, lines in lists.items():
            (folder / f"{part}list0{split}.txt").write_text("".join(f"{line}\r\n" for line in lines))
    for label, names in clips.items():
        for name in names:
            videos.put(folder / "UCF-101" / label / f"{name}.avi")


def wide_frames():
    """Twelve pictures of which the crops differ."""
    ramp = np.broadcast_to(np.linspace(0, 255, 64), (12, 32, 64)) + 5 * np.arange(12)[:, None, None]
    return np.repeat(ramp.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def write_class_sets(folder, write_video, names=tuple(CLASSES)):
    """Folders `data/NAME` below `folder`, and `my_videos` with a folder for each class."""
    videos = Videos(folder / "sources", write_video)
    write_mpeg4(videos.sources[".avi"], wide_frames())
    writers = {"kinetics400": write_kinetics400, "ssv2": write_ssv2, "hmdb51": write_hmdb51, "ucf101": write_ucf101}
    for name in names:
        writers[name](folder / "data" / name, videos)
    for label in ("run", "jump"):
        for number in range(4):
            videos.put(folder / "my_videos" / label / f"{label}{number}.mp4")
