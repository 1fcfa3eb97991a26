# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Moment retrieval: items, scores, blind answers.

The contract of moments. A head `...ForMomentRetrieval`, of whatever family, has

    encode_videos(video_features, video_mask)           a tuple of tensors, first dimension videos
    encode_texts(input_ids, attention_mask)             a tuple of tensors, first dimension sentences
    match_moments(texts, videos, video_indices)         sentence i in video `video_indices[i]`; returns
        .start_logits, .end_logits (queries, segments)  scores of each segment as the first and as the last one
        .segment_logits (queries, segments), or None    log-odds that it lies inside
        .segment_mask (queries, segments)               segments that exist
    forward(input_ids, attention_mask, video_features or pixel_values, video_mask, video_indices, start_positions,
            end_positions, ...)                         returns .loss, and its terms in `..._loss`
    base_model.segment_features(pixel_values, video_mask, frame_mask)   vectors of segments (videos, segments, features), of a
                                                        model that reads frames

Segment i of n of a video of T seconds is [i, i + 1) T / n seconds.
"""

from clipbert.train_scripts.tasks.moment_retrieval.measures import measure


__all__ = ["measure"]
