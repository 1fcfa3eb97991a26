# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""What the model computes, what each switch takes away, losses by hand, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
from tiny_ci_mha import BERT, FEATURES, rows, tiny_config, tiny_model, tiny_texts, tiny_videos

from clipbert.modeling_ci_mha import CIMHAForMomentRetrieval, CIMHAModel
from clipbert.processing import decode_moments


ALIGNMENTS = ["coattention", "attention", "mean_pool", "pad"]
INTERACTIONS = ["both", "query_to_video", "video_to_query", "none"]
MOMENT = {"start_positions": torch.tensor([2, 0, 1]), "end_positions": torch.tensor([4, 0, 1])}
# parameters of the parts that switches take away
EQ_7 = {f"ci_mha.cross_interaction.words_read_segments.{part}" for part in ("query", "key", "value", "output")}
EQ_8 = {name.replace("words_read_segments", "segments_read_words") for name in EQ_7}
ALIGN = {name.replace("words_read_segments", "align") for name in EQ_7}
SELF = {
    f"ci_mha.{side}_encoder.self_interaction.attention.{part}"
    for side in ("video", "text")
    for part in ("query", "key", "value", "output")
}
NORMS = {f"ci_mha.{side}_encoder.self_interaction.norm" for side in ("video", "text")}
BEFORE, AFTER = ("ci_mha.video_encoder.positions_before.table", "ci_mha.video_encoder.positions_after.table")


def inputs(segments=(8, 5, 2), words=(4, 2, 3)):
    return {**tiny_texts(list(words)), **tiny_videos(list(segments))}


def scores(model, **given):
    outputs = model(**given)
    return torch.stack([outputs.start_logits, outputs.end_logits, outputs.segment_logits], dim=1)


# ---------------------------------------------------------------------------------------------------------------------
# Shapes
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cross_interaction", INTERACTIONS)
@pytest.mark.parametrize("fusion_alignment", ALIGNMENTS)
def test_shapes_for_every_alignment_and_interaction(fusion_alignment, cross_interaction):
    model = tiny_model(fusion_alignment=fusion_alignment, cross_interaction=cross_interaction).train()
    for segments, words in (([8, 5, 2], [4, 2, 3]), ([3], [7]), ([1], [4]), ([4], [1]), ([1], [1])):
        count = len(segments)
        outputs = model(
            **inputs(segments, words),
            start_positions=torch.zeros(count, dtype=torch.long),
            end_positions=torch.zeros(count, dtype=torch.long),
        )
        for name in ("start_logits", "end_logits", "segment_logits", "segment_mask"):
            assert outputs[name].shape == (count, max(segments))
        model.zero_grad()
        outputs.loss.backward()
        assert outputs.loss.isfinite()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "overrides",
    [
        {"predictor": "transformer"},
        {"project_first": False},
        {"norm": "pre"},
        {"text_encoder": "glove_bilstm"},
        {"text_encoder": "hf", "text_config": dict(BERT), "text_trainable": True},
        {"text_encoder": "hf", "text_config": dict(BERT), "project_first": False},
        {"normalize_features": True, "temporal_endpoint_features": True, "delta_features": True},
        {"learned_initial_state": True, "shift_start_states": True},
        {"boundary_regression_weight": 2.0, "soft_targets": "neighbors", "segment_extend": 0.1},
    ],
)
def test_every_variant_trains_all_of_its_parameters(overrides):
    model = tiny_model(**overrides).train()
    given = inputs()
    given["input_ids"][0, 0] = 1  # a word that is not known
    model(**given, **MOMENT).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_a_word_that_is_not_known_has_a_vector_that_is_trained_and_the_others_are_kept():
    model = tiny_model(text_encoder="glove_bilstm")
    vectors = torch.randn(20, 8)
    words = model.get_input_embeddings()
    words.fill(vectors)
    expected = vectors.half().float()
    expected[:2] = 0
    assert torch.equal(words(torch.arange(20)), expected)
    assert torch.equal(model.half().float().get_input_embeddings()(torch.arange(20)), expected)
    assert [name for name, _ in words.named_parameters()] == ["unknown"]


