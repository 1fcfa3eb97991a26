# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Frame mAP of actions in boxes, as AVA is evaluated."""

from .detection import Detection, RankedDetections, box_ious, compute_detection_metrics, rank_detections


__all__ = ["Detection", "RankedDetections", "box_ious", "compute_detection_metrics", "rank_detections"]
