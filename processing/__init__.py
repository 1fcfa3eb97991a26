# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Videos and words into model inputs. The processors are registered with the Auto classes by the families that use them."""

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one

from .decoding import VideoDecodeError, decode_video, read_video_metadata
from .feature_cache import CachedFeatures, FeatureCache, FeatureFingerprint
from .feature_files import FeatureFiles, VideoFeatures, read_features
from .feature_rows import FeatureFileError
from .moment_spans import decode_moments, join_windows, joint_scores, segment_scores, span_targets, temporal_nms
from .processing_moment_retrieval import MomentRetrievalProcessor
from .processing_mug_stan import MugSTANProcessor
from .processing_video_text import VideoTextProcessor
from .sampling import sample_clips
from .segment_plan import plan_segments, plan_windows
from .tokenizer_files import load_tokenizer
from .video_processing import SparseVideoOptions, SparseVideoProcessor
from .video_processing_ci_mha import CIMHAVideoProcessor
from .video_processing_clipbert import ClipBERTVideoProcessor
from .video_processing_cnn_rnn import CNNRNNVideoProcessor
from .video_processing_mug_stan import MugSTANVideoProcessor


__all__ = [
    "CIMHAVideoProcessor",
    "CNNRNNVideoProcessor",
    "CachedFeatures",
    "ClipBERTVideoProcessor",
    "FeatureCache",
    "FeatureFileError",
    "FeatureFiles",
    "FeatureFingerprint",
    "MomentRetrievalProcessor",
    "MugSTANProcessor",
    "MugSTANVideoProcessor",
    "SparseVideoOptions",
    "SparseVideoProcessor",
    "VideoDecodeError",
    "VideoFeatures",
    "VideoTextProcessor",
    "decode_moments",
    "decode_video",
    "join_windows",
    "joint_scores",
    "load_tokenizer",
    "plan_segments",
    "plan_windows",
    "read_features",
    "read_video_metadata",
    "sample_clips",
    "segment_scores",
    "span_targets",
    "temporal_nms",
]
