# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""`train_scripts/pretrain.py`: masks, pairs, blind baselines, and the script from recipe to reloaded checkpoint."""

import doctest
import json
import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import MODEL, one_thread, start_from, steps_of, tiny_run  # noqa: F401
from transformers import AutoProcessor

import clipbert.train_scripts.tasks.pretraining.masking as masking
from clipbert.datasets_scripts import load_benchmark
from clipbert.datasets_scripts.synthetic import generate_synthetic
from clipbert.datasets_scripts.synthetic.images import generate_synthetic_images
from clipbert.modeling_clipbert import ClipBERTForPreTraining, ClipBERTForVideoTextRetrieval
from clipbert.processing import ClipBERTVideoProcessor, VideoTextProcessor, load_tokenizer
from clipbert.processing.sampling import build_rng
from clipbert.train_scripts.engine.data import UndecodableVideosError
from clipbert.train_scripts.engine.predictions import Predictions
from clipbert.train_scripts.engine.recipe import RecipeError
from clipbert.train_scripts.engine.task import main
from clipbert.train_scripts.pretrain import PretrainRecipe, PretrainTask
from clipbert.train_scripts.rescore import rescore
from clipbert.train_scripts.tasks.pooling import NonFiniteScoreError
from clipbert.train_scripts.tasks.pretraining.evaluation import ContrastedRows, predict_batch
from clipbert.train_scripts.tasks.pretraining.items import CaptionTable, MaskedCollator, MaskedItem, MaskedPairs
from clipbert.train_scripts.tasks.pretraining.masking import IGNORED, WordMasker
from clipbert.train_scripts.tasks.pretraining.measures import measure


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain") / "pictures"
    return generate_synthetic_images(folder, num_train=10, num_validation=5, num_test=5)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain") / "shapes"
    counts = {"num_train": 8, "num_validation": 4, "num_test": 4}
    return generate_synthetic(folder, progress=False, preset="easy", captions_per_video=2, **counts)


@pytest.fixture(scope="module")
def processor(pictures):
    return VideoTextProcessor(ClipBERTVideoProcessor(size=48), load_tokenizer(pictures / "vocab.txt"), max_length=20)


# ----------------------------------------------------------------------------------------------------------------------
# Masks
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert_tokenizer(small_parity_dir):
    return load_tokenizer(small_parity_dir / "text" / "vocab.txt")


def mask_many(masker, tokens, times=400, **options):
    masked, labels = zip(*(masker(tokens, build_rng(7, number), **options) for number in range(times)), strict=True)
    return np.array(masked), np.array(labels)


def test_shares_of_chosen_replaced_and_kept_words(bert_tokenizer):
    tokens = bert_tokenizer("a man is playing guitar and a woman sings on the stage")["input_ids"]
    masked, labels = mask_many(WordMasker(bert_tokenizer), tokens, times=4000)
    chosen, original = labels != IGNORED, np.array(tokens)
    assert (masked[~chosen] == np.broadcast_to(original, masked.shape)[~chosen]).all()
    assert (labels[chosen] == np.broadcast_to(original, masked.shape)[chosen]).all()
    ordinary = ~np.isin(original, bert_tokenizer.all_special_ids)
    assert not chosen[:, ~ordinary].any()
    number = chosen[:, ordinary].size
    assert abs(chosen[:, ordinary].mean() - 0.15) < 5 * math.sqrt(0.15 * 0.85 / number)
    is_mask = masked[chosen] == bert_tokenizer.mask_token_id
    is_kept = masked[chosen] == labels[chosen]
    tolerance = 5 * math.sqrt(0.8 * 0.2 / chosen.sum())
    assert abs(is_mask.mean() - 0.8) < tolerance
    assert abs(is_kept.mean() - 0.1) < tolerance + 0.01  # a random word may happen to be the right one


def test_shares_equal_those_recorded_of_the_official_code(bert_tokenizer, small_parity_dir):
    recorded = json.loads((small_parity_dir / "text" / "mlm.json").read_text())
    rows = recorded["example"]["input_ids_before"]
    masker = WordMasker(bert_tokenizer, mask_special_tokens=True)
    chosen, total, to_mask, kept, ends, padding = 0, 0, 0, 0, 0, 0
    for number in range(500):
        for place, row in enumerate(rows):
            row = np.array(row)
            masked, labels = map(np.array, masker(row, build_rng(number, place)))
            asked = labels != IGNORED
            chosen, total = chosen + asked.sum(), total + (row != 0).sum()
            to_mask += (masked[asked] == bert_tokenizer.mask_token_id).sum()
            kept += (masked[asked] == row[asked]).sum()
            ends += asked[0] + asked[np.flatnonzero(row)[-1]]
            padding += asked[row == 0].sum()
    ours = {
        "masked_fraction_of_non_pad": chosen / total,
        "to_mask": to_mask / chosen,
        "unchanged": kept / chosen,
        "cls_or_sep_masked_fraction": ends / (2 * 500 * len(rows)),
    }
    for name, value in ours.items():
        # the record has 6141 tokens, of which 953 were chosen, and some 800 ends of texts
        assert value == pytest.approx(recorded["statistics"][name], abs=0.05), name
    assert padding == 0
    assert not recorded["statistics"]["pad_ever_masked"]


