# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Ask about a video: a LLaVA answers, into whose vision tower the branch of a Mug-STAN was merged. Nothing is trained.

Run:     python train_scripts/chat.py --llava llava-hf/llava-1.5-7b-hf --branch published/mug-stan-l14 --video clip.mp4 \
             --question "What happens?" --question "And then?" --output_dir published/llava-video
         python train_scripts/chat.py --checkpoint published/llava-video --video clip.mp4

Several questions are one conversation; without any they are asked for. `--branch` is a checkpoint of Mug-STAN beside the CLIP
that the LLaVA has, ViT-L/14 for LLaVA-1.5, or the folder of a run. `--output_dir` keeps the merged model, which
`--checkpoint` takes from then on.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from clipbert.modeling_mug_stan import MugSTANLlavaForConditionalGeneration, MugSTANModel, merge_into_llava
from clipbert.processing import VideoDecodeError, decode_video, sample_clips
from clipbert.support.files import whole_folder
from clipbert.support.terminal import printable, printable_lines
from clipbert.train_scripts.tasks.retrieval.trained import find_checkpoint


class VideoChat:
    """
    A conversation about a video.

    Args:
        model ([`MugSTANLlavaForConditionalGeneration`]): A LLaVA with a branch.
        processor ([`~transformers.LlavaProcessor`]): The LLaVA's, with a chat template.
        video (`str`): A file or an address.
        num_frames (`int`): Frames that are seen, evenly spaced.
        max_new_tokens (`int`): Longest answer.

    Raises:
        ValueError: If the processor has no chat template.
        VideoDecodeError: If the video cannot be read.
    """

    def __init__(self, model: Any, processor: Any, video: str, num_frames: int = 12, max_new_tokens: int = 200):
        if processor.chat_template is None:
            raise ValueError(
                "the processor has no chat template, which says how questions are put: set processor.chat_template to that of "
                "its LLaVA, and save it again."
            )
        self.model, self.processor, self.max_new_tokens = model.eval(), processor, max_new_tokens

        def choose_frames(metadata):
            return sample_clips(metadata.total_num_frames, num_frames=num_frames).frame_indices[0]

        seen = decode_video(video, choose_frames)
        places = choose_frames(seen.metadata)  # some of them twice, if the video has fewer
        seconds = dict(zip(seen.metadata.frames_indices, seen.metadata.frames_seconds, strict=True))
        self.frames, self.seconds = seen.take(places), [seconds[place] for place in places]
        pixels = processor.image_processor(images=list(self.frames), return_tensors="pt")["pixel_values"][None]
        with torch.inference_mode():  # once, whatever is asked
            features = model.get_image_features(pixels.to(model.device, model.dtype))
        self.shown, self.messages = features.pooler_output, []

    @torch.inference_mode()
    def ask(self, question: str) -> str:
        """The answer to a question, which may refer to those before."""
        content: list[dict[str, str]] = [{"type": "text", "text": question}]
        if not self.messages:
            content = [{"type": "image"}, *content]
        messages = [*self.messages, {"role": "user", "content": content}]
        prompt = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        # a video has the places of one image
        words = self.processor(images=[self.frames[0]], text=prompt, return_tensors="pt").to(self.model.device)
        embeds = self.model.embed(words["input_ids"], shown=self.shown)
        tokens = self.model.generate(
            inputs_embeds=embeds, attention_mask=words["attention_mask"], max_new_tokens=self.max_new_tokens
        )
        answer = self.processor.decode(tokens[0], skip_special_tokens=True).strip()
        self.messages = [*messages, {"role": "assistant", "content": [{"type": "text", "text": answer}]}]
        return answer


def load_merged(name: str) -> tuple[Any, Any]:
    """A merged model and its processor."""
    model = AutoModelForImageTextToText.from_pretrained(name, dtype="auto")
    if not isinstance(model, MugSTANLlavaForConditionalGeneration):
        raise ValueError(
            f"{type(model).__name__} has no branch for videos: name it as --llava, and a Mug-STAN as --branch."
        )
    return model, AutoProcessor.from_pretrained(name)


