# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the heads do, and what they refuse."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from tiny_mug_stan import END, tiny_clip, tiny_config, tiny_model, tiny_texts, tiny_videos

from clipbert.modeling_mug_stan import (
    MugSTANConfig,
    MugSTANForActionDetection,
    MugSTANForVideoClassification,
    MugSTANModel,
)
from clipbert.modeling_mug_stan.guidance_mug_stan import contrastive_loss
from clipbert.train_scripts.tasks.scoring import VideoBlock, score_blocks


# ----------------------------------------------------------------------------------------------------------------------
# Retrieval
# ----------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("similarity", ["mug", "mug_exact", "frame_text", "video_token", "top_k", "wti", "mean_pool"])
def test_the_contract_of_matching_gives_what_all_pairs_give(similarity):
    model, videos, (input_ids, mask) = tiny_model(similarity=similarity), tiny_videos(2, 3, 4), tiny_texts([4, 9, 6])
    texts, encoded = model.encode_texts(input_ids, mask), model.encode_videos(videos)
    assert encoded.shape == (2, 3, 4, 12)
    table = model.similarity(texts, encoded)
    assert torch.equal(table, model.similarity(model.encode_text(input_ids, mask), model.encode_video(videos)))
    own = torch.tensor([1, 0, 1])
    found = model.match(texts, encoded, own)
    torch.testing.assert_close(found.match_odds / 100, table[torch.arange(3), own], rtol=0, atol=1e-5)
    assert found.clip_odds.shape == (3, 3)
    block = score_blocks(model, VideoBlock([0, 1], encoded, None), [texts])  # as search and evaluation ask
    torch.testing.assert_close(block[:, :, 0, 0].T / 100, table, rtol=0, atol=1e-5)


def test_texts_with_a_video_of_their_own():
    model, videos, (input_ids, mask) = tiny_model(loss_scale=20.0), tiny_videos(2, 3), tiny_texts([4, 9, 6])
    own = torch.tensor([1, 0, 1])
    found = model(input_ids, videos, mask, video_indices=own)
    assert torch.equal(found.match_odds, found.logits_per_text[torch.arange(3), own])
    assert torch.equal(found.logits_per_video, found.logits_per_text.T)
    same = own[:, None] == own
    assert found.loss.item() == pytest.approx(contrastive_loss(found.logits_per_text[:, own], same).item())
    model.config.count_duplicates = True
    counted = model(input_ids, videos, mask, video_indices=own).loss
    assert counted.item() == pytest.approx(contrastive_loss(found.logits_per_text[:, own]).item())
    search = model(input_ids, videos, mask)  # three texts, two videos: scores alone
    assert search.loss is None and search.match_odds is None and search.logits_per_text.shape == (3, 2)
    assert model(input_ids[:2], videos, mask[:2], return_loss=False).loss is None


def test_the_same_words_are_no_negatives_whatever_pads_them():
    model, videos, (input_ids, mask) = tiny_model(loss_scale=20.0), tiny_videos(3, 2), tiny_texts([5, 5, 7])
    input_ids[1, :5] = input_ids[0, :5]
    input_ids[1, 5:] = END
    found = model(input_ids, videos, mask)
    same = torch.eye(3, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    assert found.loss.item() == pytest.approx(contrastive_loss(found.logits_per_text, same).item())


@torch.no_grad()
def test_an_explanation_adds_up_to_the_score():
    model = tiny_model(similarity="mug_exact", head_scale=10.0)
    videos, texts = model.encode_video(tiny_videos(2, 2, 5)), model.encode_text(*tiny_texts([4, 9]))
    found = model.explain(texts, videos)
    assert found.similarity.shape == (2, 2, 9, 5)
    score = torch.einsum("abj,abji,abi->ab", found.word_weights, found.similarity, found.frame_weights)
    torch.testing.assert_close(score.mean(dim=1), model.similarity(texts, videos).diagonal())
    torch.testing.assert_close((found.text_guided_video * found.video_guided_text).sum(-1), score)
    torch.testing.assert_close(found.frame_weights.sum(-1), torch.ones(2, 2))
    assert not found.word_weights[0, :, 4:].any()
    with pytest.raises(ValueError, match="video_indices"):
        model.explain(model.encode_text(*tiny_texts([4, 9, 5])), videos)


# ----------------------------------------------------------------------------------------------------------------------
# Classes
# ----------------------------------------------------------------------------------------------------------------------


class Words:
    """A tokenizer that makes a token of every letter."""

    def __call__(self, names, **_):
        tokens = [[97, *(5 + ord(letter) % 80 for letter in name), END] for name in names]
        length = max(map(len, tokens))
        return {
            "input_ids": torch.tensor([row + [1] * (length - len(row)) for row in tokens]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in tokens]),
        }


