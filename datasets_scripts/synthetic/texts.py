# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What can be truthfully said and asked about a generated scene: captions, moments, questions, vocabulary."""

from collections.abc import Iterator

import numpy as np

from clipbert.datasets_scripts.synthetic.scenes import (
    BACKGROUNDS,
    COLORS,
    MOTIONS,
    NUMBER_WORDS,
    PLACES,
    SHAPES,
    Act,
    Preset,
    Scene,
    channels,
    plural,
)


SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"-()/&%$#+*=@_<>"


def captions(scene: Scene) -> list[str]:
    """The same facts in three wordings."""
    subject = scene.subject(scene.acts[0])
    acts = " and then ".join(act.predicate(scene.number) for act in scene.acts)
    if not scene.is_told:
        return [f"{subject} {acts}", f"there is {subject} that {acts}", f"the video shows {subject} that {acts}"]
    return [
        f"{subject} {acts} on a {scene.background} background",
        f"on a {scene.background} background, {subject} {acts}",
        f"there is a {scene.background} background and {subject} {acts}",
    ]


def search_phrases(scene: Scene) -> list[str]:
    """
    The scene as people search for it: whole, with parts left out, and in another form; each of them is true.

    All scenes have the same forms: two that share what a phrase tells share the phrase, and neither is a wrong video for it.
    """
    act = scene.acts[0]
    acts = " and then ".join(act.predicate(scene.number) for act in scene.acts)
    acting = " and then ".join(act.progressive for act in scene.acts)
    if not scene.is_told:
        return [f"{scene.subject(act)} {acts}", f"{scene.noun} {acting}", f"{scene.subject(act)} {acting}"]
    where = f"on a {scene.background} background"
    return [
        f"{scene.subject(act)} {acts} {where}",
        f"{scene.subject(act)} {acts}",
        f"{act.color} {scene.noun} {acting}",
        scene.subject(act),
        f"{act.color} {scene.noun}",
    ]


def moments(scene: Scene, fps: float) -> Iterator[dict]:
    """One sentence per act, with the seconds it lasts."""
    for act in scene.acts:
        yield {
            "caption": f"{scene.subject(act)} {act.predicate(scene.number)}",
            "start_s": round(act.first_frame / fps, 3),
            "end_s": round(act.end_frame / fps, 3),
        }


def questions(scene: Scene, preset: Preset, rng: np.random.Generator) -> list[dict]:
    """Questions of the TGIF-QA kinds (action, transition, frameqa, count) and of the MSRVTT-QA kind (open_qa)."""
    return [
        *repetition_questions(scene, preset, rng),
        *transition_questions(scene, preset, rng),
        *frame_questions(scene),
        *open_questions(scene),
    ]


def question(task: str, text: str, answer: str, answer_type: str, **extra) -> dict:
    return {"task": task, "question": text, "answer": answer, "answer_type": answer_type, **extra}


def does(scene: Scene) -> str:
    return "does" if scene.number == 1 else "do"


def be(scene: Scene) -> str:
    return "is" if scene.number == 1 else "are"


def answer_options(scene: Scene, right: Act, preset: Preset, rng: np.random.Generator) -> list[str]:
    """The right act among four that do not happen in the video, in random order."""
    happening = {act.infinitive for act in scene.acts}
    phrases = [Act(kind, "").infinitive for kind in MOTIONS if kind != "turn"]
    phrases += [Act("turn", "", new_color=color).infinitive for color in preset.colors]
    wrong = [phrase for phrase in phrases if phrase not in happening]
    options = [right.infinitive, *(wrong[index] for index in rng.permutation(len(wrong))[:4])]
    return [options[index] for index in rng.permutation(5)]


def repetition_questions(scene: Scene, preset: Preset, rng: np.random.Generator) -> Iterator[dict]:
    for act in scene.acts:
        if act.times > 1:
            times = NUMBER_WORDS[act.times]
            yield question(
                "action",
                f"what {does(scene)} the {scene.noun} do {times} times?",
                act.infinitive,
                "action",
                options=answer_options(scene, act, preset, rng),
            )
            text = f"how many times {does(scene)} the {scene.noun} {act.infinitive}?"
            yield question("count", text, str(act.times), "count")


