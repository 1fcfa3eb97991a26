# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What a frozen CNN makes of frames, kept on disk: `model.kept_maps` of a recipe."""

from pathlib import Path

import torch
from transformers.utils import logging

from clipbert.support.tensor_files import read_tensors, write_tensors


logger = logging.get_logger(__name__)


class KeptMaps:
    """
    A folder of feature maps, a file each, for [`ClipBERTPreTrainedModel.keep_feature_maps`].

    Several models and processes may share it. A file that is not as it was written is computed again, with a warning.

    Args:
        folder (`str` or `Path`): Where the files lie. It is made when the first one is written.
        max_gb (`float`, *optional*): How many gigabytes (10^9 bytes) there may be, with what lies there already. What comes later
            is not kept. `None`: no bound.

    Example:
        >>> KeptMaps("maps").get("0" * 64) is None
        True
    """

    def __init__(self, folder: str | Path, max_gb: float | None = None):
        self.folder = Path(folder)
        self.max_bytes = float("inf") if max_gb is None else max_gb * 1e9
        self.num_bytes = sum(path.stat().st_size for path in self.folder.rglob("*.safetensors"))

    def get(self, name: str) -> torch.Tensor | None:
        """The map of this name, on the CPU; `None` if there is none."""
        path = self.path_of(name)
        try:
            return read_tensors(path)["feature_map"] if path.is_file() else None
        except (OSError, KeyError, ValueError) as error:
            logger.warning(f"Kept maps: {path} is no whole file ({error}); the frame is encoded again.")
            return None

    def __setitem__(self, name: str, feature_map: torch.Tensor) -> None:
        if self.num_bytes >= self.max_bytes:
            logger.warning_once(
                f"Kept maps: {self.folder} has its {self.max_bytes / 1e9:g} GB (model.kept_maps_gb); maps of other frames are not "
                "kept."
            )
            return
        try:
            self.num_bytes += write_tensors(self.path_of(name), {"feature_map": feature_map})
        except OSError as error:
            raise OSError(
                f"Maps cannot be kept in {self.folder} (model.kept_maps): {error}. Name a folder that can be written to, with room for "
                "model.kept_maps_gb, or leave it out."
            ) from error

    def path_of(self, name: str) -> Path:
        """The file of a map."""
        return self.folder / name[:2] / f"{name}.safetensors"


__all__ = ["KeptMaps"]
