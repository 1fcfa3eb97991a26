# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Videos and words into model inputs. The processors are registered with the Auto classes by the families that use them.

Names are imported when they are asked for: an index that is opened needs no torch.
"""

import clipbert  # noqa: F401  one name for a package, also where it is imported by its bare one
from clipbert.support.lazy_names import lazy_names


__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {  # public names and their modules
        "CIMHAVideoProcessor": "video_processing_ci_mha",
        "CNNRNNVideoProcessor": "video_processing_cnn_rnn",
        "CachedFeatures": "feature_cache",
        "ClipBERTVideoProcessor": "video_processing_clipbert",
        "FeatureCache": "feature_cache",
        "FeatureFileError": "feature_rows",
        "FeatureFiles": "feature_files",
        "FeatureFingerprint": "feature_cache",
        "MomentRetrievalProcessor": "processing_moment_retrieval",
        "MugSTANProcessor": "processing_mug_stan",
        "MugSTANVideoProcessor": "video_processing_mug_stan",
        "SparseVideoOptions": "video_processing",
        "SparseVideoProcessor": "video_processing",
        "VideoDecodeError": "video_sources",
        "VideoFeatures": "feature_files",
        "VideoTextProcessor": "processing_video_text",
        "decode_moments": "moment_spans",
        "decode_video": "decoding",
        "join_windows": "moment_spans",
        "joint_scores": "moment_spans",
        "load_tokenizer": "tokenizer_files",
        "plan_segments": "segment_plan",
        "plan_windows": "segment_plan",
        "read_features": "feature_files",
        "read_video_metadata": "decoding",
        "sample_clips": "sampling",
        "segment_scores": "moment_spans",
        "span_targets": "moment_spans",
        "temporal_nms": "moment_spans",
    },
)