def merge(llava: str, branch: str, video_pooling: str) -> tuple[Any, Any]:
    """A LLaVA with the branch of a Mug-STAN, and the LLaVA's processor."""
    mug_stan = MugSTANModel.from_pretrained(find_checkpoint(branch, "--branch"))
    model = LlavaForConditionalGeneration.from_pretrained(llava, dtype="auto")
    return merge_into_llava(model, mug_stan, video_pooling), AutoProcessor.from_pretrained(llava)


def asked_questions() -> Iterator[str]:
    """Questions typed at a prompt, until an empty one."""
    while sys.stdin.isatty() and (question := input("\nquestion (empty: stop): ").strip()):
        yield question


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a merged model: a folder, or a name on the Hub")
    parser.add_argument("--llava", help="in its place a LLaVA to merge into: a folder, or a name on the Hub")
    parser.add_argument(
        "--branch", help="with --llava: a Mug-STAN beside the same CLIP, as a run, a checkpoint or a name"
    )
    parser.add_argument(
        "--video_pooling", choices=("sum", "average"), default="sum", help="with --llava: how CLIP and branch meet"
    )
    parser.add_argument("--output_dir", type=Path, help="with --llava: an empty folder for the merged model")
    parser.add_argument("--video", required=True, help="a file, or an address")
    parser.add_argument("--question", action="append", default=[], help="what to ask; as often as you like")
    parser.add_argument("--num_frames", type=int, default=12, metavar="N", help="frames that are seen (default: 12)")
    parser.add_argument("--max_new_tokens", type=int, default=200, metavar="N", help="longest answer (default: 200)")
    given = parser.parse_args(arguments)
    if (given.checkpoint is None) != (given.llava is not None and given.branch is not None):
        parser.error("name a merged model (--checkpoint), or what is to be merged (--llava and --branch)")
    if given.checkpoint is not None and (given.llava or given.branch or given.output_dir):
        parser.error("--llava, --branch and --output_dir merge a model; --checkpoint names one that is merged")
    if given.output_dir is not None and given.output_dir.exists() and any(given.output_dir.iterdir()):
        parser.error(f"--output_dir: {given.output_dir} is not empty")
    if "://" not in given.video and not Path(given.video).is_file():  # before gigabytes are read
        parser.error(f"--video: there is no file {given.video}")
    for name in ("num_frames", "max_new_tokens"):
        if getattr(given, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(given, name)}")
    return given


def main(arguments: Sequence[str] | None = None) -> list[str]:
    given = parse_arguments(arguments)
    disable_progress_bar()
    try:
        if given.checkpoint is not None:
            model, processor = load_merged(given.checkpoint)
        else:
            model, processor = merge(given.llava, given.branch, given.video_pooling)
    except (OSError, ValueError) as error:
        names = (
            f"--checkpoint {given.checkpoint}"
            if given.checkpoint
            else f"--llava {given.llava} --branch {given.branch}"
        )
        raise SystemExit(printable(f"{names}: {str(error).splitlines()[0]}")) from error
    if given.output_dir is not None:
        with whole_folder(given.output_dir) as folder:
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
        print(f"{printable(str(given.output_dir))} holds the merged model.")
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    try:
        chat = VideoChat(model.to(device), processor, given.video, given.num_frames, given.max_new_tokens)
    except (OSError, ValueError, VideoDecodeError) as error:
        raise SystemExit(printable(f"--video {given.video}: {error}")) from error
    seconds = ", ".join(f"{second:.1f}" for second in chat.seconds)
    print(f"{printable(given.video)}: {len(chat.frames)} frames, at {seconds} s")
    answers = []
    for question in given.question or asked_questions():
        answers.append(chat.ask(question))
        print(f"\n{printable(question)}\n    {printable_lines(answers[-1])}", flush=True)
    return answers


if __name__ == "__main__":
    main()
