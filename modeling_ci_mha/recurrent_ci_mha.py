# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
A bidirectional LSTM over rows of different lengths that never reads padding.

Read plainly, the backward direction passes through padding first, and carries it into every state. Two backends leave it
out, with equal values: packed sequences, and rows that are turned round by their lengths.

Letters: R rows, T steps of a row, D size of an input, H units of one direction.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class CIMHABiLSTM(nn.Module):
    """
    States of both directions, `(rows, steps, size)`, and zero behind a row's end.

    Args:
        input_size (`int`): D.
        size (`int`): Of the states of both directions, even.
        backend (`str`): `"packed"`, `"reversed"` or `"auto"`.
        learned_initial_state (`bool`): Train what the states begin with; else they begin with zeros.
    """

    def __init__(self, input_size, size, backend, learned_initial_state=False):
        super().__init__()
        self.backend = backend
        self.lstm = nn.LSTM(input_size, size // 2, batch_first=True, bidirectional=True)
        # hidden and cell state, of both directions
        self.initial_state = nn.Parameter(torch.zeros(2, 2, size // 2)) if learned_initial_state else None

    def forward(self, vectors, lengths):
        # vectors: (R, T, D), lengths: (R,), at least 1 each
        backend = self.backend
        if backend == "auto":  # cuDNN takes packed sequences; oneDNN, compilers and programs for export do not
            backend = "packed" if vectors.is_cuda and not torch.compiler.is_compiling() else "reversed"
        states = (self.run_packed if backend == "packed" else self.run_reversed)(vectors, lengths)
        exists = torch.arange(vectors.shape[1], device=lengths.device) < lengths[:, None]
        return states.where(exists[..., None], 0.0)

    def initial(self, vectors):
        """Hidden and cell state before the first step, `(2, R, H)` each."""
        shape = (2, 2, vectors.shape[0], self.lstm.hidden_size)
        if self.initial_state is None:
            return vectors.new_zeros(shape).unbind(0)
        return self.initial_state.to(vectors.dtype)[:, :, None].expand(shape).contiguous().unbind(0)

    def run_packed(self, vectors, lengths):
        """By packed sequences, whose lengths have to be known on the CPU."""
        packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states = self.lstm(packed, self.initial(vectors))[0]
        return pad_packed_sequence(states, batch_first=True, total_length=vectors.shape[1])[0]

    def run_reversed(self, vectors, lengths):
        """Forwards as they are; backwards over rows of which the real steps, and they alone, are turned round."""
        if vectors.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # autocast asks oneDNN for an LSTM in half precision, which it does not have for every processor
            with torch.autocast("cpu", enabled=False):
                return self.run_reversed(vectors.to(self.lstm.weight_ih_l0.dtype), lengths)
        steps = torch.arange(vectors.shape[1], device=vectors.device)
        mirror = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)[
            ..., None
        ]  # its own inverse
        hidden, cell = self.initial(vectors)
        forwards = self._run(vectors, "l0", hidden[0], cell[0])
        turned = vectors.gather(1, mirror.expand(-1, -1, vectors.shape[-1]))
        backwards = self._run(turned, "l0_reverse", hidden[1], cell[1])
        return torch.cat([forwards, backwards.gather(1, mirror.expand(-1, -1, backwards.shape[-1]))], dim=-1)

    def _run(self, vectors, suffix, hidden, cell):
        """One direction, `(R, T, D)` to `(R, T, H)`."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(self.lstm, f"{name}_{suffix}") for name in names]
        if torch.compiler.is_exporting():  # the one call would be unrolled, for the one length that the tracer sees
            from torch._higher_order_ops.scan import scan

            def step(state, vector):
                state = torch.lstm_cell(vector, state, *weights)
                return state, state[0].clone()

            return scan(step, (hidden, cell), vectors.transpose(0, 1))[1].transpose(0, 1)
        # has biases, 1 layer, no dropout, not both directions, batch first
        state = (hidden[None], cell[None])
        return torch.lstm(vectors, state, weights, True, 1, 0.0, self.training, False, True)[0]


__all__ = ["CIMHABiLSTM"]
