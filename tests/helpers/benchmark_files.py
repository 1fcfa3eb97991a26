# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A few records of every benchmark of the paper, in the files and with the names under which they are published.

`write_benchmarks(folder, write_video)` makes `data/msrvtt` and so on, where the recipes look for them.
"""

import csv
import json
import shutil
import tarfile
import zipfile
from itertools import islice

import numpy as np
from PIL import Image
from small_files import write_json

from clipbert.datasets_scripts.building.base import hash_fraction


NARRATED = range(6)  # of these one is held out, however small the share is that a recipe says
COLORS = ("red", "green", "blue", "yellow", "purple", "white")


def names_of(pattern, fraction, num_train, num_held_out):
    """Names whose videos stay in training, and names of videos that `validation_fraction` holds out."""
    numbers = range(1, 100_000)
    kept = (pattern % number for number in numbers if hash_fraction(pattern % number) >= fraction)
    held_out = (pattern % number for number in numbers if hash_fraction(pattern % number) < fraction)
    return list(islice(kept, num_train)), list(islice(held_out, num_held_out))


def caption(number):
    return f"a {COLORS[number % 6]} circle moves left on scene {number}"


def write_zip(path, name, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, json.dumps(value))


def write_table(path, rows, **format):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), **format)
        writer.writeheader()
        writer.writerows(rows)


def write_image(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 56, 3), 20 + 9 * (number % 24), dtype=np.uint8)).save(path)


class Videos:
    """The same short video under many names, in each container written once."""

    def __init__(self, folder, write_video):
        folder.mkdir(parents=True)
        self.sources = {
            ".mp4": write_video(folder / "source.mp4", num_frames=12, fps=6),
            ".avi": write_video(folder / "source.avi", num_frames=12, fps=6, codec="mpeg4"),
            ".gif": folder / "source.gif",
        }
        pictures = [Image.new("RGB", (40, 32), (20 * number, 90, 60)) for number in range(8)]
        pictures[0].save(self.sources[".gif"], save_all=True, append_images=pictures[1:], duration=125)

    def put(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.sources[path.suffix], path)


# ---------------------------------------------------------------------------------------------------------------------
# Benchmarks
# ---------------------------------------------------------------------------------------------------------------------


def write_msrvtt(folder, videos):
    """The official annotation, the 1k-A test pairs, ClipBERT's multiple-choice test, and MSRVTT-QA beside them."""
    kept, held_out = names_of("video%d", 0.02, 6, 2)
    test = ["video7010", "video7025", "video7600"]
    about = {"category": 1, "start time": 1.0, "end time": 3.0}
    address = "https://www.youtube.com/watch?v="
    document = {
        "info": {"year": "2016"},
        "videos": [
            {
                "video_id": name,
                "id": number,
                **about,
                "url": address + name,
                "split": "validate" if number == 1 else "train",
            }
            for number, name in enumerate((*kept, *held_out))
        ],
        "sentences": [
            {"video_id": name, "caption": f"{caption(2 * number + turn)}", "sen_id": 2 * number + turn}
            for turn in (0, 1)  # sentences do not come sorted by video
            for number, name in enumerate((*kept, *held_out))
        ],
    }
    write_zip(folder / "train_val_annotation.zip", "train_val_videodatainfo.json", document)
    rows = [
        {"key": f"ret{number}", "vid_key": f"msr{name[5:]}", "video_id": name, "sentence": caption(number)}
        for number, name in enumerate(test)
    ]
    write_table(folder / "MSRVTT_JSFUSION_test.csv", rows)
    questions = [
        {"qid": number, "clip_name": name, "options": [caption(number + step) for step in range(5)], "answer": 0}
        for number, name in enumerate(test)
    ]
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    (folder / "msrvtt_retrieval_mc_test.jsonl").write_text(lines)
    write_open_questions(folder, [int(name[5:]) for name in (*kept, *test)])
    for name in (*kept, *held_out, *test):
        videos.put(folder / "videos" / f"{name}.mp4")


def write_open_questions(folder, numbers):
    for part, own in (("train", numbers[:5]), ("val", numbers[5:7]), ("test", numbers[7:9])):
        questions = [
            {"id": 10 * video + turn, "video_id": video, "category_id": 1, "question": question, "answer": answer}
            for video in own
            for turn, (question, answer) in enumerate(
                [("what is moving left?", "circle"), ("who is on the scene?", COLORS[video % 3])]
            )
        ]
        write_json(folder / f"{part}_qa.json", questions)


def write_msvd(folder, videos):
    numbers = list(range(1, 10))
    names = {number: f"clip{number}xyzAB_{number}_{number + 5}" for number in numbers}
    write_open_questions(folder, numbers)
    (folder / "youtube_mapping.txt").write_text("".join(f"{name} vid{number}\n" for number, name in names.items()))
    for name in names.values():
        videos.put(folder / "YouTubeClips" / f"{name}.avi")