def test_special_tokens_are_neither_predicted_nor_put_in(processor):
    tokenizer = processor.tokenizer
    tokens = tokenizer("a red circle [MASK] zzz中")["input_ids"]
    special = np.array(tokenizer.all_special_ids)
    assert np.isin(tokens, special).sum() >= 4  # [CLS], [MASK], [UNK], [SEP]
    masked, labels = mask_many(WordMasker(tokenizer, 1.0), tokens)
    assert not np.isin(labels[labels != IGNORED], special).any()
    put_in = masked[(masked != np.array(tokens)) & (masked != tokenizer.mask_token_id)]
    assert len(put_in) > 50
    assert not np.isin(put_in, special).any()
    masked, labels = mask_many(WordMasker(tokenizer, 1.0, mask_special_tokens=True), tokens)
    assert (labels == np.array(tokens)).all()
    assert np.isin(masked[(masked != np.array(tokens)) & (masked != tokenizer.mask_token_id)], special).any()


def test_a_mask_depends_on_its_generator_alone(processor):
    masker, tokens = (
        WordMasker(processor.tokenizer),
        processor.tokenizer("a red circle on a white background")["input_ids"],
    )
    assert masker(tokens, build_rng(1, 2)) == masker(tokens, build_rng(1, 2))
    assert len({str(masker(tokens, build_rng(1, epoch))) for epoch in range(20)}) > 10


def test_at_least_one_word_is_asked_for(processor):
    masker, tokens = WordMasker(processor.tokenizer, 0.0), processor.tokenizer("red circle")["input_ids"]
    _, labels = mask_many(masker, tokens, at_least_one=True)
    assert (labels != IGNORED).sum() == len(labels)
    assert (labels[:, 1] != IGNORED).any()
    assert (labels[:, 2] != IGNORED).any()
    assert (mask_many(masker, tokens)[1] == IGNORED).all()


def test_examples_run_as_printed():
    results = doctest.testmod(masking)
    assert results.attempted and not results.failed


def test_a_vocabulary_without_mask_or_words_is_refused(processor):
    class Bare:
        mask_token_id, pad_token_id, all_special_ids = None, 0, [0]

        def __len__(self):
            return 3

        def get_vocab(self):
            return {"[PAD]": 0, "[MASK]": 1, "[unused1]": 2}

    with pytest.raises(ValueError, match="no mask token"):
        WordMasker(Bare())
    Bare.mask_token_id = 1
    with pytest.raises(ValueError, match="no ordinary word"):
        WordMasker(Bare())


# ----------------------------------------------------------------------------------------------------------------------
# Pairs
# ----------------------------------------------------------------------------------------------------------------------


class NoPictures:
    """A processor whose pictures are their names, and whose tokens are read from the text."""

    def __init__(self, processor):
        self.processor, self.tokenizer = processor, processor.tokenizer

    def __call__(self, text=None, images=None, videos=None, seeds=None, **options):
        if text is not None:
            return self.processor(text=text, **options)
        shape = (1, 1, 1) if images else (1, options["num_clips"], 2)
        (source,) = images or videos
        return {"pixel_values": torch.full((*shape, 3, 4, 4), float(len(source))), "seen": (source, seeds)}


def table_of(captions, processor, kind="image", **options):
    rows = [
        {f"{kind}_id": name, kind: f"{name}.png", "caption": text, "caption_id": f"{name}{number}"}
        for name, texts in captions.items()
        for number, text in enumerate(texts)
    ]
    return CaptionTable(datasets.Dataset.from_list(rows), NoPictures(processor), options, "set/train", seed=3)


CAPTIONS = {
    "a": ["red", "blue", "green", "black", "white"],
    "b": ["circle"],
    "c": ["square", "triangle"],
}


def texts_of(item, tokenizer):
    """The texts before they were masked."""
    rows = [
        [label if label != IGNORED else token for token, label in zip(*row, strict=True)]
        for row in zip(item.texts, item.labels, strict=True)
    ]
    return tokenizer.batch_decode(rows, skip_special_tokens=True)


