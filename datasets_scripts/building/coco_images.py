# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The images of COCO, on which several benchmarks stand: where one lies."""

from clipbert.datasets_scripts.building.base import VideoTextBuilder
from clipbert.datasets_scripts.building.media import IMAGE_SUFFIXES
from clipbert.datasets_scripts.fetching.sources import Source


COCO_FOLDERS = ("train2014", "val2014", "test2015", "test2014")


def coco_images(*names: str) -> list[Source]:
    host = "http://images.cocodataset.org/zips"
    return [Source(f"{name}.zip", (f"{host}/{name}.zip",), kind="videos", unpack="images") for name in names]


class COCOImages(VideoTextBuilder):
    """What benchmarks on the images of COCO share: where an image lies."""

    MEDIA_SUFFIXES = IMAGE_SUFFIXES

    def find_coco_image(self, image_id: int, folder: str = "train2014") -> str:
        """Path of an image by its number; `folder` is where it is expected if it is not there."""
        number = f"{image_id:012d}"
        name = f"COCO_{folder}_{number}"
        if name not in self.media.files:
            others = (f"COCO_{each}_{number}" for each in COCO_FOLDERS)
            found = next((other for other in others if other in self.media.files), None)
            name = found or (number if number in self.media.files else f"{folder}/{name}")
        return self.find_media(name, ".jpg")
