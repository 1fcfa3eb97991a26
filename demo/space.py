# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Write what a Space on the Hub needs to serve the page: a folder that runs by itself, too.

Run:     python -m demo.space --output_dir my_space --checkpoint outputs/quickstart --videos outputs/quickstart/data/test
         (cd my_space && pip install -r requirements.txt && python app.py)
         python -m demo.space --output_dir my_space --checkpoint user/name --push_to_hub user/my-space

OUTPUT_DIR/app.py, README.md, requirements.txt      the page, the card with the settings of the Space, what it needs
OUTPUT_DIR/clipbert-VERSION.whl                     this package, which app.py unpacks: a Space builds before its files are there
OUTPUT_DIR/checkpoints/, videos/                    checkpoints that are folders; a few videos, by default generated ones
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import av
from huggingface_hub import HfApi, SpaceCard, SpaceCardData

from clipbert.command_line.arguments import UsageError
from clipbert.command_line.opening import check_checkpoint
from clipbert.search.errors import SearchIndexError
from clipbert.search.files import scan
from clipbert.support.families import find_checkpoint, load_trained
from clipbert.support.terminal import printable_lines, show_bytes


ROOT = Path(__file__).resolve().parents[1]
EXTRA = "demo"
PYTHON = "3.11"
MOST_BYTES = 200_000_000  # of videos
NUM_GENERATED = 12
LONGEST_DESCRIPTION = 60  # characters, by the Hub
DESCRIPTION = "Search, ask and explain videos by sparse clips"
APP = '''\
"""The page of this Space; `python app.py` serves it anywhere."""

import sys
import tempfile
import zipfile
from pathlib import Path


HERE = Path(__file__).resolve().parent
CHECKPOINTS = {checkpoints}  # folders of this Space, or names on the Hub

with tempfile.TemporaryDirectory() as code:
    with zipfile.ZipFile(HERE / "{wheel}") as wheel:
        wheel.extractall(code)
    sys.path.insert(0, code)
    from clipbert.demo.app import open_models, serve

    checkpoints = [HERE / name if (HERE / name).exists() else name for name in CHECKPOINTS]
    with open_models(checkpoints, HERE / "videos"{metadata}) as models:
        serve(models, title={title})
'''
ABOUT = """\
# {title}

Search the videos of this Space by sentences, ask questions about them, see when something happens, and why a model says so. Every answer is an endpoint, too:

```python
from gradio_client import Client

client = Client("user/this-space")
print(client.predict("a dog runs", api_name="/search"))
```

Made by `python -m demo.space` of clipbert, with: {models}.
"""