@torch.no_grad()
@pytest.mark.parametrize("similarity", ["mug", "mug_exact", "mean_pool", "wti"])
def test_classes_are_scored_as_texts(similarity, tmp_path):
    model, videos = tiny_model(MugSTANForVideoClassification, similarity=similarity), tiny_videos(2, 3, 4)
    model.train()
    model.set_classes(["run", "jump", "fall over"], Words())
    assert model.training and model.mug_stan.branches.training  # the official code leaves evaluation mode behind
    model.eval()
    tokens = Words()(["run", "jump", "fall over"])
    texts = model.encode_text(**tokens)
    found = model(videos, labels=torch.tensor([2, 0]))
    expected = 100 * model.similarity(texts, model.encode_video(videos)).T
    torch.testing.assert_close(found.logits, expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.view_logits.mean(dim=1), found.logits, rtol=0, atol=1e-4)
    assert found.loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(expected, torch.tensor([2, 0])).item(), rel=1e-4
    )
    model.save_pretrained(tmp_path)
    loaded = MugSTANForVideoClassification.from_pretrained(tmp_path)
    assert loaded.config.id2label == {0: "run", 1: "jump", 2: "fall over"} and loaded.config.label2id["jump"] == 1
    assert torch.equal(loaded(videos).logits, found.logits)
    loaded.set_classes(["sit", "stand"], Words())  # others, without training
    assert loaded(videos).logits.shape == (2, 2) and loaded.config.num_labels == 2
    loaded.save_pretrained(tmp_path / "again")
    again = MugSTANForVideoClassification.from_pretrained(tmp_path / "again")
    assert torch.equal(again(videos).logits, loaded(videos).logits)


def test_the_text_tower_of_a_classifier_is_frozen():
    model = tiny_model(MugSTANForVideoClassification).train()
    model.set_classes(["run", "jump"], Words())
    model(tiny_videos(2, 3), labels=torch.tensor([0, 1])).loss.backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any(".text" in name for name in with_gradient) and any(".branches." in name for name in with_gradient)
    assert not model.mug_stan.clip.text_model.training


@pytest.mark.parametrize("similarity", ["mug_exact", "mean_pool"])
def test_texts_that_are_kept_are_those_encoded_in_each_step(similarity):
    """The same scores and, of what is trained, the same gradients; the text tower itself gets some where it is trained."""
    videos, labels = tiny_videos(2, 3), torch.tensor([1, 0])
    kept = tiny_model(MugSTANForVideoClassification, similarity=similarity, drop_path_rate=0.0).train()
    kept.set_classes(["run", "jump up"], Words())
    anew = tiny_model(
        MugSTANForVideoClassification, similarity=similarity, drop_path_rate=0.0, freeze_text=False
    ).train()
    anew.set_classes(["run", "jump up"], Words())
    assert kept.class_tokens.any() and not anew.class_tokens.any()
    found, expected = kept(videos, labels=labels), anew(videos, labels=labels)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-4)
    found.loss.backward()
    expected.loss.backward()
    gradients = {name: parameter.grad for name, parameter in anew.named_parameters() if parameter.grad is not None}
    assert any("text_model" in name for name in gradients)
    for name, parameter in kept.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-6)
    anew.set_frozen(["text"])
    torch.testing.assert_close(anew.class_tokens, kept.class_tokens, rtol=0, atol=1e-6)
    anew.set_frozen([])
    assert not anew.class_tokens.any()


@torch.no_grad()
def test_the_words_of_a_name_within_a_text():
    model = tiny_model(MugSTANForVideoClassification)
    model.set_classes(["brush_hair", "TaiChi"], Words(), template="a {}!")
    tokens = Words()(["a brush hair!", "a Tai Chi!"])
    assert model.class_input_ids.equal(tokens["input_ids"]) and model.config.id2label[1] == "TaiChi"
    model.set_classes(["run"], Words())  # the template stays
    assert model.class_input_ids.equal(Words()(["a run!"])["input_ids"])
    with pytest.raises(ValueError, match="class_template needs {}"):
        model.set_classes(["run"], Words(), template="a video")
    assert model.config.class_template == "a {}!"


