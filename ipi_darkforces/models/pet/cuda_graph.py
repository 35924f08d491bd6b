"""Work on a CUDA device, recorded once and then started as a whole: nothing is launched kernel by kernel.

This is all that needs a GPU. It follows PyTorch's notes on CUDA graphs (docs.pytorch.org/docs/stable/notes/cuda.html,
"Whole-network capture" and "Sharing memory across captures").
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...errors import DarkforcesError, one_line

_WARM_UPS = 3  # as PyTorch has it: libraries and autograd prepare themselves when they are used for the first time


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def graphs_for(device: torch.device) -> CudaGraphs | None:
    """Recordings on a device; None if it cannot record."""
    return CudaGraphs(device) if device.type == "cuda" else None


class CudaGraphs:
    """Recordings on one device. They use the same work memory, and so must not run at the same time.

    That of cuBLAS is part of it, as nothing but recordings is ever done on their stream: PyTorch keeps one for each
    stream, and lets go of it when a recording goes, whether others use it or not
    (github.com/pytorch/pytorch/issues/193402). In the shared memory it stays where it is.

    :param device: a CUDA device
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device)
        # The last one is kept, as PyTorch forgets what memory they share when none is left.
        self._last: torch.cuda.CUDAGraph | None = None

    def record(self, *works: Callable[[], None]) -> list[Callable[[], None]]:
        """Record each work, to do it again on the current stream.

        :param works: what reads and writes tensors that stay where they are, and does the same whatever is in them. A
            work may use tensors that those before it have made, and then has to be done right after these, before
            anything else that is recorded here; none of these tensors may be left after the last one
        :raises DarkforcesError: if it cannot be recorded
        """
        graphs: list[torch.cuda.CUDAGraph] = []
        try:
            with torch.cuda.device(self._device):
                for work in _WARM_UPS * works:
                    work()
                for work in works:
                    graph = torch.cuda.CUDAGraph()
                    pool = None if self._last is None else self._last.pool()
                    with torch.cuda.graph(graph, pool=pool, stream=self._stream):
                        work()
                    self._last = graph
                    graphs.append(graph)
        except RuntimeError as error:
            raise DarkforcesError(
                f"CUDA cannot record the evaluation of the model ({one_line(error)[:200]}); --backend metatomic does "
                "without"
            ) from error
        return [graph.replay for graph in graphs]