def test_grouping_equals_the_recorded_one(small_parity_dir, processor):
    cases = json.loads((small_parity_dir / "text" / "negatives_and_groups.json").read_text())["grouping"]
    words = [text for texts in CAPTIONS.values() for text in texts]
    for case in [case for case in cases if case["train"]]:
        pairs = MaskedPairs(table_of(CAPTIONS, processor), WordMasker(processor.tokenizer), case["group_size"], 0.0)
        assert pairs.ids == [visual for visual, _ in case["groups"]]
        for index, (visual, numbers) in enumerate(case["groups"]):
            texts = texts_of(pairs[0, index], processor.tokenizer)
            own = [words[number - 1] for number in dict.fromkeys(numbers)]  # the record numbers captions from 1
            filled = 2 * pairs.places[index] + 2 > len(CAPTIONS[visual])
            own = own[:1] if filled and case["group_size"] == 2 else own
            assert texts[: len(own)] == own  # the rest fills the group up with any of the same picture
            assert len(texts) == len(numbers)
            assert set(texts) <= set(CAPTIONS[visual])


def test_rows_of_a_picture_need_not_stand_together(processor):
    rows = table_of(CAPTIONS, processor).rows.select([7, 0, 5, 1, 6, 2, 3, 4])
    table = CaptionTable(rows, NoPictures(processor), {}, "set", seed=0)
    assert table.ids == ["c", "a", "b"]
    assert {id: rows[table.members(number)]["caption"] for number, id in enumerate(table.ids)} == {
        "c": ["triangle", "square"],
        "a": CAPTIONS["a"],
        "b": CAPTIONS["b"],
    }


def test_replaced_captions_are_of_other_pictures_and_labelled_so(processor):
    captions = {"a": ["A red circle", "blue square"], "b": ["a  red circle", "green"], "c": ["black", "BLUE square"]}
    pairs = MaskedPairs(table_of(captions, processor), WordMasker(processor.tokenizer), 2)
    allowed = {"a": {"green", "black"}, "b": {"blue square", "black"}, "c": {"a red circle", "green"}}
    labels = Counter()
    for epoch in range(150):
        for index, visual in enumerate(pairs.ids):
            item = pairs[epoch, index]
            own = {" ".join(text.lower().split()) for text in captions[visual]}
            for text, match in zip(texts_of(item, processor.tokenizer), item.matches, strict=True):
                assert text in (own if match else allowed[visual])
                labels[match] += 1
    assert abs(labels[1] / 900 - 0.5) < 5 * 0.5 / 30


def test_replacements_are_uniform_over_the_captions_of_others(processor):
    pairs = MaskedPairs(table_of(CAPTIONS, processor), WordMasker(processor.tokenizer), mismatch_probability=1.0)
    (index,) = [number for number, visual in enumerate(pairs.ids) if visual == "b"]
    counts = Counter(texts_of(pairs[epoch, index], processor.tokenizer)[0] for epoch in range(1400))
    assert set(counts) == {*CAPTIONS["a"], *CAPTIONS["c"]}
    assert all(abs(count - 200) < 70 for count in counts.values())  # 5 standard deviations


def test_recorded_itm_pairs_are_possible_draws(small_parity_dir, processor):
    recorded = json.loads((small_parity_dir / "text" / "negatives_and_groups.json").read_text())
    captions = {video: [example["txt"] for example in examples] for video, examples in recorded["datalist"]}
    pairs = MaskedPairs(table_of(captions, processor), WordMasker(processor.tokenizer, 0.0))
    own = [text for texts in captions.values() for text in texts]
    drawn = {(index, pairs[epoch, index].matches[0]) for epoch in range(50) for index in range(len(pairs))}
    for case in recorded["itm"]:  # `index` counts pictures: one item of its captions is drawn
        visual = list(captions)[case["index"]]
        index = pairs.ids.index(visual)
        text, label = case["example"]["text_str"], case["example"]["itm_label"]
        assert (index, label) in drawn
        assert (text in captions[visual]) == bool(label)
        assert text in own


def test_an_item_depends_on_seed_epoch_and_index_alone(processor):
    tables = [table_of(CAPTIONS, processor, "video", num_clips=2) for _ in range(2)]
    first, second = (MaskedPairs(table, WordMasker(processor.tokenizer), 2) for table in tables)
    for index in range(len(first)):
        _ = first[0, index]
    one, other = first[4, 2], second[4, 2]
    assert one[1:] == other[1:]
    assert one.visual["seen"] == ("a.png", [(3, "set/train", 4, 2)])
    assert one.visual["pixel_values"].shape[1] == 2
    assert len({str(first[epoch, 2][1:]) for epoch in range(10)}) > 5
    tables[1].seed = 4
    assert any(first[epoch, 2][1:] != second[epoch, 2][1:] for epoch in range(3))


@pytest.mark.parametrize("captions", [{"a": ["red", "blue"]}, {"a": ["red"], "b": ["Red "]}])
def test_pictures_without_a_wrong_caption_are_refused(captions, processor):
    table, masker = table_of(captions, processor), WordMasker(processor.tokenizer)
    with pytest.raises(ValueError, match="set/train: image a has no counterpart.*two images with different captions"):
        MaskedPairs(table, masker)
    assert len(MaskedPairs(table, masker, mismatch_probability=0.0)) == 2


