# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Writing a folder of generated videos with their annotations: whole or not at all, the same for the same settings."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from clipbert.datasets_scripts.building.packet_tables import keep_packet_indexes
from clipbert.datasets_scripts.synthetic.events import (
    draw_event_video,
    event_moments,
    move_borders,
    room_for_events,
)
from clipbert.datasets_scripts.synthetic.evidence import GALLERY, draw_evidence_videos, eighths
from clipbert.datasets_scripts.synthetic.rendering import render_scene, write_h264
from clipbert.datasets_scripts.synthetic.scenes import (
    PRESETS,
    Act,
    Preset,
    Scene,
    class_names,
    count_combinations,
    describes,
    sample_scene,
)
from clipbert.datasets_scripts.synthetic.texts import captions, moments, questions, search_phrases, vocabulary
from clipbert.datasets_scripts.synthetic.twin_videos import TwinVideo, draw_twin_videos, render_video


SPLITS = ("train", "validation", "test")
FORMAT = {"format": "synthetic", "version": 1}  # a higher version draws other videos from the same settings


@dataclass(frozen=True)
class Settings:
    """What decides the content of a generated folder."""

    num_train: int = 400
    num_validation: int = 64
    num_test: int = 64
    preset: str = "standard"
    size: int = 64
    num_frames: int | None = None
    fps: int = 8
    seed: int = 0
    captions_per_video: int = 1
    search_phrases: bool = False
    unseen_combinations: bool = False
    # of presets with events; None: as the preset says
    duration_s: float | None = None
    num_events: int | None = None
    shortest_event_s: float | None = None
    longest_event_s: float | None = None
    boundary_noise: float = 0.0

    def __post_init__(self):
        def expect(condition: bool, what: str, got) -> None:
            if not condition:
                raise ValueError(f"Synthetic videos: expected {what}, got {got}")

        expect(self.preset in PRESETS, f"a preset out of {', '.join(PRESETS)}", repr(self.preset))
        expect(self.size >= 32 and self.size % 2 == 0, "an even `size` of at least 32 pixels", self.size)
        expect(self.num_frames is None or self.num_frames >= 8, "`num_frames` of at least 8", self.num_frames)
        expect(self.fps >= 1, "`fps` of at least 1", self.fps)
        preset = PRESETS[self.preset]
        self.check_events(expect)
        shared = not preset.even_steps or (self.num_frames or preset.num_frames) % len(preset.colors) == 0
        expect(shared, f"`num_frames` that {len(preset.colors)} colours can share", self.num_frames)
        expect(
            not (preset.classes and self.unseen_combinations),
            "no `unseen_combinations` of a preset with classes, which have few",
            repr(self.preset),
        )
        if preset.has_twins:
            step = 2 * max(preset.told_parts, default=1)
            shared = (self.num_frames or preset.num_frames) % step == 0
            expect(
                shared,
                f"`num_frames` that are a multiple of {step}, so that twins have the same ones",
                self.num_frames,
            )
            odd = [split for split in SPLITS if self.count(split) % 2]
            expect(not odd, "even numbers of videos of a preset with twins", f"an odd one for {', '.join(odd)}")
            expect(not self.unseen_combinations, "no `unseen_combinations` of a preset with twins", True)
        expect(self.seed >= 0, "a `seed` of at least 0", self.seed)
        expect(1 <= self.captions_per_video <= 3, "`captions_per_video` from 1 to 3", self.captions_per_video)
        counts = [self.count(split) for split in SPLITS]
        expect(min(counts) >= 0 and sum(counts) > 0, "numbers of videos of at least 0, not all 0", counts)

    def check_events(self, expect: Callable) -> None:
        plan = self.event_plan
        if not PRESETS[self.preset].num_events[0]:
            names = ("duration_s", "num_events", "shortest_event_s", "longest_event_s", "boundary_noise")
            given = [name for name in names if getattr(self, name) not in (None, 0.0)]
            expect(not given, f"no `{'`, `'.join(given)}` of a preset without events", repr(self.preset))
            return
        others = [name for name in ("num_frames", "search_phrases", "unseen_combinations") if getattr(self, name)]
        expect(not others, f"no `{'`, `'.join(others)}` of a preset with events", repr(self.preset))
        expect(0 <= self.boundary_noise < 0.5, "a `boundary_noise` from 0 to below 0.5", self.boundary_noise)
        shortest, longest = plan.event_s
        expect(1 / self.fps <= shortest <= longest, "a `shortest_event_s` up to `longest_event_s`", plan.event_s)
        if plan.has_evidence:
            odd = [split for split in SPLITS if self.count(split) % GALLERY]
            got = f"another one for {', '.join(odd)}"
            expect(not odd, f"multiples of {GALLERY} videos, which are a gallery of this preset", got)
            least, most = eighths(plan.duration_s, self.fps)
            got = f"{plan.duration_s[0]:g} s at {self.fps} frames a second"
            expect(0 < least <= most, "a `duration_s` of frames that can be divided by 8", got)
        most = count_combinations(plan, None) // 2
        expect(2 <= plan.num_events[0] <= most, f"`num_events` from 2 to {most}", plan.num_events[0])
        room = room_for_events(plan.num_events[1], shortest, self.fps)
        expect(plan.duration_s[0] >= room, f"a `duration_s` of {room:g} or more for its events", plan.duration_s[0])

    @property
    def event_plan(self) -> Preset:
        """The preset, with what has been said of its events."""
        preset = PRESETS[self.preset]
        shortest, longest = preset.event_s
        return replace(
            preset,
            duration_s=preset.duration_s if self.duration_s is None else (self.duration_s, self.duration_s),
            num_events=preset.num_events if self.num_events is None else (self.num_events, self.num_events),
            event_s=(
                shortest if self.shortest_event_s is None else self.shortest_event_s,
                longest if self.longest_event_s is None else self.longest_event_s,
            ),
        )

    def count(self, split: str) -> int:
        return getattr(self, f"num_{split}")


