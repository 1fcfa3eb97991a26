# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Damaged videos: does decoding return a wrong picture without a word?

Videos of numbered pictures in every container are damaged in ways that disks and networks know (bits, holes, cuts, lost
and repeated pieces), reproducibly. Eight frames of each are asked for, in a process of its own that may not crash, hang or
take more than 1 GB. A picture is wrong if its mean difference to that of the undamaged file is more than 10 of 255.
The levels of `python -m datasets_scripts check` look at the same files.

Run:     make fuzz                                             (about ten minutes on two cores)
More:    python tests/fuzz/decoding.py --mutants 10000 --seed 1 --show
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path


sys.path[:0] = [str(Path(__file__).parents[1] / "helpers"), str(Path(__file__).parents[2])]

import numpy as np  # noqa: E402
from numbered_videos import KINDS, plain_decode, write_numbered  # noqa: E402


NUM_FRAMES, NUM_ASKED, WRONG = 60, 8, 10
TIME_LIMIT_S, MEMORY_LIMIT = 60, 1 << 30
LEVELS = ("header", "frames", "full")


# ---------------------------------------------------------------------------------------------------------- damage


def flip_bits(data: bytearray, rng: random.Random, count: int = 1) -> None:
    for _ in range(count):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def change_bytes(data: bytearray, rng: random.Random, count: int = 1) -> None:
    for _ in range(count):
        data[rng.randrange(len(data))] = rng.randrange(256)


def piece(data: bytearray, rng: random.Random) -> slice:
    """A piece of 4 bytes to an eighth of the file, small ones as often as large ones."""
    size = int(2 ** rng.uniform(2, np.log2(max(8, len(data) / 8))))
    start = rng.randrange(len(data))
    return slice(start, min(start + size, len(data)))


def blank(data: bytearray, rng: random.Random) -> None:
    place = piece(data, rng)
    data[place] = bytes(place.stop - place.start)


def noise(data: bytearray, rng: random.Random) -> None:
    place = piece(data, rng)
    data[place] = rng.randbytes(place.stop - place.start)


def cut_off(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(1, len(data)) :]


def lose(data: bytearray, rng: random.Random) -> None:
    del data[piece(data, rng)]


def repeat(data: bytearray, rng: random.Random) -> None:
    place = piece(data, rng)
    data[place.start : place.start] = data[place]


def swap(data: bytearray, rng: random.Random) -> None:
    first, second = piece(data, rng), piece(data, rng)
    size = min(first.stop - first.start, second.stop - second.start)
    one, other = (bytes(data[place.start : place.start + size]) for place in (first, second))
    data[first.start : first.start + size], data[second.start : second.start + size] = other, one


DAMAGE = {
    "one bit": flip_bits,
    "2-20 bits": lambda data, rng: flip_bits(data, rng, rng.randrange(2, 20)),
    "one byte": change_bytes,
    "2-20 bytes": lambda data, rng: change_bytes(data, rng, rng.randrange(2, 20)),
    "blanked piece": blank,
    "noise": noise,
    "cut off": cut_off,
    "lost piece": lose,
    "repeated piece": repeat,
    "swapped pieces": swap,
}


def make_mutant(folder: Path, seed: int, number: int) -> tuple[str, str, bytes]:
    """Kind of file, kind of damage, bytes: those of mutant `number`, whoever asks."""
    rng = random.Random(f"{seed}/{number}")
    kind, damage = rng.choice(sorted(KINDS)), rng.choice(sorted(DAMAGE))
    data = bytearray((folder / (kind + KINDS[kind].suffix)).read_bytes())
    DAMAGE[damage](data, rng)
    return kind, damage, bytes(data)


# ---------------------------------------------------------------------------------------------------------- looking


def look_at(path: Path, truth: np.ndarray) -> tuple[str, list[int]]:
    """`right`, `wrong` or `refused`, and the frames that are wrong."""
    from clipbert.processing import VideoDecodeError
    from clipbert.processing.decoding import decode_video, read_video_metadata

    try:
        total = read_video_metadata(path).total_num_frames
        asked = sorted({int(number) for number in np.linspace(0, total - 1, NUM_ASKED)})
        frames = decode_video(path, asked, timeout_s=20).frames
    except VideoDecodeError as error:
        assert path.name in str(error), error
        return "refused", []
    wrong = [number for number, frame in zip(asked, frames, strict=True) if not is_like(frame, number, truth)]
    return ("wrong", wrong) if wrong else ("right", [])


def is_like(frame: np.ndarray, number: int, truth: np.ndarray) -> bool:
    if number >= len(truth) or frame.shape != truth[number].shape:
        return False
    return float(np.abs(frame.astype(int) - truth[number]).mean()) <= WRONG


def is_visibly_damaged(path: Path, truth: np.ndarray) -> bool:
    """Whether plain decoding, which hides what it can, gives other pictures, fewer, or none."""
    import av

    frames = []
    with contextlib.suppress(Exception), av.open(str(path), timeout=20) as container:
        for frame in container.decode(container.streams.video[0]):
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) > len(truth):
                break
    return len(frames) != len(truth) or not all(is_like(frame, number, truth) for number, frame in enumerate(frames))