def test_lengths_are_words_of_the_longest_caption_of_an_item(processor):
    captions = {"a": ["red", "a red circle", "a blue square moves"], "b": ["a b"]}
    pairs = MaskedPairs(table_of(captions, processor), WordMasker(processor.tokenizer), 2)
    assert pairs.lengths.tolist() == [3, 4, 2]


def test_batches_are_padded_to_the_longest_text(processor):
    pairs = MaskedPairs(
        table_of({"a": ["red", "a red circle"], "bb": ["blue"]}, processor),
        WordMasker(processor.tokenizer, 1.0),
        2,
        0.0,
    )
    items = [pairs[0, 0], pairs[0, 1]]
    for item in items:
        item.visual.pop("seen")
    batch = MaskedCollator(processor)(items).inputs
    assert batch["pixel_values"].shape == (2, 1, 1, 3, 4, 4)
    assert batch["video_indices"].tolist() == [0, 0, 1, 1]
    assert batch["attention_mask"].sum(1).tolist() == [3, 5, 3, 3]
    assert ((batch["mlm_labels"] != IGNORED).sum(1)).tolist() == [1, 3, 1, 1]
    assert batch["mlm_labels"].shape == batch["input_ids"].shape == (4, 5)
    assert batch["itm_labels"].tolist() == [1, 1, 1, 1]
    items[1].visual["pixel_values"] = torch.zeros(1, 2, 1, 3, 4, 4)
    with pytest.raises(ValueError, match="data.mix_by=micro_batch"):
        MaskedCollator(processor)(items)


# ----------------------------------------------------------------------------------------------------------------------
# Evaluation
# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contrasted_rows(pictures, processor):
    rows = [json.loads(line) for line in (pictures / "test" / "captions.jsonl").read_text().splitlines()]
    rows = [
        {**row, "image": str(pictures / "test" / row["image"]), "caption_id": f"c{number}"}
        for number, row in enumerate(rows)
    ]
    table = CaptionTable(datasets.Dataset.from_list(rows), processor, {}, "set/test", seed=1)
    return ContrastedRows(table, WordMasker(processor.tokenizer), MaskedCollator(processor))


def test_a_row_asks_the_same_words_beside_two_pictures(contrasted_rows):
    for index in range(len(contrasted_rows)):
        row = contrasted_rows[index]
        own, other = row.pairs
        assert own[1:3] == other[1:3]
        assert (own.matches, other.matches) == ([1], [0])
        assert any(label != IGNORED for label in own.labels[0])
        assert row.other_id != contrasted_rows.table.rows[index]["image_id"]
        assert not torch.equal(own.visual["pixel_values"], other.visual["pixel_values"])
        assert contrasted_rows[index][:2] == row[:2]
        assert contrasted_rows[index].pairs[0][1:] == own[1:]


def test_predicting_together_equals_one_pair_at_a_time_by_the_models_own_losses(contrasted_rows, processor):
    torch.manual_seed(0)
    config = ClipBERTForPreTraining.config_class(vocab_size=len(processor.tokenizer), initializer_range=0.3, **MODEL)
    model = ClipBERTForPreTraining(config).eval()
    rows = [contrasted_rows[index] for index in range(3)]
    with torch.no_grad():
        found = predict_batch(model, contrasted_rows.collate(rows))
        for number, row in enumerate(rows):
            for place, pair in enumerate(row.pairs):
                outputs = model(**{**MaskedCollator(processor)([pair]).inputs, "itm_labels": torch.tensor([1])})
                losses = found[("word_losses", "blind_word_losses")[place]][number]
                assert np.mean(losses) == pytest.approx(outputs.mlm_loss.item(), rel=1e-4)
                guesses = outputs.prediction_logits[0, 0].argmax(-1)[torch.tensor(pair.labels[0]) != IGNORED]
                assert found[("predicted_words", "blind_words")[place]][number] == guesses.tolist()
                (clip,) = found["clip_logits"][number, place]
                odds = clip[1] - clip[0]
                assert torch.nn.functional.softplus(-odds).item() == pytest.approx(outputs.itm_loss.item(), rel=1e-4)
            assert found["words"][number] == [label for label in row.pairs[0].labels[0] if label != IGNORED]