def write_space(
    output_dir: str | Path,
    checkpoints: Sequence[str],
    videos: str | Path | None = None,
    *,
    metadata: str | Path | None = None,
    title: str = "clipbert",
    description: str = DESCRIPTION,
    licence: str = "apache-2.0",
    wheel: str | Path | None = None,
) -> Path:
    """
    Write the folder of a Space.

    Args:
        output_dir (`str` or `Path`): A folder that is empty, or not there yet.
        checkpoints (`list[str]`): One for each task. Folders are copied, without what goes on with a training; names on the Hub are named.
        videos (`str` or `Path`, *optional*): A folder, which is copied; by default a few generated videos.
        metadata (`str` or `Path`, *optional*): Columns of its videos, such as `captions.jsonl`.
        title, description (`str`, *optional*): Of the card.
        licence (`str`, *optional*, defaults to `"apache-2.0"`): As the Hub writes it.
        wheel (`str` or `Path`, *optional*): Of this package; by default it is built from the files around this one.

    Returns:
        `Path`: The folder, which is complete: an earlier failure leaves none.

    Raises:
        UsageError: If the folder is not empty, a checkpoint or the videos are not there, or the videos are too large.
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and any(output_dir.iterdir()):
        raise UsageError(f"--output_dir {output_dir}: expected a folder that is empty or not there.")
    if not checkpoints:
        raise UsageError("--checkpoint: expected at least one.")
    if len(description) > LONGEST_DESCRIPTION:
        raise UsageError(f"--description: expected at most {LONGEST_DESCRIPTION} characters, got {len(description)}.")
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=f".{output_dir.name}.") as unfinished:
        folder = Path(unfinished) / "space"
        folder.mkdir()
        names = [place_checkpoint(folder, number, name) for number, name in enumerate(checkpoints)]
        has_metadata = place_videos(folder / "videos", videos, metadata)
        package = place_wheel(folder, wheel)
        (folder / "requirements.txt").write_text("\n".join(requirements_of(package)) + "\n", encoding="utf-8")
        app = APP.format(
            checkpoints=json.dumps(names),
            wheel=package.name,
            metadata=f', metadata=HERE / "videos" / {json.dumps(has_metadata)}' if has_metadata else "",
            title=json.dumps(title),
        )
        (folder / "app.py").write_text(app, encoding="utf-8")
        card_of(names, title, description, licence).save(folder / "README.md")
        if output_dir.exists():
            output_dir.rmdir()
        folder.rename(output_dir)
    return output_dir


def place_checkpoint(folder: Path, number: int, name: str) -> str:
    """A checkpoint as `app.py` names it: a folder of the Space, or a name on the Hub."""
    found = Path(check_checkpoint(name))
    if not found.exists():
        return name
    model, processor = load_trained(find_checkpoint(found))
    place = f"checkpoints/{number}_{model.config.model_type}"
    model.save_pretrained(folder / place)
    processor.save_pretrained(folder / place)
    return place


def place_videos(folder: Path, videos: str | Path | None, metadata: str | Path | None) -> str | None:
    """Copy the videos, and return the name of their metadata among them."""
    if videos is None:
        return generate_videos(folder)
    try:
        found = scan([videos], videos)
    except SearchIndexError as error:
        raise UsageError(f"--videos {error}") from error
    total = sum(file.size for file in found)
    if not found or total > MOST_BYTES:
        what = f"{len(found)} videos of {show_bytes(total)}"
        raise UsageError(f"--videos {videos}: expected a few videos, at most {show_bytes(MOST_BYTES)}, got {what}.")
    for file in found:
        target = folder / file.video_id
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.path, target)
    if metadata is None:
        return None
    shutil.copyfile(metadata, folder / Path(metadata).name)
    return Path(metadata).name


def generate_videos(folder: Path) -> str:
    """A few videos of moving shapes, one of them in a container that browsers do not play."""
    from clipbert.datasets_scripts.synthetic import generate_synthetic

    with tempfile.TemporaryDirectory() as data:
        counts = {"num_train": 1, "num_validation": 1, "num_test": NUM_GENERATED}
        found = generate_synthetic(Path(data) / "data", progress=False, preset="easy", **counts) / "test"
        shutil.copytree(found / "videos", folder / "videos")
        captions = (found / "captions.jsonl").read_text(encoding="utf-8")
    last = max((folder / "videos").iterdir())
    copy_packets(last, last.with_suffix(".mkv"))
    last.unlink()
    (folder / "captions.jsonl").write_text(captions.replace(last.name, f"{last.stem}.mkv"), encoding="utf-8")
    return "captions.jsonl"


def copy_packets(source: Path, target: Path) -> None:
    """The video stream of a file in another container."""
    with av.open(source) as read, av.open(target, "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        for packet in read.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                written.mux(packet)


def place_wheel(folder: Path, wheel: str | Path | None) -> Path:
    """The wheel of this package in the folder."""
    if wheel is not None:
        if not re.fullmatch(r"clipbert-.+\.whl", Path(wheel).name) or not zipfile.is_zipfile(wheel):
            raise UsageError(f"--wheel {wheel}: expected a wheel of clipbert.")
        return Path(shutil.copy(wheel, folder))
    if not (ROOT / "pyproject.toml").is_file():
        raise UsageError("--wheel: expected the wheel of this package; only a clone of the repository can build it.")
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "source"  # building writes into the folder that it builds
        shutil.copytree(
            ROOT, copy, ignore=shutil.ignore_patterns(".*", "outputs", "tests", "benchmarks", "build", "*.egg-info")
        )
        command = [
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(folder),
            str(copy),
        ]
        built = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        if built.returncode:
            raise UsageError(
                f"The wheel of this package cannot be built:\n{built.stderr.strip()}\nPass one by --wheel."
            )
    return next(folder.glob("clipbert-*.whl"))


def requirements_of(wheel: Path) -> list[str]:
    """What the package and its page need, as lines of a requirements file."""
    with zipfile.ZipFile(wheel) as files:
        name = next(name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        lines = HeaderParser().parsestr(files.read(name).decode("utf-8")).get_all("Requires-Dist") or []
    found = (line.partition(";")[::2] for line in lines)
    return sorted({what.strip() for what, marker in found if marker.strip() in ("", f'extra == "{EXTRA}"')})


def card_of(checkpoints: Sequence[str], title: str, description: str, licence: str) -> SpaceCard:
    """The card, with the settings of the Space in front."""
    from importlib.metadata import version

    on_the_hub = [name for name in checkpoints if not name.startswith("checkpoints/")]
    settings: dict[str, Any] = {
        "title": title,
        "emoji": "🎞️",
        "colorFrom": "yellow",
        "colorTo": "purple",
        "sdk": "gradio",
        "sdk_version": version("gradio"),
        "python_version": PYTHON,
        "app_file": "app.py",
        "license": licence,
        "short_description": description,
    }
    data = SpaceCardData(**settings, **({"models": on_the_hub} if on_the_hub else {}))
    about = ABOUT.format(title=title, models=", ".join(f"`{name}`" for name in checkpoints))
    return SpaceCard(f"---\n{data.to_yaml()}\n---\n\n{about}")


def push_space(folder: Path, repo_id: str, private: bool = False) -> str:
    """
    Push the folder, in one commit, to a Space that is made if need be.

    Returns:
        `str`: Its address.

    Raises:
        ValueError: If the Hub refuses the card.
        HfHubHTTPError: If the Hub refuses the rest.
    """
    SpaceCard.load(folder / "README.md").validate(repo_type="space")
    api = HfApi(library_name="clipbert")
    api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo_id, repo_type="space", folder_path=folder, commit_message="The page and what it needs"
    )
    return str(commit.repo_url)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", required=True, metavar="FOLDER", help="empty, or not there yet")
    parser.add_argument("--checkpoint", nargs="+", required=True, metavar="C", help="folders, or names on the Hub")
    parser.add_argument("--videos", metavar="FOLDER", help="are copied (default: a few generated ones)")
    parser.add_argument("--metadata", metavar="FILE", help="columns of the videos: captions.jsonl, or CSV")
    parser.add_argument("--title", default="clipbert")
    parser.add_argument("--description", default=DESCRIPTION, help=f"at most {LONGEST_DESCRIPTION} characters")
    parser.add_argument("--license", default="apache-2.0", help="as the Hub writes it (default: apache-2.0)")
    parser.add_argument("--wheel", metavar="FILE", help="of this package (default: built from this clone)")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="push it, as whom `hf auth login` has logged in")
    parser.add_argument("--private", action="store_true", help="a Space that only you see")
    given = parser.parse_args(arguments)
    folder = write_space(
        given.output_dir,
        given.checkpoint,
        given.videos,
        metadata=given.metadata,
        title=given.title,
        description=given.description,
        licence=given.license,
        wheel=given.wheel,
    )
    print(f"Written: {folder}. Try it: cd {folder} && pip install -r requirements.txt && python app.py")
    if given.push_to_hub:
        print(f"Pushed: {push_space(folder, given.push_to_hub, given.private)}")


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(printable_lines(f"{os.path.basename(sys.argv[0])}: error: {error}"))


__all__ = ["push_space", "write_space"]