def write_didemo(folder, videos):
    first = 6_000_000_001
    for part, count in (("train", 6), ("val", 2), ("test", 3)):
        names = [f"3503434{number}@N01_{first + number}_dc1a90b8ef.mov" for number in range(count)]
        entries = [
            {
                "annotation_id": 10 * (first + number) + turn,
                "description": caption(number + turn),
                "video": name,
                "num_segments": 6,
                "times": [[turn, turn + 1]] * 4,
                "dl_link": "https://www.flickr.com/video_download.gne?id=1",
            }
            for number, name in enumerate(names)
            for turn in (0, 1)
        ]
        write_json(folder / f"{part}_data.json", entries)
        for name in names:
            videos.put(folder / "videos" / name.replace(".mov", ".mp4"))
        first += count


def write_activitynet(folder, videos):
    number = 0
    for part, count in (("train", 40), ("val_1", 3)):
        entries = {}
        for _ in range(count):
            number += 1
            sentences = [caption(number), f" {caption(number + 1)}"]
            entries[f"v_{number:011d}"] = {
                "duration": 2.0,
                "timestamps": [[0.1, 0.9], [1.0, 2.0]],
                "sentences": sentences,
            }
        write_json(folder / f"{part}.json", entries)
        for name in entries:
            videos.put(folder / "videos" / f"{name}.mp4")


def write_tgif_qa(folder, videos):
    kept, held_out = names_of("tumblr_n%05dabc", 0.1, 6, 2)
    parts = {"Train": [*kept, *held_out], "Test": ["tumblr_ztest1", "tumblr_ztest2"]}
    acts = ["wave hand", "jump up", "turn left", "blink", "nod head"]
    key = 0
    for part, names in parts.items():
        rows = {"action": [], "transition": [], "frameqa": [], "count": []}
        for name in names:
            key += 1
            ends = {"vid_id": f"TASK{key}", "key": key}
            options = {f"a{place + 1}": acts[(place + key) % 5] for place in range(5)}
            for task, question in (
                ("action", "What does the man do 3 times ?"),
                ("transition", "What does the man do before sit ?"),
            ):
                ends["vid_id"] = f"{task.upper()}{key}"
                rows[task].append({"gif_name": name, "question": question, **options, "answer": key % 5, **ends})
            answer = {"question": "what is the color of the circle ?", "answer": COLORS[key % 3], "type": 2}
            rows["frameqa"].append(
                {"gif_name": name, **answer, "vid_id": f"FRAMEQA{key}", "key": key, "description": caption(key)}
            )
            question = "How many times does the man wave hand ?"
            rows["count"].append(
                {"gif_name": name, "question": question, "answer": 2 + key % 3, "vid_id": f"COUNT{key}", "key": key}
            )
        for task, lines in rows.items():
            format = {"delimiter": "\t", "lineterminator": "\r\n"}
            write_table(folder / f"{part}_{task}_question.csv", lines, **format)
        for name in names:
            videos.put(folder / "gifs" / f"{name}.gif")


def write_coco(folder):
    images = []
    for number in range(1, 11):
        split = "train" if number <= 5 else "restval" if number == 6 else "val" if number <= 9 else "test"
        year = "train2014" if split == "train" else "val2014"
        name = f"COCO_{year}_{number:012d}.jpg"
        sentences = [
            {"raw": f"{caption(10 * number + turn)} .", "sentid": 10 * number + turn, "imgid": number, "tokens": []}
            for turn in range(3)
        ]
        image = {"cocoid": number, "imgid": number, "filepath": year, "filename": name, "split": split}
        images.append({**image, "sentids": [sentence["sentid"] for sentence in sentences], "sentences": sentences})
        write_image(folder / year / name, number)
    write_json(folder / "dataset_coco.json", {"images": images, "dataset": "coco"})
    listed = [{"id": image["cocoid"], "file_name": image["filename"]} for image in images if image["cocoid"] > 5]
    write_json(folder / "captions_val2014.json", {"images": listed, "annotations": []})


def write_visual_genome(folder):
    kept, held_out = ([int(name) for name in names] for names in names_of("%d", 0.01, 5, 2))
    descriptions, images = [], []
    for number in (*kept, *held_out):
        box = {"x": 1, "y": 2, "width": 9, "height": 9}
        regions = [
            {"region_id": 100 * number + turn, "image_id": number, "phrase": caption(10 * number + turn), **box}
            for turn in range(3)
        ]
        descriptions.append({"id": number, "regions": regions})
        images.append({"image_id": number, "coco_id": 7 if number == kept[0] else None, "url": "https://x"})
        write_image(folder / "VG_100K" / f"{number}.jpg", number)
    write_json(folder / "region_descriptions.json", descriptions)
    write_json(folder / "image_data.json", images)