def test_clips_that_do_not_exist_do_not_count(shapes, processor):
    torch.manual_seed(0)
    config = ClipBERTForPreTraining.config_class(vocab_size=len(processor.tokenizer), initializer_range=0.3, **MODEL)
    model = ClipBERTForPreTraining(config).eval()
    texts, labels = [[2, 70, 71, 3]], [[IGNORED, 80, IGNORED, IGNORED]]
    frames = torch.randn(1, 2, 1, 3, 48, 48) * 50

    def rows(pixel_values, **more):
        pairs = tuple(MaskedItem({"pixel_values": pixel_values, **more}, texts, labels, [match]) for match in (1, 0))
        seconds = torch.zeros(1, 2, *pixel_values.shape[1:3])
        return {"inputs": MaskedCollator(processor)(pairs).inputs, "skipped": [""], "frame_seconds": seconds}

    with torch.no_grad():
        whole, masked, first = (
            predict_batch(model, batch)
            for batch in (
                rows(frames),
                rows(frames, clip_mask=torch.tensor([[1, 0]])),
                rows(frames[:, :1]),
            )
        )
    assert masked["word_losses"][0] == pytest.approx(first["word_losses"][0], rel=1e-5)
    torch.testing.assert_close(masked["clip_logits"][:, :, :1], first["clip_logits"])
    assert masked["clip_logits"][:, :, 1].isnan().all() and whole["clip_logits"].isfinite().all()
    assert whole["word_losses"][0] != pytest.approx(first["word_losses"][0], rel=1e-3)


def test_measure_by_hand():
    columns = {
        "dataset": ["x", "x", "y"],
        "skipped": ["", "broken", ""],
        "words": [[5, 6], [], [5]],
        "predicted_words": [[5, 6], [], [9]],
        "blind_words": [[5, 9], [], [9]],
        "word_losses": [[0.0, 1.0], [], [2.0]],
        "blind_word_losses": [[3.0, 3.0], [], [0.0]],
    }
    odds = np.array([[2.0, -1.0], [np.nan, np.nan], [-3.0, 0.5]])
    clip_logits = np.stack([0 * odds, odds], axis=-1)[:, :, None]  # one clip, whose first label has the score 0
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    found = Predictions("pretraining", rows, {"clip_logits": clip_logits}, {"score_pooling": "mean"})
    metrics = measure(found)
    assert (metrics["mlm_accuracy"], metrics["mlm_blind_accuracy"]) == (2 / 3, 1 / 3)
    assert (metrics["mlm_majority_accuracy"], metrics["num_words"]) == (2 / 3, 3)
    assert (metrics["mlm_loss"], metrics["mlm_blind_loss"]) == (1.0, 2.0)
    assert (metrics["itm_accuracy"], metrics["itm_majority_accuracy"], metrics["num_examples"]) == (0.5, 0.5, 4)
    assert metrics["itm_loss"] == pytest.approx(np.log1p(np.exp([-2.0, -1.0, 3.0, 0.5])).mean())
    assert metrics["num_skipped_rows"] == 1
    assert (metrics["x_mlm_accuracy"], metrics["x_itm_accuracy"], metrics["x_num_skipped_rows"]) == (1.0, 1.0, 1)


# ----------------------------------------------------------------------------------------------------------------------
# The script
# ----------------------------------------------------------------------------------------------------------------------


def settings_of(pictures, output_dir, *more):
    return tiny_run("synthetic_images", "image_text", pictures, output_dir, *more)


def mixture_of(pictures, shapes, weights=(1.0, 3.0)):
    """Settings of a mixture of images and videos, which take the place of the single set."""
    sets = [
        {"dataset": "synthetic_images", "config": "image_text", "data_dir": str(pictures), "weight": weights[0]},
        {"dataset": "synthetic", "config": "retrieval", "data_dir": str(shapes), "weight": weights[1]},
    ]
    return [f"data.datasets={json.dumps(sets)}", 'data.dataset=""', "data.config=null", "data.data_dir=null"]


def run(pictures, output_dir, *more):
    return main(PretrainTask(), settings_of(pictures, output_dir, *more))


def test_two_steps_save_resume_and_reload(pictures, shapes, tmp_path):
    more = [*mixture_of(pictures, shapes), "run.save_every=1", "data.captions_per_video=2", "data.num_clips=2"]
    more += [
        "run.total_steps=3",
        "run.save_total_limit=null",
        "data.max_text_length=40",
        'model.overrides={"pixel_random_sampling_size": 3}',
    ]
    result = run(pictures, tmp_path / "whole", *more)
    assert result["finished"]
    # back to an earlier step, as if the process had died
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed", symlinks=True)
    for step in (2, 3):
        shutil.rmtree(tmp_path / "resumed" / "checkpoints" / f"step_0000000{step}")
    resumed = run(pictures, tmp_path / "resumed", *more, "data.num_workers=1")
    assert steps_of(tmp_path / "resumed") == steps_of(tmp_path / "whole")
    assert resumed["results"] == result["results"]
    for row in steps_of(tmp_path / "whole"):
        assert row["loss"] == pytest.approx(row["mlm_loss"] + row["itm_loss"], rel=1e-5)
        assert {"mlm_accuracy", "itm_accuracy"} <= row.keys()

    metrics = result["results"]["test"]["metrics"]
    num_rows = 5 + 4 * 2
    assert metrics["num_examples"] == 2 * num_rows
    assert metrics["synthetic_images_num_examples"] + metrics["synthetic_num_examples"] == 2 * num_rows
    assert metrics["itm_majority_accuracy"] == 0.5
    for name in ("mlm_accuracy", "mlm_blind_accuracy", "mlm_majority_accuracy", "itm_accuracy"):
        assert 0 <= metrics[name] <= 1

    # what was written is enough to measure again, and the folder to go on with another task
    folder = tmp_path / "whole" / "predictions" / "test"
    assert rescore(folder) == metrics
    checkpoint = tmp_path / "whole" / "checkpoints" / "last"
    model, info = ClipBERTForVideoTextRetrieval.from_pretrained(checkpoint, output_loading_info=True)
    assert all(name.startswith("classifier") for name in info["missing_keys"])
    assert AutoProcessor.from_pretrained(checkpoint).max_length == 40
    assert model.config.pixel_random_sampling_size == 3


