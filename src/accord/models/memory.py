"""How much memory training takes, by formula from a model's config.json: no weights are loaded.

A plan is a sum of parts at the moment when it is largest. Its moments are: opening the models, drawing responses, the start and the end
of a backward pass, and the optimiser's step. docs/memory.md compares its sums with measured peaks. It assumes that

- weights are float32, those under four-bit adapters 4.5 bits; gradients and AdamW's two moments are float32, Muon's one is;
- a pass is as large as ``micro_tokens`` allows, its rows as long as ``max_tokens``, so that shorter texts take less;
- attention stores its inputs and its output, and never tokens by tokens;
- a pass without gradients takes less than one with them, which have the same tokens;
- the allocator and the libraries take a fifth more than the tensors, about what was measured on a CPU. Freed memory is kept there, so
  that the peak stays until the process ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from accord.models.paths import path_of
from accord.models.plain_head import TILE
from accord.models.policy import CHUNK_ELEMENTS
from accord.models.quantised import BLOCK
from accord.runtime.model_files import model_files

FLOAT = 4
FOUR_BITS = 0.5 + FLOAT / BLOCK
"""Bytes of a weight in four bits with its share of a scale."""
PROCESS = {"cpu": 0.62e9, "gpu": 0.5e9}
"""Bytes of a process before it opens a model: on a CPU Python, torch and transformers, on a GPU the context of its libraries."""
ALLOCATOR = 0.2
"""Share of the tensors that the allocator takes beside them."""
SCALAR = ("reward", "process")
"""Methods that train a model with one number instead of a vocabulary."""
SAMPLED = ("ppo", "grpo", "rloo", "reinforce", "raft", "online-dpo", "star")
PLANNED = ("sft", "reward", "process", "dpo", "kto", *SAMPLED, "distill")
"""Methods whose memory is planned."""
CACHE_BYTES = 8 << 30
"""The most that the engine's keys and values take. It is a constant, so that no result depends on what memory is free."""
CONTEXT = 2048
"""The most that a ``max_tokens`` of 0 stands for."""
PROMPT_TOKENS = 256
"""Length of a prompt where nothing is known of the prompts."""
RESPONSES = 4
"""Responses in a ranking where nothing is known of the rankings."""


@dataclass(frozen=True)
class Shape:
    """A language model's sizes, in weights where nothing else is said."""

    matrices: int
    """The linear layers of the body: they are cast, quantised and adapted."""
    experts: int
    """Experts' matrices, which are neither adapted nor quantised."""
    embedding: int
    head: int
    """0 when it is the embedding."""
    others: int
    """Norms and biases."""
    sides: int
    """Inputs and outputs of all linear layers: an adapter has rank times as many weights."""
    layers: int
    width: int
    inner: int
    """Width of the MLP."""
    queries: int
    keys: int
    """Width of a token's keys, and of its values."""
    heads: int
    vocabulary: int
    chosen: int
    """Experts per token; 0 without experts."""
    context: int
    """Longest sequence; 0 when the configuration sets no limit."""
    fused: bool
    """Whether Accord's own forward pass serves it."""
    gated: bool
    stored: float
    """Bytes of a weight in its files."""

    @property
    def body(self) -> int:
        return self.matrices + self.experts + self.embedding + self.others

    @property
    def weights(self) -> int:
        return self.body + self.head


