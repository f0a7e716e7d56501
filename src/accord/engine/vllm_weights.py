"""Ways to bring the policy's weights to a vLLM server.

adapter   the LoRA adapters alone, through /v1/load_lora_adapter in place; the server keeps the frozen body that it was started with
folder    all weights through a folder that both sides see: pause, reload, forget cached keys and values, resume
nccl      all weights from GPU to GPU through vLLM's weight-transfer API; written by its documented protocol, never run on a GPU by us

Weights are written under a temporary name and renamed, and each version has a folder of its own: a server never reads half of them.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from accord.engine.vllm_api import ServerFault, VllmServer
from accord.errors import RunError, UsageError
from accord.models.served import adapter_weights, digest_of_weights, plain_weights, write_adapter, write_whole
from accord.runtime.files import clean, new_folder

ADAPTER_NAME = "accord-policy"
"""Name of the adapter on the server."""
KEPT = 2
"""Versions whose folders stay: the newest, and the one before it, which a slow server may still be reading."""


class Way(Protocol):
    """How weights get to a server."""

    policy: Any
    """The model whose weights are brought: the policy, or its whole weights where processes shard it."""

    @property
    def name(self) -> str: ...

    @property
    def drops_weights(self) -> bool:
        """Whether a server may drop all its weights while it sleeps, since every synchronisation brings all of them."""
        ...

    def prepare(self) -> tuple[str, int]:
        """Make the policy's present weights ready for every server; return their version and their bytes."""
        ...

    def bring(self, server: VllmServer) -> None:
        """Bring the prepared weights to one server.

        Raises:
            ServerFault: the server did not take them.
        """
        ...

    def held(self, server: VllmServer) -> str | None:
        """Return the version that a server says it holds; "" for weights that we did not bring, None where it cannot tell."""
        ...

    def model(self, own: str) -> str:
        """Return the name to ask for, where ``own`` is the server's model without adapters."""
        ...

    @property
    def served(self) -> str:
        """The folder or hub name that a server is to be started on."""
        ...


@dataclass
class AdapterWay:
    """Adapters over a body that stays.

    Args:
        base: folder or hub name of the body, for the adapter's configuration.
    """

    policy: Any
    folder: Path
    base: str
    drops_weights: bool = field(default=False, init=False)
    name: str = field(default="adapter", init=False)
    version: str = field(default="", init=False)

    def prepare(self) -> tuple[str, int]:
        weights = adapter_weights(self.policy)
        self.version = digest_of_weights(weights)
        return self.version, _written(self.folder, self.version, weights, self._write)

    def _write(self, to: Path, weights: dict[str, Tensor]) -> None:
        write_adapter(to, self.policy, self.base, weights)

    def bring(self, server: VllmServer) -> None:
        body = {"lora_name": ADAPTER_NAME, "lora_path": str(self.folder / self.version), "load_inplace": True}
        server.ask("POST", "/v1/load_lora_adapter", body)

    def held(self, server: VllmServer) -> str | None:
        card = server.models().get(ADAPTER_NAME)
        return "" if card is None else Path(str(card.get("root", ""))).name

    def model(self, own: str) -> str:
        return ADAPTER_NAME

    @property
    def served(self) -> str:
        return self.base


@dataclass
class FolderWay:
    """All weights through a folder. The head is written out by its own name, so the server must have been started on such a folder."""

    policy: Any
    folder: Path
    tokenizer: Any
    dtype: torch.dtype
    drops_weights: bool = field(default=True, init=False)
    name: str = field(default="folder", init=False)
    version: str = field(default="", init=False)

    def prepare(self) -> tuple[str, int]:
        weights = plain_weights(self.policy, self.dtype)
        self.version = digest_of_weights(weights)
        return self.version, _written(self.folder, self.version, weights, self._write)

    def _write(self, to: Path, weights: dict[str, Tensor]) -> None:
        write_whole(to, self.policy, self.tokenizer, weights)

    def bring(self, server: VllmServer) -> None:
        server.ask("POST", "/pause?mode=wait")
        try:
            server.ask("POST", "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": self.served}})
            _forget_cache(server)
            server.ask("POST", "/update_weight_version", {"new_version": self.version})
        finally:
            server.ask("POST", "/resume")

    def held(self, server: VllmServer) -> str | None:
        return _weight_version(server)

    def model(self, own: str) -> str:
        return own

    @property
    def served(self) -> str:
        return str(self.folder / self.version)


