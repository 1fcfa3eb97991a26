# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Actions in boxes around the key frame of a clip: items, scores.

The contract of detection. A head `...ForActionDetection`, of whatever family, has

    forward(pixel_values, boxes, video_indices, labels=None)
        boxes (boxes, 4)              x1, y1, x2, y2 in pixels of what the model sees, of all videos of the batch
        video_indices (boxes,)        the video of each box
        labels (boxes, classes)       1.0 where the person in a box does something, else 0.0; several may hold
    returns .logits (boxes, classes)  log-odds of each action by itself
            .loss                     with labels

and its processor frames around a moment, and boxes that follow the pixels:

    processor(videos=[...], sampling="key_frame", key_times_s=[...], boxes=[...])
        key_times_s                   for each video the second of its key frame
        boxes                         for each video its boxes as shares of the picture, in [0, 1]
    returns what `forward` takes, and `box_indices`, which of the boxes are seen
"""

from clipbert.train_scripts.tasks.action_detection.measures import measure


__all__ = ["measure"]
