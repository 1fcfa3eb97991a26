# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Three families that this package does not know, as a stranger writes them: folders that are dropped on the path.

`write_duo` writes a dual encoder of texts and videos, whose processors are ours; `write_framewise` a classifier of single
frames with a video processor of its own, which reads no words and imports nothing of ours; `write_stepwise` a classifier
whose frozen encoder makes a vector of each frame, which can be kept on disk.
"""

from pathlib import Path


def write_duo(folder: Path) -> Path:
    """`modeling_duo`: config, a head with the contract of matching, a processor, a card."""
    return _write(folder / "modeling_duo", DUO)


def write_framewise(folder: Path) -> Path:
    """`modeling_framewise`: config, a classifier, a processor for videos alone, a card."""
    return _write(folder / "modeling_framewise", FRAMEWISE)


def write_stepwise(folder: Path) -> Path:
    """`modeling_stepwise`: config, a classifier with the contract of frame vectors, a processor."""
    return _write(folder / "modeling_stepwise", STEPWISE)


def _write(package: Path, files: dict[str, str]) -> Path:
    package.mkdir(parents=True)
    for name, text in files.items():
        (package / name).write_text(text.lstrip("\n"))
    return package


DUO = {
    "__init__.py": '''
"""Duo: bags of words and mean colours, compared in a space that both are projected to."""

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoProcessor, AutoVideoProcessor

from .configuration_duo import DuoConfig
from .modeling_duo import DuoForVideoTextRetrieval
from .processing_duo import DuoProcessor
from .video_processing_duo import DuoVideoProcessor


AutoConfig.register("duo", DuoConfig)
AutoModelForSequenceClassification.register(DuoConfig, DuoForVideoTextRetrieval)
AutoVideoProcessor.register(DuoConfig, DuoVideoProcessor)
AutoProcessor.register(DuoConfig, DuoProcessor)
''',
    "configuration_duo.py": """
from transformers import PreTrainedConfig


class DuoConfig(PreTrainedConfig):
    model_type = "duo"
    vocab_size: int = 100
    width: int = 16
""",
    "modeling_duo.py": """
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_duo import DuoConfig


@dataclass
class DuoOutput(ModelOutput):
    loss: torch.FloatTensor | None = None
    match_odds: torch.FloatTensor | None = None
    clip_odds: torch.FloatTensor | None = None


class DuoForVideoTextRetrieval(PreTrainedModel):
    config: DuoConfig
    base_model_prefix = "duo"
    main_input_name = "input_ids"

    def __init__(self, config):
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.width)
        self.frames = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.project = nn.Linear(32, config.width)
        self.scale = nn.Linear(1, 1)
        self.post_init()

    def encode_videos(self, pixel_values):
        clips = pixel_values.flatten(0, 2)  # (videos * clips * frames, 3, height, width)
        vectors = self.project(self.frames(clips / 255)).unflatten(0, pixel_values.shape[:3])
        return F.normalize(vectors.mean(dim=2), dim=-1)  # (videos, clips, width)

    def encode_texts(self, input_ids, attention_mask):
        words = self.words(input_ids) * attention_mask[..., None]
        return F.normalize(words.sum(dim=1), dim=-1)  # (texts, width)

    def match(self, texts, videos, video_indices=None):
        videos = videos if video_indices is None else videos[video_indices]
        clip_odds = self.scale(10 * (texts[:, None] * videos).sum(-1, keepdim=True))[..., 0]
        return DuoOutput(match_odds=clip_odds.mean(dim=1), clip_odds=clip_odds)

    def contrastive_loss(self, texts, videos, text_keys, video_keys):
        scores = 10 * texts @ videos.mean(dim=1).T
        same = (text_keys[:, None] == text_keys) | (video_keys[:, None] == video_keys)
        others = same & ~torch.eye(len(texts), dtype=torch.bool)
        scores, labels = scores.masked_fill(others, -torch.inf), torch.arange(len(texts))
        return F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels)

    def forward(
        self, input_ids, attention_mask, pixel_values, video_indices=None, labels=None, return_features=False
    ):
        texts = self.encode_texts(input_ids, attention_mask)
        if return_features:
            return texts, self.encode_videos(pixel_values)
        outputs = self.match(texts, self.encode_videos(pixel_values), video_indices)
        if labels is not None:
            outputs["loss"] = F.binary_cross_entropy_with_logits(outputs.match_odds, labels.float())
        return outputs
""",
    "processing_duo.py": '''
from clipbert.processing import VideoTextProcessor


class DuoProcessor(VideoTextProcessor):
    """Words and videos, as ours."""
''',
    "video_processing_duo.py": '''
from clipbert.processing import ClipBERTVideoProcessor


class DuoVideoProcessor(ClipBERTVideoProcessor):
    """Frames as ClipBERT sees them, smaller."""

    size = {"longest_edge": 48}
''',
    "card.yaml": """
name: Duo
about: Duo compares the words of a text with the colours of a video.
citation: |
  @misc{duo, title = {Duo}, author = {A Stranger}, year = {2026}}
""",
}


FRAMEWISE = {
    "__init__.py": '''
"""Framewise: every frame is classified by itself, and the frames vote."""

from transformers import AutoConfig, AutoModelForVideoClassification, AutoVideoProcessor

from .configuration_framewise import FramewiseConfig
from .modeling_framewise import FramewiseForVideoClassification
from .video_processing_framewise import FramewiseVideoProcessor


AutoConfig.register("framewise", FramewiseConfig)
AutoModelForVideoClassification.register(FramewiseConfig, FramewiseForVideoClassification)
AutoVideoProcessor.register(FramewiseConfig, FramewiseVideoProcessor)
''',
    "configuration_framewise.py": """