def generate_synthetic(output_dir, progress: bool = True, **settings) -> Path:
    """Write a synthetic benchmark into a folder, in the layout that `video_folder` reads too.

    The folder appears only when it is complete. A finished one with the same settings is left as it is.

    Args:
        output_dir (`str` or `Path`): The folder: new, empty, or finished earlier with the same settings.
        progress (`bool`, defaults to `True`): Show a progress bar.
        settings: Fields of `Settings`: `num_train`, `num_validation`, `num_test`, `preset` ("standard", "easy",
            "counting", "sequences", with classes "motions" or "orders", with twins "motion", "motion_boxes" or
            "motion_shots", with moments to find "events", with one thing that is told and seen for a known share "evidence", whose
            numbers of videos are multiples of 16), `size` (pixels, even), `num_frames` (default:
            what the preset says), `fps`,
            `seed`, `captions_per_video` (1 to 3 wordings), `search_phrases` (training videos have captions as people
            search, too: with parts left out), `unseen_combinations` (train without the combinations of
            validation and test). Of "events", in the place of drawn numbers: `duration_s` (any: videos are written frame by
            frame), `num_events`, `shortest_event_s`, `longest_event_s`; `boundary_noise` (borders of training moments
            lie up to this share of their length beside the true ones). They hold of "evidence", too, where events are the small
            stars that nothing is told of.

    Returns:
        `Path`: The folder, with `train/`, `validation/` and `test/` (each `videos/`, `captions.jsonl`,
        `questions.jsonl`, `moments.jsonl`; `labels.jsonl` where the preset has classes), `vocab.txt` (WordPiece),
        `manifest.json` and the packet indexes of its videos.

    Raises:
        ValueError: If a setting is out of range.
        FileExistsError: If the folder holds something else, or a benchmark with other settings.

    Example:
        >>> folder = generate_synthetic("shapes", preset="easy", num_train=4, num_validation=2, num_test=2)
        >>> sorted(path.name for path in folder.iterdir())
        ['manifest.json', 'packet_indexes.safetensors', 'test', 'train', 'validation', 'vocab.txt']
    """
    settings = Settings(**settings)
    settings = replace(settings, num_frames=settings.num_frames or PRESETS[settings.preset].num_frames)
    output_dir = Path(output_dir).expanduser().absolute()
    return generate_once(
        output_dir,
        is_finished=lambda: is_finished(output_dir, settings),
        write=lambda folder: write_benchmark(folder, settings, progress),
    )