def test_matches_are_pooled_as_the_recipe_says(pictures, shapes, tmp_path):
    mixture = mixture_of(pictures, shapes)
    run(pictures, tmp_path / "start", *mixture, "eval.splits={}", "optim.lr=1e-1", "data.mix_by=step")
    more = [*mixture, *start_from(tmp_path / "start/checkpoints/last"), "run.total_steps=0", "eval.num_clips=3"]
    metrics = {
        pooling: run(pictures, tmp_path / pooling, *more, f"eval.score_pooling={pooling}")["results"]["test"][
            "metrics"
        ]
        for pooling in ("mean", "max", "lse")
    }
    assert len({found["synthetic_itm_loss"] for found in metrics.values()}) == 3
    assert len({round(found["synthetic_images_itm_loss"], 6) for found in metrics.values()}) == 1  # of one clip
    assert len({found["mlm_loss"] for found in metrics.values()}) == 1  # words are averaged over clips
    model = run(pictures, tmp_path / "model", *more, "model.overrides={score_pooling: max}")["results"]["test"]
    assert model["metrics"] == metrics["max"]
    # what was written can be pooled in another way, and tells when each frame is shown
    for pooling, found in metrics.items():
        assert rescore(tmp_path / "mean/predictions/test", pooling) == pytest.approx(found, abs=1e-6)
    written = load_file(tmp_path / "mean/predictions/test/tensors.safetensors")
    num_images, num_videos = 5, 4 * 2
    assert written["clip_logits"].shape == (num_images + num_videos, 2, 3, 2)
    assert written["frame_seconds"].shape == (num_images + num_videos, 2, 3, 2)
    exists = written["clip_logits"].isfinite()[..., 0]
    assert exists[num_images:].all() and exists[:num_images].sum(2).eq(1).all()
    assert written["frame_seconds"][num_images:].diff(dim=2).gt(0).all()


def test_scores_that_are_not_finite_name_the_pair(pictures, tmp_path):
    run(pictures, tmp_path / "start", "eval.splits={}", "run.total_steps=1")
    start = tmp_path / "broken"
    shutil.copytree(tmp_path / "start/checkpoints/last", start, ignore=shutil.ignore_patterns("trainer"))
    model = ClipBERTForPreTraining.from_pretrained(start)
    torch.nn.init.constant_(model.cls.seq_relationship.bias, torch.nan)
    model.save_pretrained(start)
    message = r"not finite: \[nan, nan\] for the caption \S+ and its own picture, clip 0"
    with pytest.raises(NonFiniteScoreError, match=message):
        run(pictures, tmp_path / "out", *start_from(start), "run.total_steps=0")


def test_scores_on_a_part_of_a_split_say_so(pictures, tmp_path):
    test = load_benchmark("synthetic_images", "image_text", split="test", data_dir=pictures)
    more = [f"data.skip_list=[{test[0]['image_id']}]", "eval.splits={test: final}"]
    metrics = run(pictures, tmp_path, *more)["results"]["test"]["metrics"]
    assert metrics["coverage"] == pytest.approx((len(test) - 1) / len(test))
    assert rescore(tmp_path / "predictions" / "test") == metrics


def test_evaluation_depends_neither_on_batches_nor_on_how_often(pictures, tmp_path):
    more = ["eval.splits={validation: tuning, test: final}", "eval.metric=itm_accuracy"]
    first = run(pictures, tmp_path / "a", *more, "eval.batch_size=1", "run.eval_every=1")["results"]
    second = run(pictures, tmp_path / "b", *more, "eval.batch_size=4")["results"]
    assert first["validation"]["metrics"] == pytest.approx(second["validation"]["metrics"], rel=1e-4)
    files = [tmp_path / name / "predictions/validation/records.json" for name in "ab"]
    ours, theirs = (json.loads(file.read_text()) for file in files)
    for name in ("caption_id", "other_id", "words"):
        assert [row[name] for row in ours["rows"]] == [row[name] for row in theirs["rows"]]


