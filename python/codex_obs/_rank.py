"""The rank of this process and the number of ranks, beyond the variables that give the rank itself."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codex_obs._settings.ranks import first_count, local_rank
from codex_obs._settings.variables import (
    LOCAL_SIZE_VARIABLES,
    NODE_COUNT_VARIABLES,
    NODE_RANK_VARIABLES,
    SIZE_VARIABLES,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Rank:
    """What is known of a process's place among the processes of its training.

    Attributes:
        number: Its rank, or None: there are no ranks, or it is unknown.
        size: The number of ranks, or None if that is unknown.
        is_unknown: Whether it has one that cannot be determined.
        hosts: Whether they are on one host (1) or several (2), or None if that is unknown.
        address: Where they meet, if a framework knows it.
        trouble: Why a framework that the program has initialised did not say, if one failed.
    """

    number: int | None
    size: int | None
    is_unknown: bool = False
    hosts: int | None = None
    address: str | None = None
    trouble: str | None = None


def rank_of(given: int | None, environ: Mapping[str, str]) -> Rank:
    """Tell the rank of this process.

    Args:
        given: What the argument or a launcher's variable for the rank itself says.
        environ: The variables that launchers set.
    """
    number, unknown = (given, False) if given is not None else local_rank(environ)
    size = first_count(SIZE_VARIABLES, environ, low=1)
    address = trouble = None
    if number is None or size is None:
        found, trouble = _initialised_framework()
        if found is not None:
            if number is None:
                number, unknown = found.number, False
            size, address = size or found.size, found.address
    return Rank(number, size, is_unknown=unknown, hosts=_hosts(environ, size), address=address, trouble=trouble)


def _hosts(environ: Mapping[str, str], size: int | None) -> int | None:
    """Tell whether all ranks are on this host: 1, 2 for several, None if that is unknown."""
    # Of the launcher that is nearest: a job of several nodes may start a training on one of them.
    local_size = first_count(LOCAL_SIZE_VARIABLES, environ, low=1)
    if size is not None and local_size is not None:
        return 1 if local_size >= size else 2
    if first_count(NODE_RANK_VARIABLES, environ):
        return 2
    nodes = first_count(NODE_COUNT_VARIABLES, environ, low=1)
    if nodes is not None:
        return min(nodes, 2)
    return 1 if size == 1 else None


def _initialised_framework() -> tuple[Rank | None, str | None]:
    """Return what a framework says of the rank, and why one that was asked did not."""
    # Asked only where the program has imported and initialised it: a training without ranks is not to wait for either.
    trouble = None
    for name, ask in (("torch.distributed", _torch), ("jax.distributed", _jax)):
        try:
            found = ask()
        except AttributeError:
            # A version without such a question.
            continue
        except Exception as error:  # noqa: BLE001 - a framework may raise anything; the user hears of it
            trouble = trouble or f"{name} did not give this process's rank ({type(error).__name__}: {error})"
            continue
        if found is not None:
            return found, None
    return None, trouble


def _torch() -> Rank | None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return Rank(int(distributed.get_rank()), int(distributed.get_world_size()))


def _jax() -> Rank | None:
    jax = sys.modules.get("jax")
    if jax is None:
        return None
    # Its public functions start the devices; its state knows the same without. It has no promise to stay.
    state: Any = getattr(sys.modules.get("jax._src.distributed"), "global_state", None)
    if getattr(state, "client", None) is not None and isinstance(getattr(state, "process_id", None), int):
        return Rank(state.process_id, int(state.num_processes), address=state.coordinator_address)
    if not jax.distributed.is_initialized():
        return None
    return Rank(int(jax.process_index()), int(jax.process_count()))
