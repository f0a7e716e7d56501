"""A small server that speaks the routes of vLLM 0.32 that training uses, over our own engine, and that can lie.

It is a real server on loopback: a process of its own would do the same. Adapters are read by peft and weights by ``load_causal_lm`` from
the folders that it is told, so what was written is read by somebody else.
"""

from __future__ import annotations

import asyncio
import copy
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from accord.engine.local import LocalSampler
from accord.models.adapters import with_adapter
from accord.models.folders import load_causal_lm
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.records import Sampling

FP32 = torch.float32


@dataclass
class Lies:
    """What the server does wrong; nothing, as it begins."""

    stale: bool = False
    """Answers 200 to new weights, and keeps the old ones."""
    stale_head: bool = False
    """Takes new weights except those of the head."""
    half: bool = False
    """Takes the weights of the first half of the layers."""
    old_adapter: bool = False
    """Loads the first adapter that it was ever told, whatever it is told."""
    no_ids: bool = False
    no_logprobs: bool = False
    nan: bool = False
    raw_logprobs: bool = False
    """Log-probabilities of the bare logits, as without --logprobs-mode processed_logprobs."""
    fails: int = 0
    """So many of the next requests for responses are answered by 500."""
    slow: float = 0.0
    """Seconds before a response."""
    drips: bool = False
    """Sends a byte now and then, and never the end."""
    short: bool = False
    """Fewer responses than asked for."""
    cut: bool = False
    """Responses that end early, without a stop token."""
    vocabulary: int = 0
    """Refuses tokens from this one on."""
    tokenizer: bool = False
    """Other token ids for a text."""
    noise: float = 0.0
    """Log-probabilities are off by this, as in another precision."""


