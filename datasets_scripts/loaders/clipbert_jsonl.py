# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The annotation files that ClipBERT's authors handed out (`txt_db`), for those who still hold them.

    load_benchmark("clipbert_jsonl", config="msrvtt_qa", split="train", data_dir="txt_db", video_dir="videos/msrvtt")

Source:    https://github.com/jayleicn/ClipBERT; the files were fetched by its `scripts/download_*.sh`, from an address
           that has refused access since 2022. Those who have none: the other loaders read the benchmarks' own files.
Licence:   that of each benchmark; see the loader of its name.
Layout:    the folder `txt_db`, or the folder of one task; one JSON object a line.
           msrvtt_retrieval      {train,val,test}.jsonl             {"caption", "clip_name"}
           msrvtt_retrieval_mc   msrvtt_retrieval_mc_test.jsonl     {"qid", "clip_name", "options", "answer"}
           didemo_retrieval      {train,val,test}.jsonl             as msrvtt_retrieval; a caption is a paragraph
           anet_retrieval        {train,dev,test}.jsonl             the same
           msrvtt_qa             {train,val,test}.jsonl             {"video_id", "question", "answer", "answer_type"}
           tgif_qa               {action,transition}_{train,val,test}.jsonl
                                 {"gif_name", "question", "options", "answer"}
                                 frameqa_{train,val,test}.jsonl     {"gif_name", "question", "answer", "answer_type"}
           vqa                   vqa_k_trainval.jsonl, vg_k_trainval.jsonl, vqa_k_test.jsonl
                                 {"question", "image_id", "question_id", "labels": {answer: score}, "answer_type"}
           pretrain              {coco,vg}_{train,val}_captions.jsonl  {"coco_id" or "vg_id", "caption"}
Splits:    train, validation (`val`, `dev`, `vqa_k_test`) and test: those of ClipBERT, which trains and selects on
           them. Its files for TGIF-QA have no counting. The lists of answers next to them (`*_ans2label.json`) are read
           by `AnswerVocabulary.load`.
Videos:    a video lies in `<clip_name>.mp4` (`video_id`, `gif_name`), in any container and folder below `video_dir`;
           an image of COCO in `COCO_train2014_000000458752.jpg` or under its number, one of Visual Genome in `4.jpg`.
Odd cases: captions, questions and answers of video tasks have no id: theirs is the number of the line, from 0, as in
           ClipBERT's results; it repeats in every split. A `sen_id` that a video has twice is an error. The rows of
           `vg_k_trainval.jsonl` have ids that begin with "vg-", as their numbers may be those of VQA. The options of
           `msrvtt_retrieval_mc` are captions without a question; theirs is the same as in `msrvtt`. A row without
           labels has no answer.