def transition_questions(scene: Scene, preset: Preset, rng: np.random.Generator) -> Iterator[dict]:
    if len(scene.acts) == 2:
        first, second = scene.acts
        for known, order, asked in ((first, "after", second), (second, "before", first)):
            yield question(
                "transition",
                f"what {does(scene)} the {scene.noun} do {order} {known.gerund}?",
                asked.infinitive,
                "transition",
                options=answer_options(scene, asked, preset, rng),
            )


def frame_questions(scene: Scene) -> Iterator[dict]:
    """What any one frame shows."""
    keeps_color = all(act.kind != "turn" for act in scene.acts)
    color = scene.acts[0].color
    if keeps_color:
        yield question("frameqa", f"what color {be(scene)} the {scene.noun}?", color, "color")
        yield question(
            "frameqa", f"what {be(scene)} the {color} {plural('object', scene.number)}?", scene.shape, "object"
        )
    yield question("frameqa", "what color is the background?", scene.background, "color")
    yield question("frameqa", f"how many {plural(scene.shape, 2)} are there?", NUMBER_WORDS[scene.number], "number")
    if scene.place:
        yield question("frameqa", f"where is the {scene.noun}?", scene.place, "location")


def open_questions(scene: Scene) -> Iterator[dict]:
    """Answers of one word, as in MSRVTT-QA; the first word of the question is the answer type."""
    kinds = tuple(act.kind for act in scene.acts)
    for act in scene.acts:
        verb = MOTIONS[act.kind].verb
        yield question("open_qa", f"who is {act.gerund}?", scene.shape, "who")
        if act.kind == "turn":
            text = f"what color {does(scene)} the {act.color} {scene.noun} turn?"
            yield question("open_qa", text, act.new_color, "what")
        elif len(scene.acts) == 1:
            yield question("open_qa", f"what {does(scene)} the {act.color} {scene.noun} do?", verb, "what")
        if act.times > 1:
            text = f"how many times {does(scene)} the {scene.noun} {act.infinitive}?"
            yield question("open_qa", text, NUMBER_WORDS[act.times], "how")
    if len(scene.acts) == 2:
        for act, moment in zip(scene.acts, ("start", "end"), strict=True):
            yield question("open_qa", f"when {does(scene)} the {scene.noun} {act.infinitive}?", moment, "when")
    yield question("open_qa", f"how many {plural(scene.shape, 2)} are there?", NUMBER_WORDS[scene.number], "how")
    if destination := last_side(kinds):
        yield question("open_qa", f"where {does(scene)} the {scene.noun} stop?", destination, "where")
    elif scene.place:
        yield question("open_qa", f"where is the {scene.noun}?", scene.place, "where")


def last_side(kinds: tuple[str, ...]) -> str:
    """The side of the picture where shapes that travel along one axis only come to rest."""
    travels = [kind for kind in kinds if kind in ("right", "left", "up", "down")]
    if not travels or len(channels(kinds) & {"x", "y"}) > 1:
        return ""
    return {"up": "top", "down": "bottom"}.get(travels[-1], travels[-1])


def vocabulary_words() -> list[str]:
    """Every word the sentences above are made of, and a few that people type."""
    words = {*SHAPES, *COLORS, *BACKGROUNDS, *PLACES, *NUMBER_WORDS, "small", "large", "start", "end"}
    words |= {plural(shape, 2) for shape in SHAPES}
    for motion in MOTIONS.values():
        words |= {motion.verb, f"{motion.verb}s", motion.gerund, *motion.rest.split()}
    words |= {
        "a",
        "an",
        "the",
        "and",
        "then",
        "on",
        "in",
        "to",
        "of",
        "from",
        "with",
        "there",
        "is",
        "are",
        "that",
        "it",
    }
    words |= {"what", "who", "how", "where", "when", "many", "does", "do", "after", "before", "times", "stop", "color"}
    words |= {"background", "object", "objects", "video", "shows", "shape", "size", "number", "big"}
    return sorted(words)


def vocabulary() -> list[str]:
    """A WordPiece vocabulary of all words in use; other typed words fall into letters, not into `[UNK]`."""
    pieces = [*SPECIAL_TOKENS, *CHARACTERS, *(f"##{character}" for character in CHARACTERS if character.isalnum())]
    return [*pieces, *(word for word in vocabulary_words() if word not in pieces)]