def generate_once(output_dir: Path, is_finished: Callable[[], bool], write: Callable[[Path], None]) -> Path:
    """Fill a folder that is new or empty, unless it is finished; it appears only when it is complete."""
    if is_finished():
        return output_dir
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output_dir.name}-unfinished-", dir=output_dir.parent) as temporary:
        unfinished = Path(temporary) / output_dir.name
        unfinished.mkdir()
        write(unfinished)
        if output_dir.is_dir() and not any(output_dir.iterdir()):
            output_dir.rmdir()
        try:
            os.rename(unfinished, output_dir)
        except OSError:
            if not is_finished():  # else another process was quicker with the same content
                raise
    return output_dir


def is_finished(output_dir: Path, settings: Settings) -> bool:
    """Whether the folder already holds exactly this benchmark; anything else in it is an error."""
    if not output_dir.exists() or (output_dir.is_dir() and not any(output_dir.iterdir())):
        return False
    try:
        manifest = read_manifest(output_dir)
    except FileNotFoundError as error:
        raise FileExistsError(f"{output_dir} is not empty. {error}") from None
    there, wanted = {**FORMAT, **Settings().__dict__, **manifest["settings"]}, {**FORMAT, **settings.__dict__}
    there["version"] = manifest["version"]
    if different := [name for name in wanted if there.get(name) != wanted[name]]:
        listed = ", ".join(f"{name} is {there.get(name)} there, {wanted[name]} asked" for name in different)
        raise FileExistsError(
            f"{output_dir} holds a synthetic benchmark with other settings ({listed}); choose another folder"
        )
    for split, facts in manifest["splits"].items():
        present = sum(1 for _ in (output_dir / split / "videos").glob("*.mp4"))
        if present != facts["videos"]:
            raise FileExistsError(
                f"{output_dir / split} holds {present} of the {facts['videos']} videos its manifest lists; "
                "delete the folder and generate it again"
            )
    return True


def read_manifest(folder: Path) -> dict:
    """The `manifest.json` of a finished synthetic benchmark."""
    path = Path(folder) / "manifest.json"
    manifest = json.loads(path.read_text()) if path.is_file() else {}
    if manifest.get("format") != FORMAT["format"]:
        raise FileNotFoundError(
            f"{folder} is not a finished synthetic benchmark (it has no manifest.json of one); generate one into a "
            "new or empty folder with `python -m datasets_scripts.synthetic --output_dir FOLDER`"
        )
    return manifest


def write_benchmark(folder: Path, settings: Settings, progress: bool) -> None:
    preset = settings.event_plan
    combinations = count_combinations(preset, settings.num_frames)
    manifest = {**FORMAT, "settings": settings.__dict__, "combinations": combinations, "splits": {}}
    evaluated = set()
    with tqdm(
        total=sum(map(settings.count, SPLITS)),
        desc="synthetic videos",
        unit="video",
        disable=None if progress else True,
    ) as bar:
        for split in reversed(SPLITS):  # test and validation first: training may have to avoid what they hold
            if not settings.count(split):
                continue
            if preset.has_evidence:
                manifest["splits"][split] = write_evidence(folder / split, settings, split, bar)
                continue
            excluded = evaluated if settings.unseen_combinations and split == "train" else set()
            if preset.num_events[0]:
                manifest["splits"][split] = write_events(folder / split, settings, split, bar)
                continue
            if preset.has_twins:
                rng = split_rng(settings, split)
                videos = draw_twin_videos(rng, preset, settings.num_frames, settings.count(split))
                distinct = len({tuple(video.captions()) for video in videos}) == len(videos)
                manifest["splits"][split] = write_twins(folder / split, settings, split, videos, bar)
            else:
                scenes, distinct = draw_scenes(settings, split, preset, combinations, excluded)
                manifest["splits"][split] = write_split(folder / split, settings, split, scenes, bar)
            if split != "train":
                if settings.unseen_combinations:
                    evaluated |= {scene.meaning for scene in scenes}
                manifest["splits"][split]["every_caption_fits_one_video"] = distinct
                if not distinct and not preset.classes and not preset.has_twins:
                    bar.write(
                        f"synthetic: {len(scenes)} {split} videos are more than the preset {settings.preset!r} can "
                        "distinguish, so some captions fit several videos and R@1 cannot reach 100 %"
                    )
    keep_packet_indexes(folder, (str(path.relative_to(folder)) for path in folder.rglob("*.mp4")))
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def split_rng(settings: Settings, split: str, *more: int) -> np.random.Generator:
    return np.random.default_rng([settings.seed, SPLITS.index(split), *more])


