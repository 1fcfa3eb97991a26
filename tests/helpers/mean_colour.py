# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""A cheap encoder that is no stub: the vector of a video is the mean colour of its frames, that of a text the colour it names."""

from dataclasses import dataclass

import av
import numpy as np

from clipbert.processing import decode_video
from clipbert.search.protocols import EncodedSegment


COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "grey": (1, 1, 1)}
WIDTH = 3


def unit(vector):
    vector = np.asarray(vector, np.float32) + np.float32(1e-3)  # black has a direction, too
    return vector / np.linalg.norm(vector)


@dataclass(frozen=True)
class MeanColour:
    """Keeps the protocol `Encoder`. With a `log`, a file, it appends the digits of the mean colour of everything that it encodes."""

    log: str | None = None
    num_frames: int = 2

    name = "mean-colour"
    stage = "colour"
    parts_shape = None
    width = WIDTH

    @property
    def fingerprint(self):
        return f"mean-colour-{self.num_frames}"

    @property
    def seconds_shape(self):
        return 1, self.num_frames

    def read(self, path, span=None):
        def choose(metadata):
            first, last = (0, metadata.duration) if span is None else span
            frames = np.linspace(first * metadata.fps, last * metadata.fps, self.num_frames + 2)[1:-1].astype(int)
            return np.minimum(frames, metadata.total_num_frames - 1)

        decoded = decode_video(path, choose)
        means = np.stack([np.asarray(frame, np.float64).mean(axis=(0, 1)) for frame in decoded.frames])
        seconds = np.resize(np.asarray(decoded.metadata.frames_seconds, np.float64), self.num_frames)
        return {"mean": means.mean(axis=0), "seconds": seconds}

    def encode(self, inputs):
        if self.log is not None:
            with open(self.log, "a") as file:
                file.writelines(f"{','.join(f'{level:.0f}' for level in one['mean'])}\n" for one in inputs)
        return [EncodedSegment(None, one["seconds"][None], vector=unit(one["mean"])) for one in inputs]

    def encode_query(self, texts):
        found = [np.mean([COLOURS[word] for word in text.split() if word in COLOURS], axis=0) for text in texts]
        return np.stack([unit(vector) for vector in found])


def write_colour(path, colour, num_frames=4, fps=8, side=16):
    """A video of one colour."""
    write_colours(path, [colour] * num_frames, fps, side)


def write_colours(path, colours, fps=8, side=16):
    """A video with a colour for each frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for colour in colours:
            picture = np.full((side, side, 3), colour, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