@torch.no_grad()
def test_a_model_for_retrieval_classifies_by_names(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    model, info = MugSTANForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    with pytest.raises(ValueError, match="call set_classes"):
        model(tiny_videos(1, 2))
    model.set_classes(["run", "jump", "sit"], Words())
    assert model(tiny_videos(1, 2)).logits.shape == (1, 3)


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "got none"), (["run", " "], "number 1 is"), (["run", "jump", "run"], "there twice is run")],
)
def test_classes_that_are_none(names, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(MugSTANForVideoClassification).set_classes(names, Words())


def test_labels_of_classes():
    model = tiny_model(MugSTANForVideoClassification)
    model.set_classes(["run", "jump"], Words())
    for labels, message in (
        (torch.tensor([0, 2]), r"\[0, 2\)"),
        (torch.tensor([0]), r"shape \(2,\)"),
        ([0, 1], "list"),
    ):
        with pytest.raises(ValueError, match=message):
            model(tiny_videos(2, 2), labels=labels)
    left_out = model(tiny_videos(2, 2), labels=torch.tensor([0, -100])).loss
    assert left_out.item() == pytest.approx(
        model(tiny_videos(2, 2)[:1], labels=torch.tensor([0])).loss.item(), rel=1e-4
    )


# ----------------------------------------------------------------------------------------------------------------------
# Actions in boxes
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", ["clip", "siglip"])
def test_boxes_read_their_part_of_their_video(clip):
    model = tiny_model(MugSTANForActionDetection, clip=clip, num_labels=4)
    videos = tiny_videos(2, 3)
    boxes = torch.tensor([[0.0, 0.0, 24.0, 24.0], [2.0, 3.0, 9.0, 20.0], [0.0, 0.0, 24.0, 24.0]])
    own = torch.tensor([0, 1, 1])
    logits = model(videos, boxes, own).logits
    assert logits.shape == (3, 4) and not torch.allclose(logits[0], logits[2])
    alone = model(videos[1:], boxes[1:2], torch.tensor([0])).logits
    torch.testing.assert_close(alone, logits[1:2], rtol=0, atol=1e-5)
    assert torch.equal(model(videos[:, None], boxes, own).logits, logits)
    labels = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    loss = model.train()(videos, boxes, own, labels).loss
    assert model.eval()(videos, boxes, own, labels).loss.item() == pytest.approx(expected.item())
    loss.backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0.0, 0.0, 25.0, 5.0]], r"24x24 picture; box 0 is \[0.0, 0.0, 25.0, 5.0\]"),
        ([[0.0, 0.0, 5.0, 5.0], [-1.0, 0.0, 5.0, 5.0]], "box 1 is"),
        ([[5.0, 0.0, 5.0, 5.0]], "x1 < x2"),
        ([[float("nan"), 0.0, 5.0, 5.0]], "nan"),
        ([], r"one box at least"),
    ],
)
def test_boxes_that_are_none(boxes, message):
    model = tiny_model(MugSTANForActionDetection)
    with pytest.raises(ValueError, match=message):
        model(tiny_videos(1, 2), torch.tensor(boxes).reshape(-1, 4), torch.zeros(len(boxes), dtype=torch.int64))


def test_boxes_of_several_views_and_wrong_labels():
    model, boxes = tiny_model(MugSTANForActionDetection), torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    with pytest.raises(ValueError, match="one view"):
        model(tiny_videos(1, 2, 2), boxes)
    with pytest.raises(ValueError, match="video_indices"):
        model(tiny_videos(2, 2), boxes)
    with pytest.raises(ValueError, match="2.0"):
        model(tiny_videos(1, 2), boxes, labels=torch.full((1, 2), 2.0))


# ----------------------------------------------------------------------------------------------------------------------
# What is refused
# ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixel_values", "message"),
    [
        (torch.zeros(2, 3, 5, 24, 24), r"got \(2, 3, 5, 24, 24\).*frames come first"),
        (torch.zeros(2, 0, 3, 24, 24), r"none of them empty; got \(2, 0, 3, 24, 24\)"),
        (torch.zeros(2, 2, 3, 32, 32), "32x32 pixels"),
        (torch.zeros(2, 2, 3, 24, 24, dtype=torch.uint8), "torch.uint8"),
        (torch.zeros(2, 24, 24), r"\(2, 24, 24\)"),
        (torch.full((2, 2, 3, 24, 24), float("nan")), "NaN or infinity"),
        ([1], "list"),
    ],
    ids=["colours first", "no frames", "size", "bytes", "dimensions", "NaN", "list"],
)
def test_videos_that_are_none(pixel_values, message):
    with pytest.raises(ValueError, match=message):
        tiny_model().encode_video(pixel_values)