def write_vqa2(folder):
    for part, archive, numbers in (("train2014", "Train", range(21, 26)), ("val2014", "Val", range(31, 33))):
        asked = [("What color is the circle?", "red", "other"), ("Is it moving?", "yes", "yes/no")]
        rows = [(image, 1000 * image + turn, *entry) for image in numbers for turn, entry in enumerate(asked)]
        questions = [{"image_id": image, "question_id": id, "question": text} for image, id, text, _, _ in rows]
        annotations = [
            {
                "question_id": id,
                "image_id": image,
                "question_type": "none of the above",
                "answer_type": kind,
                "multiple_choice_answer": answer,
                "answers": [
                    {"answer": answer if person < 7 else "blue", "answer_confidence": "yes", "answer_id": person + 1}
                    for person in range(10)
                ],
            }
            for image, id, _, answer, kind in rows
        ]
        about = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": part}
        write_zip(
            folder / f"v2_Questions_{archive}_mscoco.zip",
            f"v2_OpenEnded_mscoco_{part}_questions.json",
            {**about, "task_type": "Open-Ended", "questions": questions},
        )
        write_zip(
            folder / f"v2_Annotations_{archive}_mscoco.zip",
            f"v2_mscoco_{part}_annotations.json",
            {**about, "annotations": annotations},
        )
        for image in numbers:
            write_image(folder / part / f"COCO_{part}_{image:012d}.jpg", image)


def write_webvid(folder, videos):
    for name, numbers in (("train/00000", range(4)), ("train/00001", range(4, 8)), ("val/00000", range(8, 10))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            for number in numbers:
                text = folder / "caption.txt"
                text.write_text(caption(number))
                archive.add(videos.sources[".mp4"], f"{number:05d}.mp4")
                archive.add(text, f"{number:05d}.txt")
                text.unlink()


def write_lsmdc(folder, videos):
    parts = {"annos_training": range(6), "annos_val": range(6, 8), "challenge_1000_publictect": range(8, 11)}
    for part, numbers in parts.items():
        lines = []
        for number in numbers:
            film, times = f"30{number:02d}_A_FILM", ("00.00.01.250", "00.00.03.250")
            clip = f"{film}_{'-'.join(times)}"
            lines.append("\t".join((clip, *times, *times, caption(number))) + "\n")
            videos.put(folder / film / f"{clip}.avi")
        (folder / f"LSMDC16_{part}.csv").write_text("".join(lines))


def narrations(numbers):
    """What is said in videos of two seconds: three sentences each, two of them at once."""
    spans = ((0.0, 0.9), (0.5, 1.5), (1.0, 2.0))
    return {
        f"narrated{number:03d}": {
            "start": [start for start, _ in spans],
            "end": [end for _, end in spans],
            "text": [caption(3 * number + turn) for turn in range(len(spans))],
        }
        for number in numbers
    }


def write_howto100m(folder, videos):
    """A csv for each video, which lie beside one another; the videos are those of HTM-370K, too."""
    for name, columns in narrations(NARRATED).items():
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        write_table(folder / "howto100m_captions" / f"{name}.csv", rows)
        videos.put(folder / "videos" / f"{name}.mp4")


def write_htm_370k(folder):
    write_json(folder / "sentencified_htm_370k.json", narrations(NARRATED))
    (folder / "htm_holdout_vid.txt").write_text("narrated000\n")


def write_youcook2(folder, videos):
    steps = [
        {"end": end, "start": start, "task": 101, "text": caption(number + start), "video_id": f"cooking{number}"}
        for number in range(3)
        for start, end in ((0, 1), (1, 2))
    ]
    write_table(folder / "validation_youcook.csv", steps)
    database = {
        f"cooking{number}": {
            "duration": 2.0,
            "subset": "training" if number > 2 else "validation",
            "recipe_type": "101",
            "annotations": [
                {"segment": [start, start + 1], "id": start, "sentence": caption(2 * number + start)}
                for start in (0, 1)
            ],
        }
        for number in range(6)
    }
    write_json(folder / "youcookii_annotations_trainval.json", {"database": database})
    for name in database:
        videos.put(folder / "videos" / f"{name}.mp4")


def write_video_folder(folder, videos):
    """Captions with splits, and questions without."""
    folder.mkdir(parents=True)
    captions, questions = [], []
    for number, split in enumerate(["train"] * 4 + ["validation"] * 2 + ["test"] * 2):
        videos.put(folder / "videos" / f"{number}.mp4")
        captions.append({"video": f"videos/{number}.mp4", "caption": caption(number), "split": split})
        answer = ("circle", "square")[number % 2]
        questions.append({"video": f"videos/{number}.mp4", "question": "what is it?", "answer": answer})
    for name, lines in (("captions", captions), ("questions", questions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_benchmarks(folder, write_video):
    """All of them, below `folder/data`; the user's own videos in `folder/my_videos`."""
    videos, data = Videos(folder / "sources", write_video), folder / "data"
    write_msrvtt(data / "msrvtt", videos)
    write_msvd(data / "msvd", videos)
    write_didemo(data / "didemo", videos)
    write_activitynet(data / "activitynet", videos)
    write_tgif_qa(data / "tgif_qa", videos)
    write_coco(data / "coco")
    write_visual_genome(data / "visual_genome")
    write_vqa2(data / "vqa2")
    write_webvid(data / "webvid", videos)
    write_lsmdc(data / "lsmdc", videos)
    write_howto100m(data / "howto100m", videos)
    write_htm_370k(data / "htm_370k")
    write_youcook2(data / "youcook2", videos)
    write_video_folder(folder / "my_videos", videos)
