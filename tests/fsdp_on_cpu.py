# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Runs a task on CPU processes with its weights divided by FSDP2: `torchrun tests/fsdp_on_cpu.py TASK ARGUMENTS`.

Accelerate divides weights on accelerators only, although torch does it on CPUs as well. So that the real path can be
tested without any, processes on CPUs are passed off as processes on GPUs here, whose device stays the CPU.
"""

import os
import sys

from accelerate.state import PartialState
from accelerate.utils import DistributedType


def pass_off_as_gpus():
    initialise = PartialState.__init__

    def patched(self, *args, **kwargs):
        initialise(self, *args, **kwargs)
        if PartialState._shared_state.get("distributed_type") == DistributedType.MULTI_CPU:
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU

    PartialState.__init__ = patched


if __name__ == "__main__":
    if sys.argv[1] == "stub":  # the recipes name the layer of ClipBERT
        os.environ["FSDP_TRANSFORMER_CLS_TO_WRAP"] = "Linear"
    pass_off_as_gpus()
    from stub_task import StubTask

    from train_scripts.engine.task import main
    from train_scripts.pretrain import PretrainTask
    from train_scripts.retrieval import RetrievalTask

    task = {"stub": StubTask, "retrieval": RetrievalTask, "pretrain": PretrainTask}[sys.argv[1]]()
    main(task, sys.argv[2:])
