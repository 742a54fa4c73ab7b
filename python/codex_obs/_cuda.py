"""Tensors on a GPU: a copy to pinned memory on a stream of its own, and an event that says when it is there.

Not tested on a GPU, so it is used only if `deferred="cuda"` asks for it.
"""

from __future__ import annotations

import sys
from typing import Any

# By device.
_streams: dict[Any, Any] = {}


class Copy:
    """The number that a tensor held when it was logged, once the GPU has come that far."""

    def __init__(self, host: Any, event: Any) -> None:  # noqa: ANN401 - PyTorch is not installed
        self._host = host
        self._event = event
        self.shape = host.shape
        self.dtype = host.dtype

    def is_ready(self) -> bool:
        """Whether the number has arrived."""
        return bool(self._event.query())

    def item(self) -> object:
        """Return the number, for which it waits."""
        self._event.synchronize()
        return self._host.item()


def copied(tensor: Any) -> Copy | None:  # noqa: ANN401 - as above
    """Begin to copy a tensor of one element. None for any other, and where nothing may be copied."""
    torch = sys.modules["torch"]
    is_plain = type(tensor) is torch.Tensor or type(tensor) is torch.nn.Parameter
    if not is_plain or tensor.numel() != 1 or torch.cuda.is_current_stream_capturing():
        return None
    device = tensor.device
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)
    stream = _streams[device]
    with torch.no_grad():
        # In order with what the program does to the tensor, so that a later change in place is not seen.
        kept = tensor.detach().clone()
        host = torch.empty(kept.shape, dtype=kept.dtype, pin_memory=True)
        event = torch.cuda.Event()
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            host.copy_(kept, non_blocking=True)
            event.record(stream)
        # Its memory is not given to another tensor before the copy is done.
        kept.record_stream(stream)
    return Copy(host, event)
