# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""chat.py: questions about a file, to a LLaVA that is merged on the fly or was before."""

import shutil

import pytest
import torch
from tiny_llava import tiny_llava, tiny_llava_processor
from tiny_mug_stan import tiny_model
from transformers import AutoModelForImageTextToText

from clipbert.processing import decode_video
from clipbert.train_scripts import chat


@pytest.fixture(scope="module")
def places(tmp_path_factory, write_video):
    """Folders of a LLaVA of larger pictures than the branch knows, of a Mug-STAN as a run leaves it, and a video."""
    folder = tmp_path_factory.mktemp("chat")
    tiny_llava(40).save_pretrained(folder / "llava")
    tiny_llava_processor(40).save_pretrained(folder / "llava")
    tiny_model(stan_num_layers=3).save_pretrained(folder / "run" / "checkpoints" / "best")
    write_video(folder / "clip.mp4", num_frames=20)
    return folder


def arguments(places, *more, model=None):
    model = model or ["--llava", str(places / "llava"), "--branch", str(places / "run")]
    return [*model, "--video", str(places / "clip.mp4"), "--num_frames", "4", "--max_new_tokens", "6", *more]


@torch.no_grad()
def test_a_conversation_about_a_file(places, tmp_path, capsys):
    questions = ["--question", "What happens ?", "--question", "Does it move right ?"]
    answers = chat.main(arguments(places, *questions, "--output_dir", str(tmp_path / "merged")))
    output = capsys.readouterr().out
    assert "clip.mp4: 4 frames, at " in output and output.count(" ?\n    ") == 2 and len(answers) == 2 and all(answers)
    merged = ["--checkpoint", str(tmp_path / "merged")]
    assert chat.main(arguments(places, *questions, model=merged)) == answers

    # the same by hand, through the tower
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").eval()
    processor = tiny_llava_processor(40)
    frames = decode_video(str(places / "clip.mp4"), [2, 7, 12, 17]).frames
    prompt = "USER : <image> What happens ? ASSISTANT :"
    words = processor(images=[frames[0]], text=prompt, return_tensors="pt")
    video = processor.image_processor(images=list(frames), return_tensors="pt")["pixel_values"][None]
    tokens = model.generate(**words | {"pixel_values": video}, max_new_tokens=6)[0, words["input_ids"].shape[1] :]
    assert processor.decode(tokens, skip_special_tokens=True).strip() == answers[0]
    # the second question knows the first
    assert chat.main(arguments(places, *questions[2:], model=merged)) != answers[1:]


def said(capsys, given):
    with pytest.raises(SystemExit) as caught:
        chat.main(given)
    return str(caught.value) if caught.value.code != 2 else capsys.readouterr().err


def test_what_is_wrong_is_told(places, tmp_path, capsys):
    ask = ("--question", "What ?")
    assert "name a merged model (--checkpoint)" in said(capsys, ["--video", "a.mp4", "--llava", "b"])
    gone = [*arguments(places), "--video", str(tmp_path / "gone.mp4")]
    assert "gone.mp4" in said(capsys, gone)
    assert "--num_frames: expected at least 1" in said(capsys, arguments(places, "--num_frames", "0"))
    assert "is not empty" in said(capsys, arguments(places, "--output_dir", str(places)))
    unmerged = said(capsys, arguments(places, *ask, model=["--checkpoint", str(places / "llava")]))
    assert "LlavaForConditionalGeneration has no branch for videos" in unmerged
    assert "--branch" in said(capsys, arguments(places, model=["--llava", "nowhere", "--branch", str(places)]))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert f"--video {broken}: " in said(capsys, [*arguments(places, *ask), "--video", str(broken)])
    tiny_model(stan_num_layers=1).save_pretrained(tmp_path / "late")
    late = said(
        capsys, arguments(places, model=["--llava", str(places / "llava"), "--branch", str(tmp_path / "late")])
    )
    assert "reads layer 3" in late
    shutil.copytree(places / "llava", tmp_path / "silent")
    (tmp_path / "silent" / "chat_template.jinja").unlink()
    silent = ["--llava", str(tmp_path / "silent"), "--branch", str(places / "run")]
    assert "no chat template" in said(capsys, arguments(places, *ask, model=silent))