def work(folder: Path, seed: int, numbers, results) -> None:
    """Look at mutants, in a process that a crash ends and a hang stops."""
    from clipbert.datasets_scripts.building.readable import probe_media

    truths = {kind: plain_decode(folder / (kind + KINDS[kind].suffix))[0] for kind in KINDS}
    for number in numbers:
        results.put(("begun", number, None))
        kind, damage, data = make_mutant(folder, seed, number)
        path = folder / f"mutant_{os.getpid()}{KINDS[kind].suffix}"
        path.write_bytes(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome, wrong = look_at(path, truths[kind])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = [level for level in LEVELS if probe_media(str(path), level).reason]
        results.put(
            (
                "done",
                number,
                {
                    "kind": kind,
                    "damage": damage,
                    "outcome": outcome,
                    "wrong": wrong,
                    "found": found,
                    "is_visible": is_visibly_damaged(path, truths[kind]),
                    "is_large": peak > before and peak * 1024 > MEMORY_LIMIT,
                },
            )
        )


def run(folder: Path, num_mutants: int, seed: int, num_workers: int) -> dict[int, dict]:
    """Results of all mutants; a process that dies or hangs is replaced, and its mutant is counted for it."""
    context = multiprocessing.get_context("spawn")
    found: dict[int, dict] = {}
    waiting = {worker: list(range(worker, num_mutants, num_workers)) for worker in range(num_workers)}
    running = {}

    def start(worker: int) -> None:
        queue = context.Queue()
        process = context.Process(target=work, args=(folder, seed, list(waiting[worker]), queue), daemon=True)
        process.start()
        running[worker] = (process, queue, {"number": None, "since": time.monotonic() + TIME_LIMIT_S})

    for worker in waiting:
        start(worker)
    while running:
        time.sleep(0.05)
        for worker, (process, queue, state) in list(running.items()):
            is_alive = process.is_alive()
            while not queue.empty():
                what, number, result = queue.get()
                state.update(number=number, since=time.monotonic())
                if what == "done":
                    found[number] = result
                    waiting[worker].remove(number)
            hangs = time.monotonic() - state["since"] > TIME_LIMIT_S
            if hangs or (not is_alive and waiting[worker]):
                process.kill()
                number = state["number"] if state["number"] in waiting[worker] else waiting[worker][0]
                kind, damage, _ = make_mutant(folder, seed, number)
                outcome = "hang" if hangs else "crash"
                found[number] = {"kind": kind, "damage": damage, "outcome": outcome, "wrong": [], "found": []}
                waiting[worker].remove(number)
                start(worker)
            elif not waiting[worker]:
                process.join()
                del running[worker]
    return found


# ---------------------------------------------------------------------------------------------------------- report


def refused_intact(folder: Path) -> list[str]:
    truths = {kind: plain_decode(folder / (kind + KINDS[kind].suffix))[0] for kind in KINDS}
    return [
        kind for kind, truth in truths.items() if look_at(folder / (kind + KINDS[kind].suffix), truth)[0] != "right"
    ]


def table(rows: dict[int, dict]) -> str:
    lines = ["| damage | files | refused | right | wrong | crash, hang, over 1 GB |", "|---|---|---|---|---|---|"]
    for damage in [*DAMAGE, "all"]:
        chosen = [row for row in rows.values() if damage in ("all", row["damage"])]
        count = Counter(row["outcome"] for row in chosen)
        bad = count["crash"] + count["hang"] + sum(row.get("is_large", False) for row in chosen)
        cells = [damage, len(chosen), count["refused"], count["right"], count["wrong"], bad]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=5.0, help="per cent of accepted files that may be wrong")
    parser.add_argument("--show", action="store_true", help="print each wrong one as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in KINDS:
            write_numbered(folder / (kind + KINDS[kind].suffix), NUM_FRAMES, KINDS[kind])
        refused = refused_intact(folder)
        rows = run(folder, options.mutants, options.seed, options.workers)
    if options.show:
        for number, row in sorted(rows.items()):
            if row["outcome"] not in ("refused", "right"):
                print(json.dumps({"mutant": number} | row))
    count = Counter(row["outcome"] for row in rows.values())
    num_large = sum(row.get("is_large", False) for row in rows.values())
    share = 100 * count["wrong"] / max(1, count["wrong"] + count["right"])
    print(table(rows))
    print(f"\nOf accepted files {share:.1f} % return a wrong picture. Intact files refused: {refused or 'none'}.")
    visible = [row for row in rows.values() if row.get("is_visible")]
    for level in LEVELS:
        hits = sum(level in row["found"] for row in visible)
        print(
            f"check --level {level}: {100 * hits / max(1, len(visible)):.0f} % of {len(visible)} visibly damaged files."
        )
    bad = count["crash"] + count["hang"] + num_large
    return int(bool(refused or bad or share > options.limit))


if __name__ == "__main__":
    sys.exit(main())
