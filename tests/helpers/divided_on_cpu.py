# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""Runs a task on CPU processes that FSDP2 divides it among: `accelerate launch ... THIS_FILE TASK ARGUMENTS`.

Accelerate does that on accelerators only, although torch does it on CPUs as well. So that the real path can
be tested without any, processes on CPUs are passed off as processes on GPUs here, whose device stays the CPU.
"""

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
    pass_off_as_gpus()
    from stub_task import StubTask

    from clipbert.train_scripts.engine.task import main
    from clipbert.train_scripts.pretrain import PretrainTask
    from clipbert.train_scripts.retrieval import RetrievalTask

    task = {"stub": StubTask, "retrieval": RetrievalTask, "pretrain": PretrainTask}[sys.argv[1]]()
    main(task, sys.argv[2:])
