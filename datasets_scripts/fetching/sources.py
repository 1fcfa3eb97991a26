# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Where the files of each benchmark come from, under which names the loaders expect them, and on what terms.

An address that carries a commit and a checksum always gives the same bytes. The others are those that the projects
name; only their length can be verified. Hosts that ask for a click, a password or an account stand in `instructions`
and are never contacted.
"""

from collections.abc import Mapping
from dataclasses import dataclass


# copies of annotation files at a commit that several loaders fetch from
ACTIVITYNET = "activitynet/ActivityNet/82304fa9f4a7219421df13dae6347a445c4cf5bc"
HQGA = "doc-doc/HQGA/f655c8a624fd5d0d21551b744f2589c905ea4cbd"
MMACTION2 = "open-mmlab/mmaction2/4d6c93474730cad2f25e51109adcf96824efc7a3"
TSN = "yjxiong/temporal-segment-networks/2c5e5e7c9c4f552cfde46fa90a4c0c230d857afe"
VIDEOX = "microsoft/VideoX/1744b2159c3d11694f94dab4fcde8660c685e79a"
VSLNET = "26hzhang/VSLNet/3793c625f2e251a5f19a0d59f0c83b12e386f808"


@dataclass(frozen=True)
class Source:
    """A file of a benchmark, or what has to be placed by hand.

    Args:
        file (`str`): Its path below `data_dir`; for things placed by hand also several, or a folder.
        urls (`tuple[str, ...]`): Addresses of the same bytes, best first; none for what is placed by hand.
        kind (`str`, defaults to `"annotations"`): `"annotations"`, or `"videos"` (images too), fetched when asked.
        sha256 (`str`, *optional*): Its checksum.
        size (`int`, *optional*): Its bytes.
        unpack (`str`, *optional*): Folder below `data_dir` that the archive is unpacked into; `"."` is `data_dir`.
        status (`str`, defaults to `"public"`): `"gated"` needs an agreement or an account, `"dead"` is gone from its
            official address.
        instructions (`str`): What to do by hand.
    """

    file: str
    urls: tuple[str, ...] = ()
    kind: str = "annotations"
    sha256: str | None = None
    size: int | None = None
    unpack: str | None = None
    status: str = "public"
    instructions: str = ""

    def __post_init__(self):
        if self.kind not in ("annotations", "videos") or self.status not in ("public", "gated", "dead"):
            raise ValueError(f"Unknown kind {self.kind!r} or status {self.status!r} of {self.file}")
        if not self.urls and not self.instructions:
            raise ValueError(f"Expected {self.file} to have addresses, or instructions in place of them")
        if self.urls and self.status != "public":
            raise ValueError(f"Expected no addresses for {self.file}, which is {self.status}")


def github(
    repository: str,
    folder: str,
    files: Mapping[str, tuple[int | None, str | None]],
    into: str = "",
    original: Mapping[str, str] | None = None,
) -> list[Source]:
    """Files of a repository at a commit: name -> bytes and sha256. `original` names those that we call otherwise."""
    base, prefix = f"https://raw.githubusercontent.com/{repository}/{folder}", f"{into}/" if into else ""
    original = original or {}
    return [
        Source(f"{prefix}{name}", (f"{base}/{original.get(name, name)}",), sha256=sha256, size=size)
        for name, (size, sha256) in files.items()
    ]


def by_hand(file: str, instructions: str, kind: str = "videos", status: str = "public") -> Source:
    return Source(file, kind=kind, status=status, instructions=instructions)