@dataclass
class NcclWay:
    """All weights from GPU to GPU. Written by vLLM 0.32's protocol for trainers that do not import it; not run by us.

    The trainer is rank 0 of a private NCCL group, whose unique id goes to the server over HTTP; the server's workers are the other ranks.
    """

    policy: Any
    dtype: torch.dtype
    drops_weights: bool = field(default=True, init=False)
    name: str = field(default="nccl", init=False)
    version: str = field(default="", init=False)
    groups: dict[str, Any] = field(default_factory=dict[str, Any], init=False)
    weights: dict[str, Tensor] = field(default_factory=dict[str, Tensor], init=False)

    def __post_init__(self) -> None:
        if self.policy.device.type != "cuda":
            what = f"NCCL moves weights between GPUs, and the policy is on {self.policy.device.type}"
            raise UsageError(what, where="--sampler-sync nccl", hint="use adapter or folder")

    def prepare(self) -> tuple[str, int]:
        self.weights = plain_weights(self.policy, self.dtype)
        self.version = digest_of_weights(self.weights)
        return self.version, sum(value.numel() * value.element_size() for value in self.weights.values())

    def bring(self, server: VllmServer) -> None:
        group = self.groups.get(server.address) or self._joined(server)
        listed = {
            "names": list(self.weights),
            "dtype_names": [str(value.dtype).removeprefix("torch.") for value in self.weights.values()],
            "shapes": [list(value.shape) for value in self.weights.values()],
        }
        server.ask("POST", "/pause?mode=wait")
        try:
            server.ask("POST", "/start_weight_update")
            with ThreadPoolExecutor(1) as pool:  # the server receives while we send
                receives = pool.submit(server.ask, "POST", "/update_weights", {"update_info": listed})
                for value in self.weights.values():
                    group.broadcast(value.to(self.policy.device), 0).wait()
                receives.result()
            server.ask("POST", "/finish_weight_update", {"weight_version": self.version})
            _forget_cache(server)
        finally:
            server.ask("POST", "/resume")

    def _joined(self, server: VllmServer) -> Any:
        """Return the group that this process and a server's workers are in."""
        from torch import distributed

        torch_nccl: Any = distributed  # its stubs lack both classes
        workers = int(server.ask("GET", "/get_world_size")["world_size"])
        store = torch_nccl.HashStore()
        group: Any = torch_nccl.ProcessGroupNCCL(store, 0, 1 + workers)
        one = torch.ones(1, device=self.policy.device)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(lambda: group.allreduce(one).wait())  # makes the communicator, and with it the unique id in the store
            unique = base64.b64encode(store.get("0")).decode()
            info = {"rank_offset": 1, "world_size": 1 + workers, "nccl_unique_id_b64": unique}
            server.ask("POST", "/init_weight_transfer_engine", {"init_info": info})
            first.result()
        self.groups[server.address] = group
        return group

    def held(self, server: VllmServer) -> str | None:
        return _weight_version(server)

    def model(self, own: str) -> str:
        return own

    @property
    def served(self) -> str:
        return 'the model that the run starts from, with --weight-transfer-config \'{"backend": "nccl"}\''


def _forget_cache(server: VllmServer) -> None:
    """Drop keys and values of earlier weights. Requests are salted as well, so this frees memory rather than keeps the peace."""
    if server.ask("POST", "/reset_prefix_cache").get("success") is False:
        raise ServerFault("the prefix cache could not be reset, since requests are still running")


def _weight_version(server: VllmServer) -> str | None:
    told = server.optional("/weight_info")
    return None if told is None else str(told.get("weight_version") or "")


def _written(root: Path, version: str, weights: dict[str, Tensor], write: Callable[[Path, dict[str, Tensor]], None]) -> int:
    """Write a version into a folder of its own, whole or not at all, unless it is there; remove versions before the one before it."""
    root.mkdir(parents=True, exist_ok=True)
    clean(root)
    size = sum(value.numel() * value.element_size() for value in weights.values())
    if (root / version).is_dir():
        return size
    try:
        with new_folder(root / version) as folder:
            write(folder, weights)
    except OSError as error:
        raise RunError(f"the weights for the sampler cannot be written: {error}", where=str(root), hint="see --sampler-folder") from error
    others = sorted((path for path in root.iterdir() if path.is_dir() and path.name != version), key=lambda path: path.stat().st_mtime)
    for path in others[: -(KEPT - 1)]:
        shutil.rmtree(path, ignore_errors=True)
    return size
