# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Clips of two classes, red and blue, in the layout of UCF101's five-class subset."""

from pathlib import Path

import av
import numpy as np


def write_clips(root: Path) -> Path:
    """Twelve clips to train on and six to test on, of six frames each, every one from a recording of its own."""
    for split, groups in (("train", range(8, 14)), ("test", range(1, 4))):
        (root / split).mkdir(parents=True)
        lines = ["video_name,tag"]
        for group in groups:
            for name, colour in (("Archery", (200, 30, 30)), ("Punch", (30, 30, 200))):
                file = f"v_{name}_g{group:02}_c01.avi"
                lines.append(f"{file},{name}")
                with av.open(str(root / split / file), "w") as container:
                    stream = container.add_stream("mpeg4", rate=10)
                    stream.width = stream.height = 32
                    stream.pix_fmt = "yuv420p"
                    for _ in range(6):
                        picture = np.full((32, 32, 3), colour, dtype=np.uint8)
                        picture[:, :group] = 90
                        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                    container.mux(stream.encode())
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return root