@pytest.mark.parametrize(
    ("input_ids", "mask", "message"),
    [
        (torch.tensor([[97, 5, 98]]), torch.tensor([[0, 0, 0]]), "all 0 for 0"),
        (torch.tensor([[97, 5, 98]]), torch.tensor([[1, 2, 0]]), "got 2"),
        (torch.tensor([[97, 5, 98]]), torch.tensor([[1, 1]]), r"got \(1, 2\)"),
        (torch.tensor([[97, 200, 98]]), None, r"\[0, 99\).*got 200"),
        (torch.tensor([97, 5, 98]), None, r"shape \(texts, length\)"),
        (torch.zeros(1, 0, dtype=torch.int64), None, r"none of them 0"),
        (torch.full((1, 21), 5), None, "21 tokens.*20"),
        (torch.tensor([[0.5]]), None, "torch.float32"),
    ],
    ids=["empty", "mask", "shape", "vocabulary", "dimensions", "no words", "long", "floats"],
)
def test_texts_that_are_none(input_ids, mask, message):
    with pytest.raises(ValueError, match=message):
        tiny_model().encode_text(input_ids, mask)


def test_owners_that_are_none():
    model, videos, (input_ids, mask) = tiny_model(), tiny_videos(2, 2), tiny_texts([4, 5, 6])
    for own, message in ((torch.tensor([0, 1, 2]), r"\[0, 2\)"), (torch.tensor([0, 1]), r"\(2,\).*3 texts")):
        with pytest.raises(ValueError, match=message):
            model(input_ids, videos, mask, video_indices=own)
    with pytest.raises(ValueError, match="3 for 2 videos"):
        model.match(model.encode_texts(input_ids, mask), model.encode_videos(videos))
    with pytest.raises(ValueError, match="neither"):
        MugSTANModel(tiny_config())()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stan_num_layers": 5}, r"\[0, 1, 2, 3, 4\].*layers 1 to 4"),
        ({"stan_layers": [[3, 5]]}, r"\[3, 5\].*layers 1 to 4"),
        ({"stan_layers": [[0]]}, r"layers 1 to 4"),
        ({"stan_layers": [[3, 1]]}, "in their order"),
        ({"stan_layer_interval": 4}, "layers 1 to 4"),
        ({"drop_path_rate": 1.5}, "drop_path_rate"),
        ({"head_scale": 0.0}, "head_scale"),
        ({"time_table_size": 0}, "time_table_size"),
        ({"similarity": "mugs"}, "similarity"),
        ({"num_labels": 0}, "num_labels"),
        ({"similarty": "mug"}, "Did you mean 'similarity'"),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, dict) else "",
)
def test_settings_that_are_refused(fields, message):
    with pytest.raises((ValueError, TypeError, StrictDataclassError), match=message):
        tiny_config(**fields)


def test_settings_that_conflict_with_the_tower():
    with pytest.raises(StrictDataclassError, match="fuse_patches=False"):
        tiny_config("siglip", fuse_patches=False)
    config = tiny_config()
    config.stan_num_layers = 9  # assigned later: seen when a model is made
    with pytest.raises((ValueError, StrictDataclassError), match="layers 1 to 4"):
        MugSTANModel(config)


def test_layers_read_by_default_and_on_request():
    clip = tiny_clip(num_layers=12)
    assert MugSTANConfig(clip_config=clip).layers_read == [[9, 10, 11, 12]]
    assert MugSTANConfig(clip_config=clip, stan_num_layers=0).layers_read == []
    assert MugSTANConfig(clip_config=clip, stan_last_layer=4).layers_read == [[1, 2, 3, 4]]
    assert (
        MugSTANConfig(clip_config=clip, stan_layer_interval=3, stan_num_branches=2).layers_read == [[3, 6, 9, 12]] * 2
    )
    assert MugSTANConfig(clip_config=clip, stan_layers=[[12, 12]]).layers_read == [[12, 12]]
    assert MugSTANConfig().clip_config.vision_config.hidden_size == 768


def test_keys_of_other_versions_are_kept_with_a_warning(tmp_path):
    config = tiny_config()
    config.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text().replace("{", '{"from_tomorrow": 3,', 1)
    (tmp_path / "config.json").write_text(text)
    assert MugSTANConfig.from_pretrained(tmp_path).from_tomorrow == 3


def test_fused_patches_as_the_config_says():
    videos = tiny_videos(1, 2)
    found = {
        fuses: tiny_model(fuse_patches=fuses).encode_video(videos, output_tokens=True) for fuses in (None, True, False)
    }
    clip = (
        tiny_model().mug_stan.clip.vision_model(videos.flatten(0, 1), output_hidden_states=[4]).hidden_states[4][None]
    )
    torch.testing.assert_close(found[False].last_hidden_state[:, :, 1:], clip[:, :, 1:])
    together = clip[:, :, 1:] + found[True].stan_patch_states
    torch.testing.assert_close(found[True].last_hidden_state[:, :, 1:], together)
    assert torch.equal(found[None].last_hidden_state, found[True].last_hidden_state)
