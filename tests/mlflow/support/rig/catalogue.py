"""All faults, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rig.status_faults import STATUS_FAULTS
from rig.transport_faults import TRANSPORT_FAULTS

if TYPE_CHECKING:
    from rig.fault import Fault

FAULTS = TRANSPORT_FAULTS + STATUS_FAULTS


def fault_named(name: str) -> Fault:
    """Give one of them."""
    return next(fault for fault in FAULTS if fault.name == name)