def test_attention_weights_and_states():
    model = tiny_model(CIMHAModel)
    outputs = model(**inputs(), output_attentions=True, output_hidden_states=True)
    assert [tuple(each.shape) for each in outputs.attentions] == [
        (3, 2, 8, 8),
        (3, 2, 4, 4),
        (3, 2, 4, 8),
        (3, 2, 8, 4),
    ]
    assert outputs.word_attentions.shape == (3, 8, 4)
    torch.testing.assert_close(outputs.word_attentions.sum(dim=-1), torch.ones(3, 8))
    assert outputs.word_attentions[1, :, 2:].abs().max() == 0  # padding
    assert [each.shape[-1] for each in outputs.hidden_states] == [16, 32]
    plain = model(**inputs())
    assert list(plain) == ["last_hidden_state", "segment_mask"]  # neither as a tuple, nor as an attribute
    assert plain.attentions is None and plain.hidden_states is None and plain.word_attentions is None
    torch.testing.assert_close(plain.last_hidden_state, outputs.last_hidden_state)


@pytest.mark.parametrize("model_class", [CIMHAModel, CIMHAForMomentRetrieval])
def test_outputs_as_a_tuple(model_class):
    model, given = tiny_model(model_class), {**inputs(), "output_attentions": True}
    fields = [value for value in model(**given).values() if isinstance(value, torch.Tensor)]
    found = [value for value in model(**given, return_dict=False) if isinstance(value, torch.Tensor)]
    assert len(fields) >= 3 and all(torch.equal(*pair) for pair in zip(fields, found, strict=True))


# ---------------------------------------------------------------------------------------------------------------------
# Switches
# ---------------------------------------------------------------------------------------------------------------------


def modules_of(model):
    """Names of modules that have parameters of their own."""
    return {name.rpartition(".")[0] for name in model.state_dict()}


@pytest.mark.parametrize(
    "overrides, gone, new",
    [
        ({"self_interaction": False}, SELF, set()),
        ({"self_residual": False}, set(), set()),
        ({"norm": "post"}, set(), NORMS),
        ({"norm": "pre"}, set(), NORMS),
        ({"positions_before": False}, {BEFORE}, set()),
        ({"positions_after": False}, {AFTER}, set()),
        ({"share_position_embeddings": True}, {AFTER}, set()),
        ({"position_type": "none"}, {BEFORE, AFTER}, set()),
        ({"position_type": "sinusoidal"}, {BEFORE, AFTER}, set()),
        ({"cross_interaction": "query_to_video"}, EQ_7, set()),
        ({"cross_interaction": "video_to_query", "fusion_alignment": "mean_pool"}, EQ_8, set()),
        (  # what lays words beside segments stays: the weights of eq. 8
            {"cross_interaction": "video_to_query"},
            EQ_8,
            {name for name in ALIGN if name.endswith(("query", "key"))},
        ),
        ({"cross_interaction": "none"}, EQ_7 | EQ_8, {"ci_mha.cross_interaction.sentence_weights"}),
        ({"fusion_alignment": "attention"}, set(), ALIGN),
        ({"fusion_alignment": "mean_pool"}, set(), set()),
        ({"fusion_alignment": "pad"}, set(), set()),
        ({"cross_residual": False}, set(), set()),
        ({"end_reads": "features"}, set(), set()),
        ({"predictor_skip": False}, set(), set()),
        ({"shift_start_states": True}, set(), set()),
        ({"learned_initial_state": True}, set(), {"predictor.start_network", "predictor.end_network"}),
        ({"segmentation": False}, {"segment_head.0", "segment_head.2"}, set()),
    ],
)
def test_a_switch_takes_away_its_parameters_or_term_and_no_other(overrides, gone, new):
    full = tiny_model()
    other = tiny_model(seed=1, **overrides)
    assert modules_of(full) - modules_of(other) == gone
    assert modules_of(other) - modules_of(full) == new
    # all else alike, the scores are others
    own = full.state_dict()
    shared = {
        name: own[name] for name, value in other.state_dict().items() if name in own and own[name].shape == value.shape
    }
    other.load_state_dict(shared, strict=False)
    with torch.no_grad():
        for parameter in (p for name, p in other.named_parameters() if name.endswith("initial_state")):
            parameter.normal_()
        differ = (full(**inputs()).end_logits - other(**inputs()).end_logits).abs()[0].max() > 1e-6
    assert differ or overrides == {"segmentation": False}  # whose head nothing else reads