def test_draws_of_random_clips_ask_for_the_same_words(pictures, shapes, tmp_path):
    video = ["data.dataset=synthetic", "data.config=retrieval", f"data.data_dir={shapes}", "eval.sampling=random"]
    video += ["run.total_steps=1", "data.num_frames=1", "data.fps=8"]
    one = run(pictures, tmp_path / "one", *video)["results"]["test"]["metrics"]
    two = run(pictures, tmp_path / "two", *video, "eval.num_draws=2")["results"]["test"]["metrics"]
    assert two["num_words"] == one["num_words"]
    assert two["mlm_majority_accuracy_std"] == 0
    assert two["mlm_loss_std"] > 0  # other frames
    assert two["mlm_loss"] != one["mlm_loss"]


def test_a_blind_model_is_as_good_without_looking(pictures, tmp_path):
    """The words beside another picture are those a model guesses that does not look at all."""
    processor = VideoTextProcessor(ClipBERTVideoProcessor(size=48), load_tokenizer(pictures / "vocab.txt"))
    config = ClipBERTForPreTraining.config_class(vocab_size=len(processor.tokenizer), initializer_range=0.3, **MODEL)
    model = ClipBERTForPreTraining(config)
    with torch.no_grad():
        model.clipbert.grid_encoder.conv.weight.zero_()
    model.save_pretrained(tmp_path / "blind")
    processor.save_pretrained(tmp_path / "blind")
    metrics = run(pictures, tmp_path / "out", *start_from(tmp_path / "blind"), "run.total_steps=0")["results"]["test"][
        "metrics"
    ]
    assert metrics["mlm_accuracy"] == metrics["mlm_blind_accuracy"]
    assert metrics["mlm_loss"] == pytest.approx(metrics["mlm_blind_loss"])
    assert metrics["itm_accuracy"] == 0.5


@pytest.mark.parametrize(
    "switch", ["data.mask_special_tokens=true", "data.mix_by=step", "data.mismatch_probability=0"]
)
def test_switches(pictures, shapes, tmp_path, switch):
    run(pictures, tmp_path, *mixture_of(pictures, shapes), switch, "eval.splits={}", "data.num_clips=2")
    assert len(steps_of(tmp_path)) == 2
    if "mismatch" in switch:
        losses = [row["itm_accuracy"] for row in steps_of(tmp_path)]
        assert all(0 <= value <= 1 for value in losses)


def test_the_official_word_loss_is_a_switch_of_the_model(pictures, tmp_path):
    values = []
    for overrides in ("{}", "{mlm_loss_reduction: all, mlm_on_mismatched_pairs: true}"):
        more = [f"model.overrides={overrides}", "eval.splits={}", "run.total_steps=1", "run.micro_batch_size=4"]
        more += ["data.mismatch_probability=0", "data.mlm_probability=0.2"]
        run(pictures, tmp_path / str(len(values)), *more)
        values.append(steps_of(tmp_path / str(len(values)))[0]["mlm_loss"])
    assert values[1] < values[0] / 2  # most places are not masked


def test_a_set_is_drawn_by_its_weight_and_its_items_keep_their_names(pictures, shapes):
    settings = settings_of(pictures, "unused", *mixture_of(pictures, shapes, weights=(1.0, 3.0)))
    recipe = PretrainRecipe.load(overrides=settings[1::2])
    parts = PretrainTask().build(recipe)
    assert len(parts.train_set) == 10 + 16
    assert parts.train_set.ids[0].startswith("synthetic_images/train_")
    first, video = parts.train_set[0, 0], parts.train_set[0, 12]
    assert first.visual["pixel_values"].shape[1:3] == (1, 1)
    assert video.visual["pixel_values"].shape[1:3] == (1, 2)
    shares = parts.train_set.shares
    assert shares[1] == 3 * shares[0]


def test_one_data_set_twice_has_two_names():
    section = PretrainRecipe.load(
        overrides=[
            "model.family=clipbert",
            "model.config={}",
            "model.tokenizer=x",
            "run.output_dir=x",
            "run.total_steps=1",
            "data.datasets=[{dataset: a, config: b}, {dataset: a, config: c}, {dataset: a, config: c, weight: 2}]",
        ]
    ).data
    assert [(name, weight) for name, (_, weight) in section.sources().items()] == [
        ("a", 1.0),
        ("a_c", 1.0),
        ("a_c_2", 2.0),
    ]
    assert {settings.config for settings, _ in section.sources().values()} == {"b", "c"}


def test_a_moved_data_set_is_the_same_recipe_and_another_weight_is_not():
    def recipe(folder, weight):
        source = {"dataset": "a", "data_dir": folder, "weight": weight}
        values = ["model.family=clipbert", "model.config={}", "run.output_dir=x", "run.total_steps=1"]
        return PretrainRecipe.load(overrides=[*values, f"data.datasets={json.dumps([source])}"])

    assert recipe("here", 1.0).differences(recipe("there", 1.0)) == []
    (difference,) = recipe("here", 1.0).differences(recipe("here", 2.0))
    assert "'weight': 1.0" in difference