from transformers import PreTrainedConfig


class FramewiseConfig(PreTrainedConfig):
    model_type = "framewise"
    width: int = 8
""",
    "modeling_framewise.py": """
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from .configuration_framewise import FramewiseConfig


class FramewiseForVideoClassification(PreTrainedModel):
    config: FramewiseConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.classifier = nn.Sequential(
            nn.Conv2d(3, config.width, 4, stride=4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(config.width, config.num_labels),
        )
        self.post_init()

    def forward(self, pixel_values, labels=None):
        votes = self.classifier(pixel_values.flatten(0, 1)).unflatten(0, pixel_values.shape[:2])
        logits = votes.mean(dim=1)  # (videos, classes)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)
""",
    "video_processing_framewise.py": '''
from typing import TypedDict

import av
import numpy as np
import torch
import torch.nn.functional as F
from transformers import BaseVideoProcessor, BatchFeature


class FramewiseOptions(TypedDict, total=False):
    num_frames: int
    size: int | dict


class FramewiseVideoProcessor(BaseVideoProcessor):
    """Evenly spaced frames of a whole video, as small squares."""

    num_frames = 4
    size = {"height": 16, "width": 16}
    valid_kwargs = FramewiseOptions
    model_input_names = ["pixel_values"]

    def __call__(self, videos, num_frames=None, **kwargs):
        return BatchFeature({"pixel_values": torch.stack([self.read(path, num_frames) for path in videos])})

    def read(self, path, num_frames):
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        chosen = np.linspace(0, len(frames) - 1, num_frames or self.num_frames).round().astype(int)
        pixels = torch.from_numpy(np.stack([frames[index] for index in chosen])).permute(0, 3, 1, 2) / 255
        return F.interpolate(pixels, size=(16, 16))  # (frames, 3, 16, 16)
''',
    "card.yaml": """
name: Framewise
about: Framewise classifies every frame by itself.
citation: |
  @misc{framewise, title = {Framewise}, author = {A Stranger}, year = {2026}}
""",
}


STEPWISE = {
    "__init__.py": '''
"""Stepwise: a frozen encoder of frames, and a recurrent network over what it makes of them."""

from transformers import AutoConfig, AutoModelForVideoClassification, AutoVideoProcessor

from .configuration_stepwise import StepwiseConfig
from .modeling_stepwise import StepwiseForVideoClassification
from .video_processing_stepwise import StepwiseVideoProcessor


AutoConfig.register("stepwise", StepwiseConfig)
AutoModelForVideoClassification.register(StepwiseConfig, StepwiseForVideoClassification)
AutoVideoProcessor.register(StepwiseConfig, StepwiseVideoProcessor)
''',
    "configuration_stepwise.py": """
from transformers import PreTrainedConfig


class StepwiseConfig(PreTrainedConfig):
    model_type = "stepwise"
    width: int = 8
    is_frozen: bool = True
""",
    "modeling_stepwise.py": """
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from .configuration_stepwise import StepwiseConfig


class StepwiseForVideoClassification(PreTrainedModel):
    config: StepwiseConfig
    main_input_name = "pixel_values"

    def __init__(self, config):
        super().__init__(config)
        self.frame_feature_size = config.width
        self.frame_encoder = nn.Sequential(
            nn.Conv2d(3, config.width, 4, stride=4), nn.BatchNorm2d(config.width), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ).requires_grad_(not config.is_frozen)
        self.rnn = nn.GRU(config.width, config.width, batch_first=True)
        self.head = nn.Linear(config.width, config.num_labels)
        self.post_init()

    def train(self, mode=True):
        super().train(mode)
        self.frame_encoder.eval()
        return self

    def encode_frames(self, pixel_values):
        return self.frame_encoder(pixel_values)

    def forward(self, pixel_values=None, frame_features=None, frame_mask=None, labels=None):
        if frame_features is None:
            frame_features = self.encode_frames(pixel_values.flatten(0, 1)).unflatten(0, pixel_values.shape[:2])
        _, last = self.rnn(frame_features)  # all clips are equally long
        logits = self.head(last[-1])  # (videos, classes)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)
""",
    "video_processing_stepwise.py": '''
import torch
import torch.nn.functional as F

from clipbert.processing import SparseVideoProcessor


class StepwiseVideoProcessor(SparseVideoProcessor):
    """The frames of one clip, as small squares."""

    num_clips, num_frames = 1, 4
    size = {"height": 16, "width": 16}
    image_mean = image_std = [0.5, 0.5, 0.5]

    def transform(self, picture, options):
        frame = torch.from_numpy(picture).permute(2, 0, 1)[None].float() * options["rescale_factor"]
        size = options["size"].height, options["size"].width
        return (F.interpolate(frame, size=size)[0] - 0.5) / 0.5

    def __call__(self, videos, **kwargs):
        inputs = super().__call__(videos, **kwargs)
        for name in {"pixel_values", "frame_indices", "frame_seconds"} & inputs.keys():
            inputs[name] = inputs[name][:, 0]
        inputs["frame_mask"] = torch.ones(inputs["pixel_values"].shape[:2], dtype=torch.int64)
        return inputs
''',
    "card.yaml": """
name: Stepwise
about: Stepwise reads frames one after the other.
citation: |
  @misc{stepwise, title = {Stepwise}, author = {A Stranger}, year = {2026}}
""",
}