def shapes_that_differ(**overrides):
    own = {name: value.shape for name, value in tiny_model().state_dict().items()}
    other = {name: value.shape for name, value in tiny_model(**overrides).state_dict().items()}
    return {name: tuple(other[name]) for name in own.keys() & other.keys() if own[name] != other[name]}


def test_networks_and_heads_narrow_with_what_they_read():
    assert shapes_that_differ(predictor_skip=False) == {
        "predictor.start_head.0.weight": (16, 16),
        "predictor.end_head.0.weight": (16, 16),
    }
    assert shapes_that_differ(end_reads="features") == {
        "predictor.end_network.lstm.weight_ih_l0": (32, 32),
        "predictor.end_network.lstm.weight_ih_l0_reverse": (32, 32),
    }
    assert set(shapes_that_differ(cross_interaction="query_to_video")) == {
        "predictor.start_network.lstm.weight_ih_l0",
        "predictor.start_network.lstm.weight_ih_l0_reverse",
        "predictor.start_head.0.weight",
        "predictor.end_head.0.weight",
        "segment_head.0.weight",
    }


def test_weights_of_the_loss_are_terms():
    given = {**inputs(), **MOMENT}
    full = tiny_model(boundary_regression_weight=3.0)(**given)
    terms = (full.start_loss, full.end_loss, full.segment_loss, full.boundary_loss)
    torch.testing.assert_close(full.loss, terms[0] + terms[1] + 5 * terms[2] + 3 * terms[3])
    plain = tiny_model()(**given)
    assert plain.boundary_loss is None
    torch.testing.assert_close(plain.loss, terms[0] + terms[1] + 5 * terms[2])
    torch.testing.assert_close(tiny_model(segmentation_loss_weight=0)(**given).loss, terms[0] + terms[1])
    torch.testing.assert_close(tiny_model(start_end_loss_weight=0)(**given).loss, 5 * terms[2])
    without = tiny_model(segmentation=False)(**given)
    assert without.segment_loss is None and without.segment_logits is None
    torch.testing.assert_close(without.loss, without.start_loss + without.end_loss)


def test_the_end_depends_on_the_states_of_the_start():
    """A fault on record: the end predictor made as a copy of the wrong module."""
    model = tiny_model()
    before = model(**inputs())
    with torch.no_grad():
        model.predictor.start_network.lstm.weight_ih_l0.mul_(-1)
    after = model(**inputs())
    assert (before.end_logits - after.end_logits).abs()[0].max() > 1e-3
    independent = tiny_model(end_reads="features")
    before = independent(**inputs()).end_logits
    with torch.no_grad():
        independent.predictor.start_network.lstm.weight_ih_l0.mul_(-1)
    assert torch.equal(before, independent(**inputs()).end_logits)


@pytest.mark.parametrize("cross_interaction", ["both", "query_to_video", "video_to_query"])
@pytest.mark.parametrize("fusion_alignment", ["coattention", "attention", "mean_pool"])
def test_one_word_locates_nothing_in_the_literal_form(fusion_alignment, cross_interaction):
    """The soft-max over one key is 1 for every segment, so as printed all segments read the same."""
    deviations = []
    for cross_residual in (False, True):
        model = tiny_model(
            CIMHAModel,
            fusion_alignment=fusion_alignment,
            cross_interaction=cross_interaction,
            cross_residual=cross_residual,
        )
        fused = model(**inputs([8], [1])).last_hidden_state
        deviations.append((fused - fused[:, :1]).abs().max())
    assert deviations[0] < 1e-6
    assert deviations[1] > 0.1


def test_one_word_reaches_a_single_segment_when_padded():
    fused = tiny_model(CIMHAModel, fusion_alignment="pad", cross_residual=False)(**inputs([8], [1])).last_hidden_state
    assert (fused - fused[:, :1])[:, 1:].abs().max() > 0.1
    assert (fused[:, 1:] - fused[:, 1:2]).abs().max() < 1e-6


# ---------------------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------------------