"""

from collections.abc import Iterator
from pathlib import Path

from clipbert.datasets_scripts.building.base import BenchmarkConfig
from clipbert.datasets_scripts.building.coco_images import COCOImages
from clipbert.datasets_scripts.building.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from clipbert.datasets_scripts.building.multiple_choice import WHICH_CAPTION, chosen_option
from clipbert.datasets_scripts.building.records import WHOLE, Record, read_jsonl


SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}
TASK_MEDIA = {
    "retrieval": VIDEO_SUFFIXES,
    "qa": VIDEO_SUFFIXES,
    "image_text": IMAGE_SUFFIXES,
    "image_qa": IMAGE_SUFFIXES,
}


def files_of(folder: str, pattern: str, **names: str) -> dict[str, tuple[str, ...]]:
    """`files_of("tgif_qa", "action_{}.jsonl")` -> `{"train": ("tgif_qa/action_train.jsonl",), ...}`."""
    return {split: (f"{folder}/{pattern.format(name)}",) for split, name in (names or SPLIT_NAMES).items()}


VQA_TEST = ("vqa/vqa_k_test.jsonl",)
FILES = {
    "msrvtt_retrieval": files_of("msrvtt_retrieval", "{}.jsonl"),
    "msrvtt_retrieval_mc": {"test": ("msrvtt_retrieval_mc/msrvtt_retrieval_mc_test.jsonl",)},
    "didemo_retrieval": files_of("didemo_retrieval", "{}.jsonl"),
    "anet_retrieval": files_of("anet_retrieval", "{}.jsonl", train="train", validation="dev", test="test"),
    "msrvtt_qa": files_of("msrvtt_qa", "{}.jsonl"),
    "tgif_qa_action": files_of("tgif_qa", "action_{}.jsonl"),
    "tgif_qa_transition": files_of("tgif_qa", "transition_{}.jsonl"),
    "tgif_qa_frameqa": files_of("tgif_qa", "frameqa_{}.jsonl"),
    "vqa": {"train": ("vqa/vqa_k_trainval.jsonl", "vqa/vg_k_trainval.jsonl"), "validation": VQA_TEST},
    "vqa_without_vg": {"train": ("vqa/vqa_k_trainval.jsonl",), "validation": VQA_TEST},
    "pretrain_coco": files_of("pretrain", "coco_{}_captions.jsonl", train="train", validation="val"),
    "pretrain_vg": files_of("pretrain", "vg_{}_captions.jsonl", train="train", validation="val"),
}


class ClipBERTJsonl(COCOImages):
    """ClipBERT's own annotation files, one JSON object a line."""

    BUILDER_CONFIGS = [
        BenchmarkConfig(
            name="msrvtt_retrieval", description="MSR-VTT: find the video of a caption; 7k videos in train"
        ),
        BenchmarkConfig(name="msrvtt_retrieval_mc", task="qa", description="MSR-VTT: one of five captions; only test"),
        BenchmarkConfig(name="didemo_retrieval", description="DiDeMo: a paragraph finds its video"),
        BenchmarkConfig(name="anet_retrieval", description="ActivityNet Captions: a paragraph finds its video"),
        BenchmarkConfig(name="msrvtt_qa", task="qa", description="MSRVTT-QA: one-word answers"),
        BenchmarkConfig(name="tgif_qa_action", task="qa", description="TGIF-QA: what is done N times, five options"),
        BenchmarkConfig(name="tgif_qa_transition", task="qa", description="TGIF-QA: before or after, five options"),
        BenchmarkConfig(name="tgif_qa_frameqa", task="qa", description="TGIF-QA: a word that one frame shows"),
        BenchmarkConfig(name="vqa", task="image_qa", description="VQA 2.0 and Visual Genome, as ClipBERT trains"),
        BenchmarkConfig(name="vqa_without_vg", task="image_qa", description="VQA 2.0 alone"),
        BenchmarkConfig(name="pretrain_coco", task="image_text", description="COCO captions for pre-training"),
        BenchmarkConfig(name="pretrain_vg", task="image_text", description="Visual Genome captions for pre-training"),
    ]
    LAYOUT = "It is ClipBERT's folder txt_db, or the folder of one task in it."

    def __init__(self, cache_dir=None, config_name=None, data_dir=None, **config_fields):
        tasks = {config.name: config.task for config in self.BUILDER_CONFIGS}
        self.MEDIA_SUFFIXES = TASK_MEDIA.get(tasks.get(config_name))
        super().__init__(cache_dir=cache_dir, config_name=config_name, data_dir=data_dir, **config_fields)

    @classmethod
    def split_files(cls, config: BenchmarkConfig) -> dict[str, list[tuple[str, ...]]]:
        return {
            split: [names, tuple(name.rpartition("/")[2] for name in names)]
            for split, names in FILES[config.name].items()
        }

    def load_records(self, split: str, files: list[Path]) -> Iterator[Record]:
        for path in files:
            seen = set()
            for record in read_jsonl(path):
                if split == "train" and self.config.task == "image_qa" and "labels" not in record.values:
                    raise record.error(f"expected a column 'labels', got {', '.join(record.values)}")
                if self.config.task == "retrieval" and "sen_id" in record.values:
                    sentence = self.media_name(record), record.require("sen_id", (int, str))
                    if sentence in seen:
                        raise record.error(f"expected every 'sen_id' of a video once, got {sentence[1]!r} again")
                    seen.add(sentence)
                yield record

    def media_name(self, record: Record) -> str:
        """What the record calls its video or image."""
        columns = ("clip_name", "video_id", "gif_name", "coco_id", "vg_id", "image_id")
        column = next((name for name in columns if name in record.values), None)
        if column is None:
            raise record.error(f"expected a column of {', '.join(columns)}, got {', '.join(record.values)}")
        return str(record.require(column, (str, int)))

    def video_path(self, record: Record) -> str:
        name = self.media_name(record)
        if self.config.task in ("retrieval", "qa"):
            return self.find_media(name, ".mp4")
        if self.config.name == "pretrain_vg":
            return self.find_media(f"VG_100K/{name}", ".jpg")
        return self.find_coco_image(int(name)) if WHOLE.fullmatch(name) else self.find_media(name, ".jpg")

    def text(self, record: Record) -> Iterator[dict]:
        task, line = self.config.task, str(record.line - 1)
        media = "image" if task.startswith("image") else "video"
        row = {f"{media}_id": self.media_name(record)}
        if task in ("retrieval", "image_text"):
            yield {**row, "caption": record.require("caption").strip(), "caption_id": line}
        elif task == "image_qa":
            yield {**row, **image_question(record)}
        else:
            yield {**row, **self.question(record, line)}

    def question(self, record: Record, line: str) -> dict:
        kind = self.config.name.removeprefix("tgif_qa_")
        if kind == "msrvtt_retrieval_mc":
            identifier = str(record.require("qid", (str, int)))
            return {
                "question": WHICH_CAPTION,
                "question_id": identifier,
                "answer_type": "caption",
                **chosen_option(record),
            }
        row = {"question": record.require("question"), "question_id": line}
        if kind in ("action", "transition"):
            return {**row, "answer_type": kind, **chosen_option(record)}
        answer = {"answer": record.require("answer"), "answer_type": record.require("answer_type")}
        return {**row, **answer, "options": [], "answer_index": None}


def image_question(record: Record) -> dict:
    labels = record.values.get("labels")
    labels = {} if labels is None else labels
    numbers = isinstance(labels, dict) and all(isinstance(score, int | float) for score in labels.values())
    if not numbers:
        raise record.error(f"expected 'labels' to be answers with their scores, got {labels!r:.80}")
    prefix = "vg-" if record.file.name.startswith("vg_") else ""
    return {
        "question": record.require("question"),
        "question_id": f"{prefix}{record.require('question_id', (str, int))}",
        "answer": max(labels, key=labels.get) if labels else None,
        "answer_type": "" if record.values.get("answer_type") is None else record.values["answer_type"],
        "soft_answers": list(labels),
        "soft_scores": list(labels.values()),
    }