@dataclass(frozen=True)
class Load:
    """What is asked of the models: a method with its settings and the lengths of its texts."""

    method: str
    config: Any
    dtype_bytes: int = 2
    """Of the matrix products."""
    device: str = "cpu"
    prompt_tokens: int = PROMPT_TOKENS
    responses: int = RESPONSES
    """Responses in a ranking."""
    reward_models: int = 1
    teacher: Shape | None = None
    """The model that `accord distill` learns from; without one it is taken to be as large as the student."""
    context: int = CONTEXT
    """Longest sequence of the model, which a ``max_tokens`` of 0 stands for."""
    optimizer: str = ""
    """adamw or muon; by default as the settings say."""
    processes: int = 1
    """Processes that divide the rows; the plan is one process's."""
    room: float = 0.0
    """Memory of a process in bytes, by which ``shard`` auto decides; 0 when it is not known, and then nothing is sharded by auto."""

    def asked(self, name: str, default: Any = 0) -> Any:
        return getattr(self.config, name, default)

    @property
    def muon(self) -> bool:
        return self.optimizer == "muon" if self.optimizer else bool(self.asked("muon_lr"))

    @property
    def rows(self) -> int:
        """Sequences of an optimiser step."""
        rows = self.asked("minibatch_size") or self.config.batch_size
        return rows * self.per_prompt

    @property
    def own_rows(self) -> int:
        """Sequences of an optimiser step that a process computes; those of one ranking stay together."""
        return math.ceil(self.rows / (self.processes * self.per_prompt)) * self.per_prompt

    @property
    def per_prompt(self) -> int:
        """Sequences that must share a pass: all of a ranking, or a pair."""
        extra = 1 if self.method == "reward" and self.asked("mismatched") > 0 else 0
        if self.method == "online-dpo":
            return 2
        return self.responses + extra if self.method in ("reward", "dpo") else 1

    @property
    def length(self) -> int:
        """Tokens of a sequence."""
        return (self.config.max_tokens or self.context) + (self.prompt_tokens if self.method in (*SAMPLED, "distill") else 0)

    @property
    def tokens(self) -> int:
        """Tokens of the largest pass."""
        a_group = self.per_prompt * self.length
        groups = max(1, min(self.config.micro_tokens, self.own_rows * self.length) // a_group)
        return max(groups * a_group, self.raw_text)

    @property
    def raw_text(self) -> int:
        """Tokens of the pass over raw text that is mixed into a step."""
        mixed = self.method == "sft" or (self.method == "ppo" and self.asked("ptx_coef") > 0)
        return math.ceil(self.asked("ptx_tokens") / self.processes) if mixed else 0

    @property
    def passes(self) -> int:
        """Forward and backward passes that an optimiser step takes, one over raw text among them."""
        return math.ceil(self.own_rows * self.length / self.tokens) + (self.raw_text > 0)


@dataclass(frozen=True)
class Plan:
    """The bytes of each part at the moment that takes most, and the sum at every moment."""

    method: str
    moment: str
    parts: Mapping[str, float]
    moments: Mapping[str, float]
    advice: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    """Settings to change, the cheapest first, each with the bytes that it saves by itself."""

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def line(self) -> str:
        """Say in one line what will be taken."""
        largest = sorted(self.parts, key=lambda name: -self.parts[name])[:3]
        shown = ", ".join(f"{name} {gigabytes(self.parts[name])}" for name in largest)
        return f"memory: about {gigabytes(self.total)} at most ({shown})"


def gigabytes(size: float) -> str:
    """Return bytes as text, in GB of 10^9 bytes."""
    return f"{size / 1e9:.2f} GB" if size < 10e9 else f"{size / 1e9:.0f} GB"


def shape_of(source: str | Path) -> Shape:
    """Read a model's sizes from its config.json. The model is built without memory, on the meta device.

    Raises:
        ModelError: there is no model, or its architecture is unknown.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    from accord.errors import ModelError
    from accord.models.weights import check_sizes

    files = model_files(source)
    extra = {"gguf_file": files.gguf} if files.gguf else {}
    try:
        config = AutoConfig.from_pretrained(files.source, trust_remote_code=False, **extra)
        check_sizes(cast("dict[str, Any]", config.to_dict()), files.named)
        with torch.device("meta"):
            model: Any = cast("Any", AutoModelForCausalLM).from_config(config, trust_remote_code=False)
    except ModelError:
        raise
    except Exception as error:  # transformers and the hub each raise their own kinds
        what = f"its sizes cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}"
        raise ModelError(what, where=files.named, hint="give the folder of a Hugging Face model, or its name on a hub") from error
    return shape_in(model)


def shape_in(model: Any) -> Shape:
    """Count a language model's sizes. It may lie on the meta device."""
    from transformers.pytorch_utils import Conv1D

    config, body = model.config.get_text_config(), model.base_model
    linear = [module for module in body.modules() if isinstance(module, nn.Linear | Conv1D)]
    matrices = sum(module.weight.numel() for module in linear)
    embedding = sum(module.weight.numel() for module in body.modules() if isinstance(module, nn.Embedding))
    experts = sum(p.numel() for name, p in body.named_parameters() if "experts" in name and p.ndim == 3)
    total = sum(p.numel() for p in body.parameters())
    head = model.get_output_embeddings().weight
    own = all(head is not p for p in body.parameters()) and not getattr(config, "tie_word_embeddings", False)
    heads = config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    stored = getattr(config, "dtype", None) or torch.float32
    return Shape(
        matrices=matrices,
        experts=experts,
        embedding=embedding,
        head=head.numel() if own else 0,
        others=total - matrices - embedding - experts,
        sides=sum(sum(module.weight.shape) for module in linear),
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        inner=_inner(config),
        queries=heads * dim,
        keys=(getattr(config, "num_key_value_heads", None) or heads) * dim,
        heads=heads,
        vocabulary=len(head),
        chosen=(getattr(config, "num_experts_per_tok", 0) or 0) if experts else 0,
        context=int(getattr(config, "max_position_embeddings", 0) or 0),
        fused=path_of(body) == "fused",
        gated=any("gate" in name for name, _ in body.named_parameters()),
        stored=torch.finfo(stored).bits / 8 if isinstance(stored, torch.dtype) else FLOAT,
    )


def _inner(config: Any) -> int:
    for name in ("moe_intermediate_size", "intermediate_size", "n_inner", "ffn_dim"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    return 4 * config.hidden_size


def plan(shape: Shape, load: Load, *, advise: bool = False) -> Plan:
    """Return the memory that training takes.

    Args:
        advise: also try the settings that make it smaller.
    """
    load = replace(load, context=min(shape.context or CONTEXT, CONTEXT))
    moments = {name: parts | _allocator(parts) for name, parts in _moments(shape, load)}
    sums = {name: sum(parts.values()) for name, parts in moments.items()}
    largest = max(sums, key=lambda name: sums[name])
    parts = {name: size for name, size in moments[largest].items() if size > 0}
    found = Plan(load.method, largest, parts, sums)
    return replace(found, advice=_advice(shape, load, found.total)) if advise else found


def too_large(held: float, learned: float, room: float) -> bool:
    """Return whether a model takes more than half of a process's memory, so that processes shard it unless they are told otherwise.

    Args:
        held: bytes of its weights. learned: weights that have a gradient and AdamW's two moments beside them.
    """
    return held + 3 * FLOAT * learned > room / 2


def _sharded(shape: Shape, load: Load) -> bool:
    """Return whether the processes shard the weights."""
    shard = load.asked("shard", "replicate")
    if load.processes == 1 or shard != "auto":
        return load.processes > 1 and shard == "full"
    four_bits = shape.matrices * (FOUR_BITS if load.asked("lora_bits") else FLOAT)
    held = four_bits + FLOAT * (shape.weights - shape.matrices)
    return bool(load.room) and too_large(held, 0 if load.asked("lora_rank") else shape.weights, load.room)


def _allocator(parts: Mapping[str, float]) -> dict[str, float]:
    return {"allocator": ALLOCATOR * sum(size for name, size in parts.items() if name not in ("process", "a model's file"))}


def _moments(shape: Shape, load: Load) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each moment with its parts."""
    rank, bits = load.asked("lora_rank"), load.asked("lora_bits")
    share = 1 / load.processes if _sharded(shape, load) else 1.0
    actors, critics = int(load.method not in SCALAR), int(load.method in (*SCALAR, "ppo"))
    whole = shape.matrices * FOUR_BITS if bits else 0.0  # four-bit weights are buffers: every process holds all of them
    lm, scalar = (FLOAT * (total - (shape.matrices if bits else 0)) for total in (shape.weights, shape.body + shape.width))
    adapters = rank * shape.sides
    learned = (adapters if rank else shape.weights) * actors + (adapters + shape.width if rank else shape.body + shape.width) * critics
    twice = 1 if rank else 2

    def weights(size: float, trained: float = 0.0) -> float:
        return whole + share * (size + FLOAT * trained)

    held = {"policy": weights(lm, adapters) if actors else 0.0}
    if load.method in SCALAR:
        held |= {"reward model": weights(scalar, adapters), "head of the language model": FLOAT * shape.head}
    elif load.method in SAMPLED and load.method != "star":
        held |= {"reference": (twice - 1) * weights(lm)}
        shared = 1 if load.method == "ppo" and rank else 0  # the value model lies over the reward model
        held |= {"value model": weights(scalar, adapters) if load.method == "ppo" else 0.0}
        held |= {"reward models": max(load.reward_models - shared, 0) * weights(scalar)}
    teacher = load.teacher or shape
    if load.method == "distill":
        quantised = teacher.matrices if load.asked("teacher_bits") else 0
        held |= {"teacher": FOUR_BITS * quantised + FLOAT * (teacher.weights - quantised)}
    if load.asked("ema") or (load.method in ("star", "raft") and load.asked("restart")):
        held |= {"copy of the policy": FLOAT * share * (adapters if rank else shape.weights)}
    base = {"process": PROCESS["cpu" if load.device == "cpu" else "gpu"]}
    trained = (adapters if rank else shape.matrices) * (actors + critics)
    moments_of = {"optimizer": FLOAT * share * (2 * learned - (trained if load.muon else 0))}
    gradients = {"gradients": FLOAT * share * learned}

    files = [shape.weights * shape.stored, teacher.weights * teacher.stored if load.method == "distill" else 0]
    largest = max(files) if load.device == "cpu" else 0.0
    unsharded = {"a model before it is sharded": (1 - share) * lm}
    yield "opening the models", base | held | unsharded | {"a model's file": largest}
    models = actors + critics
    work = _pass(shape, load, models) | ({"teacher's pass": _read(teacher, load)} if load.method == "distill" else {})
    head = FLOAT * shape.vocabulary * shape.width * (actors if not rank else 0)
    several = load.passes > 1
    gathered = {"gathered weights": _gathered(shape, load) if share < 1 else 0.0}
    started = base | held | moments_of | (gradients if several else {}) | work | gathered | {"gradient of the head": head}
    yield "the backward pass begins", started
    ends = {"gradient of the head": 2 * head, "casts": work["casts"] / max(shape.layers, 1)}
    yield "the backward pass ends", base | held | moments_of | gradients | gathered | ends
    draws = load.method == "distill" and (load.asked("on_policy") > 0 or load.asked("otherwise") == "teacher")
    if load.method in SAMPLED or draws:
        drawing = {"gathered weights": (1 - share) * lm}
        yield "drawing responses", base | held | moments_of | drawing | _drawing(shape, load)


def _gathered(shape: Shape, load: Load) -> float:
    """Return what a process gathers of a sharded model at a time: embedding and head, the block that computes and the next one, and the
    whole gradient of a block before the processes divide it."""
    rank, block = load.asked("lora_rank"), (0 if load.asked("lora_bits") else shape.matrices + shape.experts) / max(shape.layers, 1)
    return FLOAT * (shape.embedding + shape.head + 2 * block + (0 if rank else block))


def _pass(shape: Shape, load: Load, models: int) -> dict[str, float]:
    """Return what the forward pass leaves for the backward pass, and what its first layer back takes, for models that go together."""
    tokens, cast, again, rank = load.tokens, load.dtype_bytes, load.asked("recompute"), load.asked("lora_rank")
    of_layer = _kept_per_token(shape, cast)
    kept = FLOAT * shape.width * shape.layers + of_layer if again else of_layer * shape.layers
    outside = 8 * shape.width + 2 * cast * shape.width + FLOAT * shape.width + 160
    back = cast * 3 * shape.inner + 8 * shape.width
    layer = shape.matrices / shape.layers
    casts = _casts(shape, load)
    if again:
        casts = casts / shape.layers
    gradient = 0 if rank else layer * (cast + (FLOAT if cast != FLOAT else 0))
    head = cast * shape.vocabulary * shape.width if cast != FLOAT else 0
    with_head = load.method not in SCALAR
    tiles = CHUNK_ELEMENTS * (3 * FLOAT + cast) if with_head else 0
    a_token = 3 * FLOAT + cast
    if load.method == "distill":  # two models' logits and log-probabilities, and what the divergence makes of them
        tiles, a_token = TILE * 8 * FLOAT, 8 * FLOAT
    return {
        "activations": models * tokens * (kept + outside) + tokens * back,
        "casts": models * casts + (head if with_head else 0),
        "one layer's gradient": gradient,
        "logits": min(tiles, tokens * shape.vocabulary * a_token),
    }


def _read(shape: Shape, load: Load) -> float:
    """Return what a model takes that reads a pass without gradients: a layer's states, and its weights as the products take them."""
    cast = load.dtype_bytes
    layer = 12 * shape.width + cast * 4 * shape.inner + FLOAT * (2 * shape.queries + 2 * shape.keys)
    casts = cast * (shape.matrices + shape.vocabulary * shape.width) if cast != FLOAT else 0
    return float(load.tokens * layer + casts)


def _casts(shape: Shape, load: Load) -> float:
    """Return the bytes of all weights of a body as the matrix products take them, where those are copies."""
    if load.dtype_bytes != FLOAT or load.asked("lora_rank"):
        return load.dtype_bytes * shape.matrices if shape.fused or load.dtype_bytes != FLOAT or load.asked("lora_bits") else 0.0
    fused = shape.width * (shape.queries + 2 * shape.keys + 2 * shape.inner)
    return float(FLOAT * shape.layers * fused) if shape.fused else 0.0


def _kept_per_token(shape: Shape, cast: int) -> float:
    """Return the bytes that a layer keeps of a token; docs/memory.md derives each term."""
    width, inner = shape.width, shape.inner
    attention = shape.queries + 2 * shape.keys
    if shape.fused:
        return (8 + 2 * cast) * width + FLOAT * (attention + shape.queries + shape.heads) + cast * (shape.queries + 4 * inner)
    states = (16 if shape.gated else 8) * width + 16 + 2 * cast * width
    own = cast * (attention + 2 * shape.queries) + FLOAT * shape.heads
    if shape.chosen:  # experts are not cast
        return states + own + shape.chosen * (16 * inner + 8 * width)
    return states + own + cast * (4 if shape.gated else 5) * inner


def _drawing(shape: Shape, load: Load) -> dict[str, float]:
    """Return what drawing responses takes: cast weights, keys and values, and the prompts' own pass."""
    cast = load.dtype_bytes
    group = load.asked("group_size", 1) if load.method in ("grpo", "rloo", "reinforce", "online-dpo") else 1
    prompts = math.ceil(load.config.batch_size // group / load.processes)
    rows = prompts * group * (load.asked("group_size", 1) if load.method == "raft" else load.asked("attempts", 1))
    copies = cast * shape.matrices if shape.fused and cast != FLOAT else _casts(shape, load)
    head = cast * shape.vocabulary * shape.width if cast != FLOAT else 0
    held = FLOAT if load.device == "cpu" else cast
    cache = rows * load.length * 2 * held * shape.layers * shape.keys
    reading = prompts * load.prompt_tokens * (12 * shape.width + cast * 4 * shape.inner + FLOAT * (2 * shape.queries + 2 * shape.keys))
    return {
        "casts": copies + head,
        "keys and values": min(float(cache), CACHE_BYTES),
        "prompts": float(reading),
        "logits": 3 * FLOAT * rows * shape.vocabulary,
    }


def _advice(shape: Shape, load: Load, total: float) -> list[tuple[str, float]]:
    """Return the settings that make training smaller, the cheapest first, each with the bytes that it saves by itself."""
    config, steps = load.config, list[tuple[str, dict[str, Any]]]()
    least = load.per_prompt * load.length
    if load.tokens > 2 * least:
        smaller = max(least, 2 ** int(math.log2(load.tokens / 4)))
        steps.append((f"--micro-tokens {smaller}: the same gradients in more passes", {"micro_tokens": smaller}))
    if not load.asked("recompute"):
        steps.append(("--recompute: the same gradients, about a fifth more time", {"recompute": True}))
    if load.method in SAMPLED and config.batch_size > 8:
        half = config.batch_size // (2 * load.asked("group_size", 1)) * load.asked("group_size", 1) or config.batch_size
        most = half // config.group_size if load.method == "online-dpo" else half  # its minibatches are of pairs
        rows = {"minibatch_size": min(load.asked("minibatch_size", most), most)} if load.asked("minibatch_size") else {}
        steps.append((f"--batch-size {half}: fewer responses at a time, which changes what is learned", {"batch_size": half, **rows}))
    if load.method == "distill" and not load.asked("teacher_bits"):
        steps.append(("--teacher-bits 4: the teacher's weights in four bits", {"teacher_bits": 4}))
    if not load.asked("lora_rank"):
        steps.append(("--lora-rank 16: adapters instead of all weights", {"lora_rank": 16}))
        steps.append(("--lora-rank 16 --lora-bits 4: adapters on weights in four bits", {"lora_rank": 16, "lora_bits": 4}))
    elif not load.asked("lora_bits"):
        steps.append(("--lora-bits 4: the frozen weights in four bits", {"lora_bits": 4}))
    found, everything = list[tuple[str, float]](), dict[str, Any]()
    for text, change in steps:
        saved = total - plan(shape, replace(load, config=replace(config, **change))).total
        if saved > 0.01 * total:
            found.append((text, saved))
            everything |= {} if "batch_size" in change else change
    if len(found) > 1:
        found.append(("all of these, the batch as it is", total - plan(shape, replace(load, config=replace(config, **everything))).total))
    return found
