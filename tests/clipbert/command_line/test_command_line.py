# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""The command `clipbert`: every command on tiny models, on folders with names and files of every kind."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from numbered_videos import write_numbered
from tiny_pipelines import CASES

from clipbert import load_pipeline
from clipbert.command_line import COMMANDS, main
from clipbert.command_line.output import Output


ROOT = Path(__file__).parents[3]
TEXTS = ["a dog runs", "the cat"]
CHECKPOINTS = {  # by what is asked of them, and the case of each
    "match": "retrieval",
    "open": "open_answers",
    "choose": "choices",
    "count": "counts",
    "classify": "classes",
    "locate": "moments",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder with a checkpoint of each kind, by what it answers."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, case in CHECKPOINTS.items():
        for part in CASES[case].build():
            part.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos with names of every kind, two of them broken."""
    folder = tmp_path_factory.mktemp("my videos")
    (folder / "deep").mkdir()
    names = ["a dog.mp4", 'deep/it\'s "é" [1].MP4', os.fsdecode(b"deep/no utf-8 \xff.mp4"), "\x1b[31mred\n.mp4"]
    whole = write_numbered(folder / names[0], 12).read_bytes()
    for name in names[1:]:
        (folder / name).write_bytes(whole)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "empty.mp4").touch()
    (folder / "notes.txt").write_text("no video")
    return folder


def asking(checkpoints, command):
    """The words of a command behind its videos, and what its pipeline is asked."""
    return {
        "match": ("--texts", *TEXTS, "--checkpoint", checkpoints / "match"),
        "ask": ("--question", *TEXTS, "--checkpoint", checkpoints / "open"),
        "classify": ("--checkpoint", checkpoints / "classify"),
        "locate": ("--query", *TEXTS, "--checkpoint", checkpoints / "locate"),
    }[command]


# What commands answer


@pytest.mark.parametrize("command", ["match", "ask", "classify", "locate"])
def test_a_folder_is_answered_as_the_pipeline_answers_and_what_is_broken_is_named(
    clipbert, checkpoints, folder, command
):
    words = asking(checkpoints, command)
    code, rows, errors = clipbert(command, folder, *words, "--top_k", "2", "--device", "cpu")
    assert code == 1
    failures = [line for line in errors.splitlines() if "Cannot decode" in line]
    assert len(failures) == 2 and "broken.mp4: " in failures[0] and "empty.mp4: the file is empty" in failures[1]
    each = {"ask": "question", "locate": "query"}.get(command)
    good = sorted(str(path) for path in folder.rglob("*.[mM][pP]4") if path.name not in ("broken.mp4", "empty.mp4"))
    assert [row["video"] for row in rows] == [video for video in good for _ in (TEXTS if each else [0])]

    pipe = load_pipeline(words[-1], device="cpu", top_k=2)
    asked = {"match": {"candidate_texts": TEXTS}, "ask": {"question": TEXTS}, "locate": {"query": TEXTS}}
    expected = pipe(good[0], **asked.get(command, {}))
    assert [row["answers"] for row in rows[: len(TEXTS) if each else 1]] == (expected if each else [expected])
    if each:
        assert [row[each] for row in rows[:2]] == TEXTS
    if command != "locate":
        assert rows[0]["answers"][0]["clips"]
        code, short, _ = clipbert(command, good[0], *words, "--no_clips", "--device", "cpu")
        assert code == 0 and "clips" not in short[0]["answers"][0]


def test_questions_with_options_and_counts(clipbert, checkpoints, folder, on_terminal):
    question = ("ask", folder / "a dog.mp4", "--question", "the dog", "a cat")
    code, rows, _ = clipbert(*question, "--options", "runs", "jumps", "--checkpoint", checkpoints / "choose")
    assert code == 0 and [row["question"] for row in rows] == ["the dog", "a cat"]
    assert {answer["answer"] for answer in rows[0]["answers"]} == {"runs", "jumps"}
    code, rows, _ = clipbert(*question, "--checkpoint", checkpoints / "count")
    assert code == 0 and isinstance(rows[1]["answers"][0]["answer"], int)
    code, lines = on_terminal(*question, "--checkpoint", checkpoints / "count")
    assert lines[2].split()[:2] == [f"{rows[0]['answers'][0]['value']:.2f}", str(rows[0]["answers"][0]["answer"])]


def test_a_folder_is_searched(clipbert, checkpoints, folder, on_terminal):
    words = ("search", folder, "a dog", "the cat", "--checkpoint", checkpoints / "match", "--top_k", "3")
    code, rows, errors = clipbert(*words, "--batch_size", "2", "--num_workers", "1")
    assert code == 1 and "broken.mp4" in errors and "empty.mp4" in errors
    assert [(row["query"], row["rank"]) for row in rows] == [(q, r) for q in ("a dog", "the cat") for r in (1, 2, 3)]
    pipe = load_pipeline(checkpoints / "match")
    for row in rows:
        assert row["score"] == pytest.approx(pipe(row["video"], candidate_texts=[row["query"]])[0]["score"], abs=1e-5)
    assert rows[0]["score"] >= rows[1]["score"] >= rows[2]["score"] and rows[0]["clips"]
    code, lines = on_terminal(*words, columns=40)
    assert code == 1 and lines[:2] == ["log-odds, video, best clip", "a dog"] and "…" in lines[2]
    assert len(lines) == 9 and max(map(len, lines)) <= 40


def test_a_part_of_videos_and_options_of_the_processor(clipbert, checkpoints, folder):
    words = ("match", folder / "a dog.mp4", *asking(checkpoints, "match"))
    _, (whole,), _ = clipbert(*words, "--num_clips", "3", "--set", "num_frames=1", "fps=5")
    assert len(whole["answers"][0]["clips"]) == 3
    _, (part,), _ = clipbert(*words, "--start_s", "0.2", "--end_s", "0.4")
    assert all(0.1 < clip["start_s"] <= clip["end_s"] < 0.5 for clip in part["answers"][0]["clips"])


def test_a_table_fits_the_terminal(checkpoints, folder, on_terminal):
    code, lines = on_terminal("match", folder, *asking(checkpoints, "match"), columns=44)
    assert code == 1 and lines[0] == "log-odds, text, best clip"
    assert max(map(len, lines)) <= 44
    shown = "\n".join(lines)
    assert "\\x1b[31mred\\n.mp4" in shown and "no utf-8 \\udcff.mp4" in shown and "\x1b" not in shown
    assert lines[2].split()[1:4] in (["a", "dog", "runs"], ["the", "cat", "0.0"])


def test_scores_that_json_cannot_hold_are_a_failure(capsys):
    with Output(is_json=True) as output:
        output.write_json({"video": "a.mp4", "answers": [{"score": float("nan")}]})
        output.write_json({"video": "b.mp4", "answers": []})
    answers, errors = capsys.readouterr()
    assert answers == '{"video": "b.mp4", "answers": []}\n' and "a.mp4" in errors and output.exit_code == 1


# Inputs


def test_globs_stdin_and_several_places(clipbert, checkpoints, folder, monkeypatch):
    words = ("--checkpoint", checkpoints / "classify", "--no_clips", "--top_k", "1")

    def answered(*places):
        code, rows, _ = clipbert("classify", *places, *words)
        return code, [row["video"] for row in rows]

    brackets, bytes_name = folder / 'deep/it\'s "é" [1].MP4', os.fsdecode(b"deep/no utf-8 \xff.mp4")
    assert answered(brackets) == (0, [str(brackets)])
    assert answered(f"{folder}/**/*1[]].MP4", folder / "deep")[1] == [
        str(brackets),
        str(brackets),
        str(folder / bytes_name),
    ]
    lines = os.fsencode(f"{folder}/a dog.mp4\n\n{folder}/nowhere.mp4\n{folder}/{bytes_name}\n{folder}/deep")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    expected = [f"{folder}/a dog.mp4", f"{folder}/{bytes_name}", str(brackets), f"{folder}/{bytes_name}"]
    assert answered("-") == (1, expected)
    monkeypatch.chdir(folder)
    assert answered("./a dog.mp4", "no*.mp4") == (1, ["./a dog.mp4"])


def test_the_first_answer_comes_before_the_last_video_is_read(checkpoints, folder, monkeypatch, capsys):
    read, write = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(read))
    with os.fdopen(write, "wb", buffering=0) as lines:
        line = os.fsencode(f"{folder}/a dog.mp4\n")
        lines.write(line)
        words = ("classify", "-", "--checkpoint", checkpoints / "classify", "--no_clips")
        command = threading.Thread(target=main, args=[list(map(str, words))])
        command.start()
        output, ends = "", time.monotonic() + 60
        while not output and time.monotonic() < ends:
            time.sleep(0.02)
            lines.write(line)  # there is always another one
            output += capsys.readouterr().out
        assert json.loads(output.splitlines()[0])["video"] == f"{folder}/a dog.mp4"
    command.join()


# Usage


def usage_errors(checkpoints, folder):
    video, match, choose = folder / "a dog.mp4", checkpoints / "match", checkpoints / "choose"
    texts = ("match", video, "--texts", "a dog")
    return {
        "Did you mean '--texts'?": ("match", video, "--text", "a dog", "--checkpoint", match),
        "required: --checkpoint": texts,
        "expected words": ("match", video, "--texts", " ", "--checkpoint", match),
        "at least 1, got '0'": (*texts, "--checkpoint", match, "--top_k", "0"),
        "neither a checkpoint": (*texts, "--checkpoint", folder),
        "nowhere/at/all: no such folder in": (*texts, "--checkpoint", "nowhere/at/all"),
        "answers 'video-question-answering'": (*texts, "--checkpoint", choose),
        "pass options=": ("ask", video, "--question", "who", "--checkpoint", choose),
        "did you mean num_clips": (*texts, "--checkpoint", match, "--set", "num_clip=3"),
        "got 'no.mp4'; videos stand before": (*texts, "--checkpoint", match, "--set", "num_frames=3", "no.mp4"),
        "not understood: b": ("search", video, "a", "--json", "b", "--checkpoint", match),
        "num_clips: it is said twice": (*texts, "--checkpoint", match, "--num_clips", "2", "--set", "num_clips=3"),
        "by itself": (*texts, "--checkpoint", match, "--set", "on_error=skip"),
        "--start_s and --end_s go together": (*texts, "--checkpoint", match, "--start_s", "1"),
        "--device quantum": (*texts, "--checkpoint", match, "--device", "quantum"),
        "there is no video in": ("classify", folder / "nowhere", "no*.mp4", "--checkpoint", match),
        "num_clips": (*texts, "--checkpoint", match, "--set", "num_clips=many"),
        "No video can be sampled": ("look", video, "--set", "num_frames=0"),
        "has no option 'num_frame'": ("look", video, "--set", "num_frame=4", "--checkpoint", match),
        "invalid choice": ("watch", video),
    }


def test_what_is_wrong_with_a_command_is_told_in_a_line(checkpoints, folder, capsys):
    for message, words in usage_errors(checkpoints, folder).items():
        code = main(list(map(str, words)))
        output, errors = capsys.readouterr()
        assert (code, output) == (2, ""), words
        assert message in errors.splitlines()[-1] and "Traceback" not in errors, (message, errors)


def test_help_and_usage_errors_load_nothing_heavy(checkpoints, folder):
    light = ("no such folder", "Did you mean", "required", "neither", "there is no video", "twice", "together")
    errors = [
        list(map(str, words))
        for message, words in usage_errors(checkpoints, folder).items()
        if any(part in message for part in light)
    ]
    assert len(errors) >= 7
    code = f"""
import sys
from clipbert.command_line import COMMANDS, main
assert main(["--help"]) == main(["--version"]) == 0
assert all(main([command, "--help"]) == 0 for command in COMMANDS)
assert [main(words) for words in {errors!r}] == [2] * {len(errors)}
heavy = {{"torch", "transformers", "av", "numpy", "datasets"}} & sys.modules.keys()
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: clipbert") == 1 + len(COMMANDS)


# Real processes


def start(*words, **options):
    command = [sys.executable, "-m", "clipbert", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, **options)


@pytest.mark.slow
def test_a_reader_that_has_enough_ends_it_quietly(checkpoints, folder):
    places = [folder / "a dog.mp4"] * 400
    process = start("classify", *places, "--checkpoint", checkpoints / "classify", stdout=subprocess.PIPE)
    json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(60) == 0


@pytest.mark.slow
def test_ctrl_c_ends_it_quietly(checkpoints, folder):
    places = [folder / "a dog.mp4"] * 4000
    words = ("classify", *places, "--checkpoint", checkpoints / "classify", "--num_workers", "2")
    process = start(*words, stdout=subprocess.PIPE)
    json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.stderr.read() == b"" and process.wait(60) == 130


@pytest.mark.slow
def test_a_terminal_has_a_table_and_a_bar(checkpoints, folder):
    leader, follower = pty.openpty()
    words = ("match", folder, *asking(checkpoints, "match"))
    process = start(*words, stdout=follower, env={**os.environ, "COLUMNS": "70"})
    os.close(follower)
    shown = b""
    while True:
        try:
            shown += os.read(leader, 1 << 16)
        except OSError:  # the other end is closed
            break
    errors = process.stderr.read().decode()
    assert process.wait(60) == 1 and len(errors.splitlines()) == 2  # no bar where stderr is none
    assert b"log-odds" in shown and b"a dog runs" in shown and b"{" not in shown


# What an answer rests on


@pytest.mark.parametrize(
    ("checkpoint", "words", "label"),
    [
        ("match", ("--text", "a dog runs"), "a dog runs"),
        ("choose", ("--question", "the dog", "--options", "a dog", "a cat", "--target", "a cat"), "a cat"),
        ("classify", (), None),
        ("locate", ("--query", "a man opens the door"), None),
    ],
)
def test_an_answer_is_explained(clipbert, on_terminal, checkpoints, folder, tmp_path, checkpoint, words, label):
    pytest.importorskip("matplotlib")
    words = ("explain", folder / "a dog.mp4", *words, "--checkpoint", checkpoints / checkpoint, "--steps", "2")
    code, (found,), _ = clipbert(*words, "--picture", tmp_path / "why.png")
    assert code == 0 and label in (None, found["label"]) and (tmp_path / "why.png").stat().st_size > 1000
    assert found["picture"] == str(tmp_path / "why.png") and found["frames"] and "places" in found["deletion"]
    code, lines = on_terminal(*words)
    assert code == 0 and found["label"] in lines[0] and any("the score falls" in line for line in lines)


def test_what_cannot_be_explained_is_said(clipbert, checkpoints, folder, tmp_path):
    video, words = folder / "a dog.mp4", ("--text", "a dog", "--checkpoint", checkpoints / "match")
    for expected, line in {
        "ends in .png or .svg": (video, *words, "--picture", tmp_path / "why.gif"),
        "a text is its own target": (video, *words, "--target", "a cat"),
        "--options are those of a --question": (video, *words, "--options", "a"),
        "not allowed with argument": (video, *words, "--question", "who?"),
        "--set candidate_texts: the command says that by itself": (video, *words, "--set", "candidate_texts=[a]"),
    }.items():
        code, rows, errors = clipbert("explain", *line)
        assert (code, rows) == (2, []) and expected in errors
    code, rows, errors = clipbert("explain", folder / "broken.mp4", *words)
    assert (code, rows) == (1, []) and "broken.mp4" in errors