def test_losses_by_hand():
    outputs = tiny_model()(**inputs(), **MOMENT)
    expected, bits = {"start": 0.0, "end": 0.0}, []
    for row, (length, first, last) in enumerate(((8, 2, 4), (5, 0, 0), (2, 1, 1))):
        for name, position in (("start", first), ("end", last)):
            expected[name] -= outputs[f"{name}_logits"][row, :length].log_softmax(0)[position] / 3
        labels = torch.zeros(length)
        labels[first : last + 1] = 1
        bits.append(F.binary_cross_entropy_with_logits(outputs.segment_logits[row, :length], labels, reduction="none"))
    torch.testing.assert_close(outputs.start_loss, expected["start"])
    torch.testing.assert_close(outputs.end_loss, expected["end"])
    torch.testing.assert_close(outputs.segment_loss, torch.cat(bits).mean())


def test_probabilities_sum_to_one():
    """A fault on record: the soft-max of scores times mask."""
    outputs = tiny_model()(**inputs())
    for logits in (outputs.start_logits, outputs.end_logits):
        torch.testing.assert_close(logits.softmax(dim=1).where(outputs.segment_mask, 0).sum(dim=1), torch.ones(3))
        assert (logits.softmax(dim=1)[~outputs.segment_mask] == 0).all()


def test_soft_targets_share_half_with_those_beside():
    outputs = tiny_model(soft_targets="neighbors")(**inputs(), **MOMENT)
    first = outputs.start_logits[0].log_softmax(0)
    second = outputs.start_logits[1, :5].log_softmax(0)
    third = outputs.start_logits[2, :2].log_softmax(0)
    expected = -(
        0.25 * first[1]
        + 0.5 * first[2]
        + 0.25 * first[3]
        + 0.5 * second[0]
        + 0.5 * second[1]
        + 0.5 * third[1]
        + 0.5 * third[0]
    )
    torch.testing.assert_close(outputs.start_loss, expected / 3)


def test_labels_inside_can_be_given_and_extended():
    given = {**inputs([8], [4]), "start_positions": torch.tensor([3]), "end_positions": torch.tensor([4])}
    labels = torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0]])
    extended = tiny_model(segment_extend=0.5)(**given)
    torch.testing.assert_close(extended.segment_loss, tiny_model()(**given, segment_labels=labels).segment_loss)
    assert extended.segment_loss != tiny_model()(**given).segment_loss


def test_a_moment_of_the_whole_video_is_learnt_from():
    """A fault on record: sampling segments outside a moment that leaves none."""
    given = {**inputs([8], [4]), "start_positions": torch.tensor([0]), "end_positions": torch.tensor([7])}
    assert tiny_model()(**given).loss.isfinite()


def test_windows_of_one_question_share_a_soft_max():
    model = tiny_model()
    positions = {"start_positions": torch.tensor([2, -100, 1]), "end_positions": torch.tensor([4, -100, 1])}
    outputs = model(**inputs(), **positions, window_groups=torch.tensor([7, 7, 3]))
    together = torch.cat([outputs.start_logits[0], outputs.start_logits[1, :5]]).log_softmax(0)
    alone = outputs.start_logits[2, :2].log_softmax(0)
    torch.testing.assert_close(outputs.start_loss, -(together[2] + alone[1]) / 2)
    # a window without the moment is outside from end to end, and learns to score low
    labels = torch.tensor([[0, 0, 1, 1, 1, 0, 0, 0], [0] * 8, [0, 1] + [0] * 6])
    given = model(**inputs(), **positions, segment_labels=labels, window_groups=torch.tensor([7, 7, 3]))
    torch.testing.assert_close(given.segment_loss, outputs.segment_loss)
    outputs.start_logits.retain_grad()
    outputs.start_loss.backward()
    assert (outputs.start_logits.grad[1, :5] > 0).all()


def test_groups_of_one_are_plain_videos():
    model = tiny_model()
    grouped = model(**inputs(), **MOMENT, window_groups=torch.tensor([5, 1, 9]))
    torch.testing.assert_close(grouped.loss, model(**inputs(), **MOMENT).loss)