@dataclass
class StandIn:
    """The server's state."""

    folder: Path
    stop: list[int] = field(default_factory=list[int])
    version: str = "0.32.0"
    lies: Lies = field(default_factory=Lies)
    weight_version: str = "default"
    asked: list[str] = field(default_factory=list[str])
    salts: set[str] = field(default_factory=set[str])
    address: str = ""
    encode: Any = None

    def __post_init__(self) -> None:
        self.model: Any = load_causal_lm(self.folder)
        self.adapters: dict[str, tuple[Path, Any]] = {}
        self.loaded: list[Path] = []
        self.lock = threading.Lock()
        self.asleep = False

    def forget(self) -> None:
        """Begin anew, as a server does that was restarted."""
        self.__post_init__()
        self.weight_version = "default"

    def named(self, name: str) -> Any:
        return self.adapters[name][1] if name in self.adapters else self.model

    def load_adapter(self, name: str, path: Path) -> None:
        self.loaded.append(path)
        if self.lies.stale and name in self.adapters:
            self.adapters[name] = (path, self.adapters[name][1])
            return
        taken = self.loaded[0] if self.lies.old_adapter else path
        self.adapters[name] = (path, with_adapter(copy.deepcopy(self.model), taken))

    def reload(self, path: Path) -> None:
        if self.lies.stale:
            return
        new = load_causal_lm(path)
        old, kept = self.model.state_dict(), new.state_dict()
        layers = self.model.config.num_hidden_layers
        for name, value in kept.items():
            late = any(name.startswith(f"model.layers.{i}.") for i in range(layers // 2, layers))
            if (self.lies.stale_head and "lm_head" in name) or (self.lies.half and late):
                value.copy_(old[name])
        self.model = new


def app_of(state: StandIn) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def note(request: Request, go: Any) -> Any:
        state.asked.append(request.url.path)
        return await go(request)

    @app.get("/health")
    async def health() -> Response:
        return Response()

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": state.version}

    @app.get("/weight_info")
    async def weight_info() -> dict[str, str]:
        return {"weight_version": state.weight_version}

    @app.post("/update_weight_version")
    async def update(request: Request) -> dict[str, Any]:
        state.weight_version = (await request.json())["new_version"]
        return {"success": True}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        own = {"id": "own", "root": str(state.folder), "parent": None, "max_model_len": state.model.config.max_position_embeddings}
        more = [{"id": name, "root": str(path), "parent": "own", "max_model_len": None} for name, (path, _) in state.adapters.items()]
        return {"data": [own, *more]}

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Any:
        if state.encode is None:
            return JSONResponse({"error": {"message": "no tokenizer"}}, 404)
        ids = state.encode((await request.json())["prompt"])
        return {"tokens": ids[::-1] if state.lies.tokenizer else ids}

    @app.post("/v1/load_lora_adapter")
    def load(body: dict[str, Any]) -> Any:
        if body["lora_name"] in state.adapters and not body.get("load_inplace"):
            return JSONResponse({"error": {"message": "already loaded"}}, 400)
        state.load_adapter(body["lora_name"], Path(body["lora_path"]))
        return Response(f"Success: LoRA adapter '{body['lora_name']}' added successfully.")

    @app.post("/pause")
    async def pause() -> dict[str, str]:
        return {"status": "paused"}

    @app.post("/resume")
    async def resume() -> dict[str, str]:
        return {"status": "resumed"}

    @app.post("/collective_rpc")
    def rpc(body: dict[str, Any]) -> dict[str, Any]:
        assert body["method"] == "reload_weights"
        state.reload(Path(body["kwargs"]["weights_path"]))
        return {"results": [None]}

    @app.post("/reset_prefix_cache")
    async def reset() -> dict[str, bool]:
        return {"success": True}

    @app.post("/sleep")
    async def sleep(level: int = 1) -> dict[str, str]:
        state.asleep = True
        if level == 2:
            with torch.no_grad():
                for value in state.model.state_dict().values():
                    value.zero_()
        return {"status": "sleeping"}

    @app.post("/wake_up")
    async def wake(tags: str = "") -> dict[str, str]:
        state.asleep = state.asleep and tags == "weights"
        return {"status": "awake"}

    @app.post("/v1/completions")
    async def completions(request: Request) -> Any:
        body = await request.json()
        lies = state.lies
        if lies.slow:
            await asyncio.sleep(lies.slow)
        if state.asleep:
            return JSONResponse({"error": {"message": "the engine sleeps"}}, 500)
        if body["model"] != "own" and body["model"] not in state.adapters:
            return JSONResponse({"error": {"message": f"The model `{body['model']}` does not exist."}}, 404)
        if max(body["prompt"]) >= (lies.vocabulary or state.model.config.vocab_size):
            return JSONResponse({"error": {"message": f"Token id {max(body['prompt'])} is out of vocabulary"}}, 400)
        if lies.fails and "stop_token_ids" in body:
            lies.fails -= 1
            return JSONResponse({"error": {"message": "a worker failed"}}, 500)
        if lies.drips:
            return _stream()
        return await asyncio.to_thread(_completed, state, body)

    return app


def _stream() -> Any:
    from fastapi.responses import StreamingResponse

    async def bytes_now_and_then() -> Any:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    return StreamingResponse(bytes_now_and_then(), media_type="application/json")


@torch.no_grad()
def _completed(state: StandIn, body: dict[str, Any]) -> dict[str, Any]:
    lies, prompt = state.lies, body["prompt"]
    with state.lock:
        model = state.named(body["model"])
        state.salts.add(body.get("cache_salt", ""))
        if body.get("prompt_logprobs") is not None:
            scores = logprobs(model, pack([prompt]), dtype=FP32)[0].tolist()
            rows = [None, *({str(id): {"logprob": score + lies.noise}} for id, score in zip(prompt[1:], scores, strict=True))]
            return {"model": body["model"], "choices": [{"index": 0, "text": "", "prompt_logprobs": rows, "token_ids": None}]}
        sampling = Sampling(temperature=body["temperature"], top_p=body["top_p"], top_k=body["top_k"], max_tokens=body["max_tokens"])
        sampler = LocalSampler(model, stop=body["stop_token_ids"], dtype=FP32)
        drawn = sampler.sample([prompt], n=body["n"], sampling=sampling, generator=torch.Generator().manual_seed(body["seed"]))
        rows = drawn.rows()
        told = [row[: len(ids)].tolist() for row, ids in zip(drawn.logprobs, rows, strict=True)]
        if lies.raw_logprobs:
            told = [logprobs(model, pack([[*prompt, *ids]], [len(ids)]), dtype=FP32)[0].tolist() for ids in rows]
    choices: list[dict[str, Any]] = []
    for index, (ids, values) in enumerate(zip(rows, told, strict=True)):
        if lies.cut:
            ids, values = ids[:1], values[:1]
            ids = [next(id for id in range(2, 40) if id not in body["stop_token_ids"])]
        numbers = [value + lies.noise for value in values]
        if lies.nan:
            numbers[0] = None
        choice = {"index": index, "text": "", "prompt_token_ids": prompt, "token_ids": None if lies.no_ids else ids}
        choices.append(choice | {"logprobs": None if lies.no_logprobs else {"token_logprobs": numbers}})
    return {"model": body["model"], "choices": choices[: -1 if lies.short else None][::-1]}


@contextmanager
def serving(state: StandIn, port: int = 0) -> Iterator[StandIn]:
    """Serve on a port of loopback, by default a free one, while the block runs."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app_of(state), host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    state.address = f"http://127.0.0.1:{port}"
    state.stop_now = lambda: (setattr(server, "should_exit", True), setattr(server, "force_exit", True), thread.join(10))  # type: ignore[attr-defined]
    try:
        yield state
    finally:
        state.stop_now()  # type: ignore[attr-defined]


def main(words: list[str]) -> None:
    """Serve a folder as `vllm serve FOLDER --port PORT ...` would."""
    import os

    print(f"pid {os.getpid()} {' '.join(f'{name}={os.environ.get(name)}' for name in ENVIRONMENT)}", flush=True)
    assert words[0] == "serve", words
    state = StandIn(Path(words[1]))
    uvicorn.run(app_of(state), host="127.0.0.1", port=int(words[words.index("--port") + 1]), log_level="error")


ENVIRONMENT = ("VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING")

if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