def draw_scenes(
    settings: Settings, split: str, preset: Preset, combinations: int, excluded: set
) -> tuple[list[Scene], bool]:
    """Draw the scenes of a split; also say whether each caption fits only its own video.

    Validation and test avoid every scene that an earlier caption describes, or whose caption describes an earlier
    scene. Training only spreads over the combinations, returning to known ones when it has seen most.
    """
    rng = split_rng(settings, split)
    if len(excluded) >= combinations:
        raise ValueError(
            f"Validation and test use all {combinations} combinations of the preset {settings.preset!r}: with "
            "`unseen_combinations` none is left to train on. Ask for fewer of them, or for another preset."
        )
    scenes, groups, distinct = [], {}, True
    labels = class_names(preset) if preset.classes else []
    while len(scenes) < settings.count(split):
        wanted = labels[len(scenes) % len(labels)] if labels else None
        for _ in range(20 if split == "train" or not distinct else min(20 * combinations, 20_000)):
            scene = sample_scene(rng, preset, settings.num_frames)
            while scene.meaning in excluded or (labels and scene.label(preset) != wanted):
                scene = sample_scene(rng, preset, settings.num_frames)
            # only scenes that agree in these can be described by one caption
            group = groups.setdefault((scene.shape, scene.number, scene.background), [])
            if split == "train":
                clashes = any(scene.meaning == other.meaning for other in group)
            else:
                clashes = any(describes(scene, other) or describes(other, scene) for other in group)
            if not clashes:
                break
        else:
            distinct = False
        scenes.append(scene)
        group.append(scene)
    return scenes, distinct


def write_split(folder: Path, settings: Settings, split: str, scenes: list[Scene], bar: tqdm) -> dict:
    """Render the videos of a split, write its annotation files, and return the counts."""
    (folder / "videos").mkdir(parents=True)
    preset = PRESETS[settings.preset]
    lines = {"captions": [], "questions": [], "moments": []} | ({"labels": []} if preset.classes else {})
    for index, scene in enumerate(scenes):
        rng = split_rng(settings, split, index)
        video = {"video": f"videos/{split}_{index:05d}.mp4", "video_id": f"{split}_{index:05d}"}
        write_h264(folder / video["video"], render_scene(scene, settings.num_frames, settings.size, rng), settings.fps)
        duration_s = settings.num_frames / settings.fps
        told = captions(scene)[: settings.captions_per_video]
        lines["questions"] += [{**video, **asked} for asked in questions(scene, preset, rng)]
        if preset.classes:
            lines["labels"].append({**video, "label": scene.label(preset)})
        if split == "train" and settings.search_phrases:
            told += search_phrases(scene)
        lines["captions"] += [{**video, "caption": caption} for caption in told]
        lines["moments"] += [{**video, **moment, "duration_s": duration_s} for moment in moments(scene, settings.fps)]
        bar.update()
    facts = write_lines(folder, lines, preset)
    return {"videos": len(scenes), "combinations": len({scene.meaning for scene in scenes}), **facts}


def write_twins(folder: Path, settings: Settings, split: str, videos: list[TwinVideo], bar: tqdm) -> dict:
    """The same for videos with twins, which come one after the other."""
    (folder / "videos").mkdir(parents=True)
    preset, duration_s = PRESETS[settings.preset], settings.num_frames / settings.fps
    lines = {"captions": [], "questions": [], "moments": []} | ({"labels": []} if preset.classes else {})
    lines |= {"boxes": []} if preset.objects > 1 else {}
    key = settings.num_frames // 2
    for index, shown in enumerate(videos):
        rng = split_rng(settings, split, index)
        if not shown.is_second:
            frames, boxes = render_video(shown, settings.size, rng)
            order = shown.order()
        else:
            frames, boxes = frames[order], boxes[:, order] if len(boxes) else boxes
        row = {"video": f"videos/{split}_{index:05d}.mp4", "video_id": f"{split}_{index:05d}"}
        write_h264(folder / row["video"], frames, settings.fps, each_by_itself=True)
        told = {"aligned_share": round(shown.aligned_share, 3)} if preset.told_parts else {}
        wordings = shown.captions()[: settings.captions_per_video]
        lines["captions"] += [{**row, "caption": caption, **told} for caption in wordings]
        lines["moments"] += [{**row, **moment, "duration_s": duration_s} for moment in shown.moments(settings.fps)]
        if preset.classes:
            (scene,) = shown.scenes
            lines["labels"].append({**row, "label": scene.label(preset)})
            lines["questions"] += [{**row, **asked} for asked in questions(scene, preset, rng)]
        if len(boxes):
            acts = [[preset.motions.index(kind) for kind in scene.kinds] for scene in shown.scenes]
            at_key = {"timestamp_s": round(key / settings.fps, 3), "boxes": boxes[:, key].round(4).tolist()}
            names = [str(number) for number in range(len(acts))]
            lines["boxes"].append({**row, **at_key, "labels": acts, "person_ids": names})
        bar.update()
    facts = write_lines(folder, lines, preset)
    if preset.objects > 1:
        facts["actions"] = [Act(kind, "").infinitive for kind in preset.motions]
    return {"videos": len(videos), "combinations": len({shown.captions()[0] for shown in videos}), **facts}