def test_a_batch_without_moments_has_a_loss_all_the_same():
    nothing = torch.full((3,), -100)
    outputs = tiny_model()(**inputs(), start_positions=nothing, end_positions=nothing)
    assert outputs.start_loss == 0 and outputs.end_loss == 0 and outputs.segment_loss > 0
    outputs.loss.backward()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(dtype):
    """A fault on record: a large negative constant that overflows in half precision."""
    model = tiny_model().to(dtype).train()
    outputs = model(**inputs(), **MOMENT)
    assert outputs.start_logits.dtype == torch.float32
    outputs.loss.backward()
    assert outputs.loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters())
    assert all(row for row in decode_moments(outputs, [10.0, 20.0, 5.0]))


@pytest.mark.slow
def test_thirty_two_pairs_are_learnt_by_heart():
    torch.manual_seed(0)
    model = tiny_model(hidden_size=32).train()
    given = {**tiny_texts([3] * 32), **tiny_videos([16] * 32)}
    starts = torch.randint(0, 12, (32,))
    ends = starts + torch.randint(0, 4, (32,))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss = model(**given, start_positions=starts, end_positions=ends).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    answers = decode_moments(model.eval()(**given), torch.full((32,), 16.0), top_k=1)
    for (answer,), start, end in zip(answers, starts.tolist(), ends.tolist(), strict=True):
        shared = max(0.0, min(answer["end_s"], end + 1) - max(answer["start_s"], start))
        assert shared / (max(answer["end_s"], end + 1) - min(answer["start_s"], start)) >= 0.7


# ---------------------------------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"video_mask": rows([8, 5, 2]) * torch.tensor([[1], [0], [1]])}, "all 0 for 1"),
        ({"attention_mask": rows([4, 2, 3]) * torch.tensor([[1], [1], [0]])}, "all 0 for 2"),
        ({"video_mask": rows([8, 5, 2]).flip(1)}, "first"),
        ({"video_mask": rows([8, 5])}, "shape"),
        ({"video_mask": 2 * rows([8, 5, 2])}, "1 for a segment"),
        ({"video_features": torch.randn(3, 8, FEATURES + 1)}, "another encoder"),
        ({"video_features": torch.full((3, 8, FEATURES), torch.nan)}, "finite"),
        ({"video_features": torch.zeros(3, 8, FEATURES).long()}, "floating point"),
        ({"video_features": torch.randn(3, 17, FEATURES), "video_mask": None}, "places for 16"),
        ({"video_features": None}, "One of"),
        (
            {"video_features": None, "video_mask": None, "pixel_values": torch.randn(3, 2, 1, 3, 8, 8)},
            "no frame encoder",
        ),
        ({"input_ids": torch.full((3, 4), 20)}, "vocab_size"),
        ({"video_indices": torch.tensor([0, 1, 3])}, "videos"),
        ({"video_indices": torch.tensor([0, 1])}, "video_indices"),
        ({"start_positions": torch.tensor([2, 0, 1])}, "go together"),
        ({**MOMENT, "end_positions": torch.tensor([1, 0, 1])}, "Moment 0"),
        ({**MOMENT, "end_positions": torch.tensor([4, 5, 1])}, "Moment 1"),
        ({**MOMENT, "end_positions": torch.tensor([4, 0, -100])}, "Moment 2"),
        ({**MOMENT, "end_positions": torch.tensor([4, 0, 9])}, "segments"),
        ({**MOMENT, "segment_labels": torch.zeros(3, 7)}, "segment_labels"),
        ({**MOMENT, "window_groups": torch.zeros(2).long()}, "window_groups"),
        ({"grad_segments": torch.zeros(3, 2).long()}, "needs both"),
    ],
)
def test_what_is_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        tiny_model()(**{**inputs(), **change})


def test_another_number_of_sentences_needs_to_know_its_videos():
    given = {**tiny_texts([2, 3]), **tiny_videos([4])}
    with pytest.raises(ValueError, match="video_indices"):
        tiny_model()(**given)
    assert tiny_model()(**given, video_indices=torch.tensor([0, 0])).start_logits.shape == (2, 4)


def test_heads_have_to_divide_what_is_not_projected():
    with pytest.raises(ValueError, match="heads"):
        CIMHAForMomentRetrieval(tiny_config(project_first=False, video_feature_size=7))
    with pytest.raises(ValueError, match="one size"):
        CIMHAForMomentRetrieval(tiny_config(project_first=False, share_position_embeddings=True))
