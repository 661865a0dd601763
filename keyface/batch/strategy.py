"""How Lightning spreads processes over devices and nodes that never wait for each other."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import Tensor

Object = TypeVar("Object")


class IndependentStrategy(ParallelStrategy):
    """One process for each device, without a process group: each does its work as if it were alone.

    Lightning's own strategies for several devices join the processes by collective operations, at the start,
    at the end and wherever they agree on something. There a process that is killed takes the others with it,
    and none may come later. The clips of a batch are shared out by claims on the disk instead
    (`keyface.claims.ledger`), so that nothing has to be agreed on. Lightning's flags still say how many
    devices and nodes there are, its environments (SLURM, torchrun and others) which device is this process',
    and it starts the processes where nothing else has.

    Example:
        `lightning predict -c configs/batch.yaml --trainer.devices 8`
    """

    strategy_name = "independent"
    is_distributed = False  # no sampler of Lightning's shares the data out

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: list[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
    ) -> None:
        super().__init__(accelerator, parallel_devices, cluster_environment)
        self.num_nodes = 1

    @property
    def root_device(self) -> torch.device:
        """Return this process' device."""
        assert self.parallel_devices is not None
        return self.parallel_devices[self.local_rank]

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        assert self.parallel_devices is not None
        self._launcher = IndependentLauncher(
            self.cluster_environment, len(self.parallel_devices), self.num_nodes
        )

    def set_world_ranks(self) -> None:
        """Tell Lightning how many processes there are, and which of them this is."""
        if self.cluster_environment is None:
            return
        assert self.parallel_devices is not None
        devices = len(self.parallel_devices)
        self.cluster_environment.set_global_rank(self.node_rank * devices + self.local_rank)
        self.cluster_environment.set_world_size(self.num_nodes * devices)

    def model_to_device(self) -> None:
        """Move the module."""
        assert self.model is not None
        self.model.to(self.root_device)

    def barrier(self, name: str | None = None) -> None:
        """Wait for nobody."""

    def broadcast(self, obj: Object, src: int = 0) -> Object:
        """Return what this process has."""
        return obj

    def reduce(self, tensor: Tensor | Any, group: Any = None, reduce_op: Any = "mean") -> Tensor | Any:
        """Return what this process has."""
        return tensor

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Return what this process has."""
        return tensor

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Return what this process has decided."""
        return decision


class IndependentLauncher(_SubprocessScriptLauncher):
    """Start a process for each further device, and outlive those that end early.

    Lightning's own ends all when one ends with an error.
    """

    def launch(
        self, function: Callable[..., Any], *args: Any, trainer: Trainer | None = None, **kwargs: Any
    ) -> Any:
        """Run the function here and in the started processes; return when all have ended."""
        self.cluster_environment.validate_settings(self.num_processes, self.num_nodes)
        if not self.cluster_environment.creates_processes_externally and self.num_processes > 1:
            self._call_children_scripts()
        _set_num_threads_if_needed(self.num_processes)
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            self.kill(signal.SIGTERM)
            raise
        finally:
            for process in self.procs:
                process.wait()