def write_events(folder: Path, settings: Settings, split: str, bar: tqdm) -> dict:
    """The same for videos with events, which are drawn, written and forgotten one by one."""
    (folder / "videos").mkdir(parents=True)
    lines, told = {"captions": [], "questions": [], "moments": []}, set()
    for index in range(settings.count(split)):
        rng = split_rng(settings, split, index)
        video = draw_event_video(rng, settings.event_plan, settings.fps)
        row = {"video": f"videos/{split}_{index:05d}.mp4", "video_id": f"{split}_{index:05d}"}
        found = list(event_moments(video, settings.fps, settings.captions_per_video, rng))
        write_h264(folder / row["video"], video.render(settings.size, rng), settings.fps)
        duration_s = video.num_frames / settings.fps
        if split == "train" and settings.boundary_noise:
            found = [move_borders(moment, settings.boundary_noise, duration_s, rng) for moment in found]
        lines["moments"] += [{**row, **moment, "duration_s": duration_s} for moment in found]
        lines["captions"].append({**row, "caption": ", then ".join(wordings[0] for wordings in video.sentences())})
        told |= {wordings[0] for wordings in video.sentences()}
        bar.update()
    return {
        "videos": settings.count(split),
        "combinations": len(told),
        **write_lines(folder, lines, settings.event_plan),
    }


def write_evidence(folder: Path, settings: Settings, split: str, bar: tqdm) -> dict:
    """The same for videos that are about one thing, gallery by gallery."""
    (folder / "videos").mkdir(parents=True)
    rng, count = split_rng(settings, split), settings.count(split)
    lines, told = {"captions": [], "questions": [], "moments": []}, set()
    for index, video in enumerate(draw_evidence_videos(rng, settings.event_plan, settings.fps, count)):
        row = {"video": f"videos/{split}_{index:05d}.mp4", "video_id": f"{split}_{index:05d}"}
        write_h264(folder / row["video"], video.render(settings.size), settings.fps, each_by_itself=True)
        duration_s, wordings = video.num_frames / settings.fps, video.captions()[: settings.captions_per_video]
        found = list(video.moments(settings.fps))
        if split == "train" and settings.boundary_noise:
            found = [move_borders(moment, settings.boundary_noise, duration_s, rng) for moment in found]
        known = {"visible_share": video.visible_share, "evidence": video.kind}
        lines["captions"] += [{**row, "caption": caption, **known} for caption in wordings]
        lines["questions"] += [{**row, **asked, **known} for asked in video.questions()]
        lines["moments"] += [{**row, **moment, "duration_s": duration_s, **known} for moment in found]
        told.add(wordings[0])
        bar.update()
    facts = {"gallery_size": GALLERY, "columns": list(known), **write_lines(folder, lines, settings.event_plan)}
    by_itself = {"every_caption_fits_one_video": count == GALLERY} if split != "train" else {}
    return {"videos": count, "combinations": len(told), **facts, **by_itself}


def write_lines(folder: Path, lines: dict[str, list[dict]], preset: Preset) -> dict:
    """Write the annotation files of a split, and return what the manifest says of them."""
    for name, rows in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [row["task"] for row in lines["questions"]]
    of_classes = {"classes": class_names(preset)} if preset.classes else {}
    return {
        **of_classes,
        "captions": len(lines["captions"]),
        "questions": {task: tasks.count(task) for task in sorted(set(tasks))},
        "moments": len(lines["moments"]),
    }
