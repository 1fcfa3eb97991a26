# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The images of COCO, on which several benchmarks stand: where one lies."""

from clipbert.datasets_scripts.building.base import VideoTextBuilder
from clipbert.datasets_scripts.building.media import IMAGE_SUFFIXES
from clipbert.datasets_scripts.fetching.sources import Source


COCO_FOLDERS = ("train2014", "val2014", "test2015", "test2014")


ARCHIVES = {  # bytes and sha256: the host has no https
    "train2014": (13_510_573_713, "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"),
    "val2014": (6_645_013_297, "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"),
    "test2015": (13_270_587_935, "1a2aa896b81140a850a78fa8bff07d455698d2abf364ff05721763458a8101ca"),
}


def coco_images(*names: str) -> list[Source]:
    host = "http://images.cocodataset.org/zips"
    return [
        Source(f"{name}.zip", (f"{host}/{name}.zip",), "videos", sha256, size, unpack="images")
        for name, (size, sha256) in ((name, ARCHIVES[name]) for name in names)
    ]


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
