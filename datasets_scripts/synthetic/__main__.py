# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`python -m datasets_scripts.synthetic --output_dir DIR`: generate videos of moving shapes."""

import argparse

from clipbert.datasets_scripts.synthetic.generation import SPLITS, Settings, generate_synthetic, read_manifest
from clipbert.datasets_scripts.synthetic.scenes import PRESETS


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m datasets_scripts.synthetic", description="Generate videos of moving shapes with annotations."
    )
    defaults = Settings()
    parser.add_argument(
        "--output_dir", required=True, help="new or empty folder, or one finished with the same settings"
    )
    parser.add_argument("--preset", choices=PRESETS, default=defaults.preset, help="default: %(default)s")
    for name in ("num_train", "num_validation", "num_test", "size", "fps", "seed", "captions_per_video"):
        parser.add_argument(f"--{name}", type=int, default=getattr(defaults, name), help="default: %(default)s")
    parser.add_argument(
        "--num_frames",
        type=int,
        help="frames a video; default: 16 (easy), 18 (orders, motion, motion_boxes), 36 (motion_shots), 24 (the others); "
        "videos with events have a length in seconds",
    )
    for name, kind, meaning in (
        ("duration_s", float, "seconds of every video; default: 16 to 60 (evidence: 40)"),
        (
            "num_events",
            int,
            "events of every video; default: 2 to 6 (evidence, stars that nothing is told of: 2 to 4)",
        ),
        ("shortest_event_s", float, "default: 2 (evidence: 1)"),
        ("longest_event_s", float, "default: 15 (evidence: 4)"),
    ):
        parser.add_argument(f"--{name}", type=kind, help=f"presets events and evidence: {meaning}")
    parser.add_argument(
        "--boundary_noise",
        type=float,
        default=defaults.boundary_noise,
        help="presets events and evidence: borders of training moments are moved by up to this share of their length; default: 0",
    )
    parser.add_argument(
        "--search_phrases", action="store_true", help="training captions also as people search, with parts left out"
    )
    parser.add_argument(
        "--unseen_combinations",
        action="store_true",
        help="keep the combinations of validation and test out of training",
    )
    settings = vars(parser.parse_args(arguments))
    try:
        folder = generate_synthetic(**settings)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    for split, facts in sorted(read_manifest(folder)["splits"].items(), key=lambda item: SPLITS.index(item[0])):
        counts = ", ".join(f"{facts[name]} {name}" for name in ("videos", "captions", "combinations"))
        print(f"{folder / split}: {counts}")


if __name__ == "__main__":
    main()
