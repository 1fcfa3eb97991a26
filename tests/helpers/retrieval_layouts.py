# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Small folders in the layouts of the retrieval benchmarks, with sentences of our own and empty videos."""

import json
from pathlib import Path

from small_files import touch, write_json


def write_lines(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


# --------------------------------------------------------------------------------------------------------------------
# MSR-VTT: three training, one validation, two test videos; two sentences each, not sorted by video
# --------------------------------------------------------------------------------------------------------------------


def msrvtt_video(number: int, split: str) -> dict:
    url = f"https://www.youtube.com/watch?v=abcdefghij{number // 2}"  # two clips of each recording
    times = {"start time": 10.5 * number, "end time": 10.5 * number + 12}
    return {"video_id": f"video{number}", "id": number, "category": 3, "url": url, **times, "split": split}


def msrvtt_document(numbers: range, splits: list[str], first_sentence: int = 0) -> dict:
    sentences = [
        {"video_id": f"video{number}", "caption": f"a shape {number} {turn}", "sen_id": 0}
        for turn in ("moves", "stops")
        for number in reversed(numbers)
    ]
    for place, sentence in enumerate(sentences, start=first_sentence):
        sentence["sen_id"] = place
    videos = [msrvtt_video(number, split) for number, split in zip(numbers, splits, strict=True)]
    return {"info": {}, "videos": videos, "sentences": sentences}


def msrvtt_parts() -> tuple[dict, dict]:
    return (
        msrvtt_document(range(4), ["train", "train", "train", "validate"]),
        msrvtt_document(range(4, 6), ["test", "test"], first_sentence=8),
    )


def write_msrvtt(folder: Path) -> None:
    for name, part in zip(("train_val_videodatainfo", "test_videodatainfo"), msrvtt_parts(), strict=True):
        write_json(folder / f"{name}.json", part)
    pairs = [f'ret{place},msr{number},video{number},"a shape, number {number}"' for place, number in enumerate((5, 4))]
    write_lines(folder / "MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence", *pairs)
    write_lines(folder / "MSRVTT_train.9k.csv", "video_id", *(f"video{number}" for number in range(4)))
    write_lines(folder / "split_lists/train_list_miech.txt", "video5", "video0")
    write_lines(folder / "split_lists/test_list_miech.txt", "video4", "video1")
    question = {"qid": 7, "clip_name": "video4", "options": ["a", "b", "a shape", "d", "e"], "answer": 2}
    write_lines(folder / "msrvtt_retrieval_mc_test.jsonl", json.dumps(question))
    touch(folder / "videos", *(f"video{number}.{'mp4' if number else 'webm'}" for number in range(6)))


# --------------------------------------------------------------------------------------------------------------------
# DiDeMo, ActivityNet Captions
# --------------------------------------------------------------------------------------------------------------------


def didemo_entry(number: int, video: str, description: str, times: list, num_segments: int = 6) -> dict:
    link = f"https://www.flickr.com/video_download.gne?id={video.split('_')[1]}"
    entry = {"annotation_id": number, "description": description, "video": video, "num_segments": num_segments}
    return {**entry, "times": times, "dl_link": link}


def write_didemo(folder: Path) -> None:
    same = [[1, 1], [1, 1], [0, 0], [1, 2]]
    for place, name in enumerate(("train", "val", "test")):
        video = f"1234@N0{place}_55{place}_ab{place}"
        entries = [
            didemo_entry(10 * place, f"{video}.mov", "a dog runs\n", same),
            didemo_entry(10 * place + 1, f"99@N0{place}_66{place}_cd.", "a cat", [[5, 5]] * 4),
            didemo_entry(10 * place + 2, f"{video}.mp4", " the dog stops", [[0, 4]] * 4),
        ]
        write_json(folder / f"{name}_data.json", entries)
        touch(folder / "videos", f"{video}.avi", f"99@N0{place}_66{place}_cd.")


def anet_entry(duration: float, *moments: tuple[float, float, str]) -> dict:
    times = [[start_s, end_s] for start_s, end_s, _ in moments]
    return {"duration": duration, "timestamps": times, "sentences": [sentence for *_, sentence in moments]}


def write_activitynet_captions(folder: Path) -> None:
    first = anet_entry(20.5, (0, 7.25, "A shape moves."), (7, 20.5, "  It stops."))
    write_json(folder / "train.json", {"v_abcdefghij0": first, "v_abcdefghij1": anet_entry(9.0, (1, 8, " A dot."))})
    write_json(folder / "val_1.json", {"v_abcdefghij2": anet_entry(9.0, (1.5, 9, "A line."))})
    write_json(folder / "val_2.json", {"v_abcdefghij2": anet_entry(9.0, (2, 8, " A thin line."))})
    touch(folder / "videos", "v_abcdefghij0.mkv", "v_abcdefghij1.mp4", "v_abcdefghij2.webm")


# --------------------------------------------------------------------------------------------------------------------
# LSMDC, MSVD, VATEX
# --------------------------------------------------------------------------------------------------------------------

LSMDC_FILES = {
    "train": "LSMDC16_annos_training.csv",
    "validation": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}


def lsmdc_line(clip: str, sentence: str, end: str = "00.00.04.250") -> str:
    return "\t".join((clip, "00.00.01.500", "00.00.03.900", "00.00.01.250", end, sentence))


def write_lsmdc(folder: Path) -> None:
    for place, (split, name) in enumerate(LSMDC_FILES.items()):
        clips = [f"300{place}_A_FILM_00.00.0{second}.250-00.00.04.250" for second in (1, 2)]
        again = [] if split == "test" else [lsmdc_line(clips[0], "SOMEONE looks back.")]
        lines = [lsmdc_line(clips[0], 'SOMEONE says "no'), lsmdc_line(clips[1], "A door, ajar."), *again]
        write_lines(folder / name, *lines)
        touch(folder, *(f"300{place}_A_FILM/{clip}.avi" for clip in clips))


MSVD_CLIPS = {"train": ["a_b-cdefghij_5_15", "-bcdefghijk_0_3"], "val": ["c_2_4"], "test": ["d_1_9", "e_1_9"]}


def write_msvd(folder: Path) -> None:
    clips = [clip for listed in MSVD_CLIPS.values() for clip in listed]
    sentences = [f"{clip} a shape {turn}" for clip in clips for turn in ("moves", "moves", "#2 stops")]
    write_lines(folder / "AllVideoDescriptions.txt", "# all descriptions", "#", "", *sentences)
    for name, listed in MSVD_CLIPS.items():
        write_lines(folder / f"{name}_list.txt", *listed)
    touch(folder / "YouTubeClips", *(f"{clip}.avi" for clip in clips))


def vatex_entry(name: str, **columns) -> dict:
    return {"videoID": name, "enCap": [f"{name} moves", "it stops"], "chCap": ["它动了"], **columns}


def write_vatex(folder: Path) -> None:
    names = [f"abc_efghij{number}_000010_000020" for number in range(5)]
    write_json(folder / "vatex_training_v1.0.json", [vatex_entry(names[0]), vatex_entry(names[1])])
    write_json(folder / "vatex_validation_v1.0.json", [vatex_entry(names[2]), vatex_entry(names[3])])
    test = vatex_entry(names[4])
    del test["chCap"]
    write_json(folder / "vatex_public_test_english_v1.1.json", [test])
    write_lines(folder / "vatex_val1k5.txt", names[3])
    write_lines(folder / "vatex_test1k5.txt", names[2])
    touch(folder, *(f"{name}.mp4" for name in names))


WRITERS = {
    "msrvtt": write_msrvtt,
    "didemo": write_didemo,
    "activitynet_captions": write_activitynet_captions,
    "lsmdc": write_lsmdc,
    "msvd": write_msvd,
    "vatex": write_vatex,
}