def break_picture(pictures, folder, split, number):
    shutil.copytree(pictures, folder)
    (folder / split / "images" / f"{split}_{number:05d}.png").write_bytes(b"no picture")
    return folder


def test_a_broken_picture_in_the_evaluation(pictures, tmp_path):
    data = break_picture(pictures, tmp_path / "data", "test", 1)
    with pytest.raises(UndecodableVideosError, match="test_00001.png.*data.on_decode_error=skip"):
        run(data, tmp_path / "raised")
    skip = ["data.on_decode_error=skip"]
    with pytest.raises(UndecodableVideosError, match="of 5 items .*max_decode_error_rate=0.01"):
        run(data, tmp_path / "too_many", *skip)
    more = [*skip, "data.max_decode_error_rate=0.9", "eval.batch_size=1"]
    metrics = run(data, tmp_path / "skipped", *more)["results"]["test"]["metrics"]
    assert metrics["num_skipped_rows"] >= 1
    assert metrics["num_examples"] == 2 * (5 - metrics["num_skipped_rows"])
    listed = run(data, tmp_path / "listed", "data.skip_list=[test_00001]")
    assert listed["results"]["test"]["metrics"]["num_examples"] == 8


def test_a_broken_picture_in_training(pictures, tmp_path):
    data = break_picture(pictures, tmp_path / "data", "train", 2)
    epoch = ["run.total_steps=null", "run.num_epochs=1", "eval.splits={}"]
    with pytest.raises(UndecodableVideosError, match="Training item train_00002.*train_00002.png"):
        run(data, tmp_path / "raised", *epoch)
    skip = ["data.on_decode_error=skip", "data.max_decode_error_rate=0.2"]
    assert run(data, tmp_path / "skipped", *epoch, *skip)["finished"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (["data.datasets=[{dataset: x}]"], RecipeError, "datasets: goes without dataset"),
        (["data.datasets=[{datset: x}]"], RecipeError, "datasets.0 has no key 'datset'. Did you mean 'dataset'"),
        (['data.dataset=""'], RecipeError, "data.dataset: missing"),
        (["data.mlm_probability=1.5"], RecipeError, "at most 1"),
        (["data.config=image_txt"], ValueError, "image_text"),
        (["eval.splits={dev: final}"], ValueError, "dev"),
    ],
)
def test_mistakes_surface_before_training(pictures, tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        run(pictures, tmp_path / "out", *settings)
    assert not (tmp_path / "out" / "log.jsonl").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{dataset: x, weight: 0}", "datasets.0.weight: must be above 0, got 0"),
        ("{weight: 1}", "datasets.0.dataset: missing"),
        ("{dataset: x, weight: many}", "datasets.0.weight: expected finite number"),
    ],
)
def test_mistakes_in_a_mixture_are_named_by_their_place(pictures, shapes, tmp_path, source, message):
    mixture = [f"data.datasets=[{source}]", *mixture_of(pictures, shapes)[1:]]
    with pytest.raises(RecipeError, match=message):
        run(pictures, tmp_path / "out", *mixture)


@pytest.mark.slow
def test_the_quickstart_recipe_learns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generate_synthetic_images("outputs/quickstart/pictures", num_train=2000)
    recipe = ROOT / "train_scripts" / "recipes" / "quickstart" / "pretrain.yaml"
    result = main(PretrainTask(), ["--recipe", str(recipe), "--set", "data.num_workers=0"])
    metrics = result["results"]["test"]["metrics"]
    assert metrics["mlm_accuracy"] > metrics["mlm_blind_accuracy"] + 0.15
    assert metrics["mlm_accuracy"] > metrics["mlm_majority_accuracy"] + 0.5
    assert metrics["itm_accuracy"] > 0.85


@pytest.mark.slow
def test_two_processes_give_the_losses_and_scores_of_one(pictures, shapes, tmp_path):
    more = [*mixture_of(pictures, shapes), "run.total_steps=4", "run.global_batch_size=8"]
    more += ['model.overrides={"pixel_random_sampling_size": 3}']
    run(pictures, tmp_path / "one", *more)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    configuration = ROOT / "train_scripts" / "recipes" / "accelerate" / "two_cpu_processes.yaml"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configuration)]
    script = str(ROOT / "train_scripts" / "pretrain.py")
    command = [*launcher, "--main_process_port", "0", script, *settings_of(pictures, tmp_path / "two", *more)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "x 2 processes" in done.stderr
    for ours, theirs in zip(steps_of(tmp_path / "one"), steps_of(tmp_path / "two"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    files = [tmp_path / name / "predictions/test/records.json" for name in ("one", "two")]
    ours, theirs = (json.loads(file.read_text()) for file in files)
    assert [row["caption_id"] for row in ours["rows"]] == [row["caption_id"] for row in theirs["rows"]]
    assert ours["metrics"] == pytest.approx(theirs["metrics"], rel=1e-3)
