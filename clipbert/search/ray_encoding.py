# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""
Videos read and encoded on a cluster of Ray, whose machines may come and go.

    numbers of files --tasks read--> inputs of segments --a pool of actors encodes--> rows, which the one who asks commits

Ray Data streams between both and holds readers back when encoders are slower. What is lost with a machine is read again; what was committed is
not asked for again, since the index is asked first which videos it has.
"""

import pickle
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from clipbert.search.adding import Encoded, SegmentInputs, SegmentStream, encode_segments
from clipbert.search.distilled import DistilledEncoder
from clipbert.search.models import load_encoder, load_reranker
from clipbert.search.protocols import FingerprintError, SearchIndexError
from clipbert.search.settings import ModelSettings


ITEM = "item"


class Reading:
    """A task: the files of some numbers, one item after the other."""

    def __init__(self, stream: SegmentStream):
        self.stream = stream

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for number in batch["number"].tolist():
            for item in self.stream.read_video(number):
                yield _pack([item])


class Encoding:
    """An actor: loads the models by their names, on its GPU if it has one."""

    def __init__(self, models: Mapping[str, ModelSettings | None], heads: bytes | None):
        loaders = {"encoder": load_encoder, "reranker": load_reranker}
        self.readers = [self._load(loaders[role], made_with) for role, made_with in models.items()]
        # those who sent them have said that they may be used
        self.heads = None if heads is None else DistilledEncoder.from_bytes(heads, self.readers[1], min_first_kept=0.0)

    @staticmethod
    def _load(load: Callable[..., Any], made_with: ModelSettings | None) -> Any:
        if made_with is None:
            return None
        model = load(made_with.name, **made_with.options)
        if model.fingerprint != made_with.fingerprint:
            raise FingerprintError(
                f"{made_with.name} is another model on {socket.gethostname()}: expected {made_with.fingerprint[:12]}."
            )
        return model

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        items = [pickle.loads(content) for content in batch[ITEM]]  # of our own tasks
        waiting = [place for place, item in enumerate(items) if isinstance(item, SegmentInputs)]
        if waiting:
            made = encode_segments(self.readers, self.heads, [items[place].inputs for place in waiting])
            for place, (encoded, clips) in zip(waiting, made, strict=True):
                items[place] = Encoded(items[place].number, items[place].segment, encoded, clips)
        return _pack(items)


def _pack(items: Sequence[Any]) -> dict[str, np.ndarray]:
    packed = np.empty(len(items), dtype=object)
    packed[:] = [pickle.dumps(item) for item in items]
    return {ITEM: packed}


def encode_with_ray(
    stream: SegmentStream,
    models: Mapping[str, ModelSettings | None],
    heads: bytes | None,
    num_encoders: int,
    batch_size: int,
) -> Iterator[Any]:
    """
    Headers, encoded segments and failures of videos, in order.

    Args:
        stream ([`SegmentStream`]): Reads the files.
        models (`dict`): By `"encoder"` and `"reranker"`, in this order: names that every machine of the cluster knows, or `None`.
        heads (`bytes`, *optional*): What distillation left.
        num_encoders (`int`): Actors. Where there are GPUs each takes one; else they share all processors but one, on which files are read: a pool
            that took all of them would wait for ever.
        batch_size (`int`): Items that go to an actor at once.

    Raises:
        ImportError: If Ray is not installed.
        SearchIndexError: If there are fewer GPUs than actors.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("ray_encoders needs Ray: pip install 'clipbert[ray]'") from error
    if num_encoders < 1:
        raise SearchIndexError(f"ray_encoders: expected at least 1, got {num_encoders}.")
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    resources = ray.cluster_resources()
    cpus, gpus = resources.get("CPU", 1), int(resources.get("GPU", 0))
    if gpus and num_encoders > gpus:
        raise SearchIndexError(f"ray_encoders: expected at most {gpus}, the GPUs of the cluster, got {num_encoders}.")
    share = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": min(1.0, max(cpus - 1, 0.5) / num_encoders)}
    numbers = ray.data.from_items(
        [{"number": number} for number in range(len(stream.files))], override_num_blocks=len(stream.files)
    )
    numbers.context.execution_options.preserve_order = True  # a header comes before its segments
    numbers.context.enable_progress_bars = False  # ours tells the videos
    items = numbers.map_batches(Reading(stream), batch_size=1, num_cpus=min(1.0, cpus / 2)).map_batches(
        Encoding,
        fn_constructor_args=(models, heads),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=num_encoders),
        **share,
    )
    for row in items.iter_rows():
        yield pickle.loads(row[ITEM])


__all__ = ["encode_with_ray"]
