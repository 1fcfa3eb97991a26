# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
The recurrent part of CNN-RNN over rows of different lengths (section 4.3 of the course report's specification): by packed
sequences, or in passes over padded rows. Both give the same states, at another speed.

Letters: R rows, T frames of a row, D size of a frame vector, H size of a state.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


RECURRENT_LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
ONE_PASS = {"RNN_TANH": torch.rnn_tanh, "GRU": torch.gru, "LSTM": torch.lstm}
ONE_STEP = {"RNN_TANH": torch.rnn_tanh_cell, "GRU": torch.gru_cell, "LSTM": torch.lstm_cell}
# Frames of a pass. Fewer leave more padding out, more need fewer calls: from 16 to 64 the speed differs by a fifth.
SEGMENT_SIZE = 64
WIDE, LARGE = 1024, 2048 * 512  # numbers of a frame, and times units


def choose_backend(rnn, vectors):
    """
    The faster backend for vectors `(R, T, D)`, by `benchmarks/recurrent.py`.

    cuDNN takes packed sequences as they are. On a CPU, packed, each step keeps a graph of its own, and oneDNN's LSTM is not
    used. Where no gradient is wanted, packing wins nevertheless for an RNN or GRU, unless it has to copy wide vectors, and
    where the product with the input is nearly all, of which it leaves the padding out.
    """
    if torch.compiler.is_compiling():
        return "padded"
    if vectors.device.type == "cpu":
        width = vectors.shape[-1]
        is_light = rnn.mode != "LSTM" and width < WIDE
        is_packed = not torch.is_grad_enabled() and (is_light or width * rnn.hidden_size >= LARGE)
    else:
        is_packed = vectors.is_cuda
    return "packed" if is_packed else "padded"


def run_packed(rnn, vectors, lengths):
    """
    States of the top layer by packed sequences: padding is left out of the computation.

    Args:
        rnn (`nn.RNN`, `nn.GRU` or `nn.LSTM`): The layers, with `batch_first`.
        vectors (`torch.FloatTensor` of shape `(rows, frames, features)`): Frames first, then padding.
        lengths (`torch.LongTensor` of shape `(rows,)`): Frames of each row, at least 1.

    Returns:
        `torch.FloatTensor` of shape `(rows, frames, states)`; what stands after the frames means nothing.
    """
    packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=vectors.shape[1])[0]


def run_padded(rnn, vectors, lengths):
    """
    The same as [`run_packed`] in passes over padded rows.

    A state depends on nothing that is read later, so that forwards the padding at the end does no harm. For the other
    direction the frames of each row, and they alone, are turned round. Where looking at the lengths costs nothing, which is
    on a CPU, each pass is short and leaves out the rows that have ended; else it is one, for any lengths.
    """
    if vectors.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # autocast asks oneDNN for an LSTM in half precision, which it does not have for every processor
        with torch.autocast("cpu", enabled=False):
            return run_padded(rnn, vectors.to(rnn.weight_ih_l0.dtype), lengths)
    num_rows, num_frames = vectors.shape[:2]
    starts = torch.arange(num_rows, device=vectors.device) * num_frames
    steps = torch.arange(num_frames, device=vectors.device)[:, None]
    segments = [(0, num_frames, num_rows)]
    if vectors.device.type == "cpu" and not torch.compiler.is_compiling():
        lengths, order = lengths.sort(descending=True)
        starts, longest = starts[order], int(lengths[0])
        firsts = range(0, longest, SEGMENT_SIZE)
        segments = [(first, min(first + SEGMENT_SIZE, longest), int((lengths > first).sum())) for first in firsts]
    mirror = torch.where(steps < lengths, lengths - 1 - steps, steps)  # (T, R), its own inverse
    # where the vectors of each pass stand among all R * T: (frames, rows) each, longest row first
    forwards, backwards = (
        [places[first:end, :rows] for first, end, rows in segments] for places in (starts + steps, starts + mirror)
    )
    for layer in range(rnn.num_layers):
        if layer:
            vectors = F.dropout(vectors, rnn.dropout, rnn.training)
        states = _run_direction(rnn, f"l{layer}", vectors, forwards)
        if rnn.bidirectional:
            states = torch.cat([states, _run_direction(rnn, f"l{layer}_reverse", vectors, backwards)], dim=-1)
        vectors = states
    return vectors


def _run_direction(rnn, suffix, vectors, passes):
    """One layer in one direction: (R, T, D) -> (R, T, H), 0 where no pass comes."""
    weights = [getattr(rnn, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    flat, results = vectors.flatten(0, 1), []
    zeros = vectors.new_zeros(1, vectors.shape[0], rnn.hidden_size)
    state = (zeros, zeros.clone()) if rnn.mode == "LSTM" else (zeros,)
    for places in passes:
        part = flat.index_select(0, places.flatten()).unflatten(0, places.shape)
        state = [each[:, : places.shape[1]] for each in state]
        states, *state = _run_pass(rnn, part, state, weights)
        results.append(states.flatten(0, 1))
    everywhere = torch.cat([places.flatten() for places in passes])
    blank = flat.new_zeros(flat.shape[0], rnn.hidden_size)
    return blank.index_copy(0, everywhere, torch.cat(results)).unflatten(0, vectors.shape[:2])


def _run_pass(rnn, vectors, state, weights):
    """Frames `(T, R, D)` after a state to their states `(T, R, H)`, and the last one as the cell has it."""
    if torch.compiler.is_exporting():  # the one pass is unrolled by the tracer, for the one length that it sees
        from torch._higher_order_ops.scan import scan

        def step(state, vector):
            state = ONE_STEP[rnn.mode](vector, state, *weights)
            return state, (state[0] if rnn.mode == "LSTM" else state).clone()

        start = tuple(each[0] for each in state)
        return (scan(step, start if rnn.mode == "LSTM" else start[0], vectors)[1],)
    start = tuple(state) if rnn.mode == "LSTM" else state[0]
    # has biases, 1 layer, no dropout, not both directions, not batch first
    return ONE_PASS[rnn.mode](vectors, start, weights, True, 1, 0.0, rnn.training, False, False)


__all__ = ["RECURRENT_LAYERS", "choose_backend", "run_packed", "run_padded"]
