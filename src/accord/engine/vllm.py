"""vLLM as sampler: responses by one or several servers, which are brought the policy's weights and made to prove that they have them.

The algorithms see a ``protocols.Sampler``. Weights are brought when the next responses are drawn, once for each version. Then four fixed
sequences are scored by the server and by the policy. How far the two differ is learned at the first time, where both are known to be equal
but for rounding; from then on, a difference of more than a small multiple of it means other weights, and stops the run. A server that
fails is brought the weights again and proven before it is asked again; what it owed is drawn by the others meanwhile.

accord never imports vllm: the server lives in an environment of its own.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.engine.vllm_api import Choice, ServerFault, VllmServer
from accord.engine.vllm_weights import Way
from accord.errors import InputError, RunError, UsageError
from accord.models.decoder import context_of
from accord.models.packing import pack
from accord.models.policy import logprobs
from accord.records import Generation, Sampling
from accord.runtime.files import append, write_atomic
from accord.runtime.seeds import generator as stream

TESTED = "0.32"
"""The version of vLLM that this was run with."""
SEQUENCES, LENGTH = 4, 32
"""Number and length of the fixed sequences that are scored by both sides."""
MULTIPLE = 4.0
"""A gap above this multiple of the one learned at the first time means other weights."""
SIDE_BY_SIDE = 128
"""Requests that one server gets at once; it batches them itself."""
TRIES = 3
"""How often a request, a synchronisation or a server that does not answer is tried."""


@dataclass(frozen=True)
class Gap:
    """How far two sides' log-probabilities of fixed sequences differ: the worst sequence's mean per token, and the worst whole sequence."""

    token: float
    sequence: float

    def __le__(self, other: Gap) -> bool:
        return self.token <= other.token and self.sequence <= other.sequence

    def times(self, factor: float) -> Gap:
        return Gap(factor * self.token, factor * self.sequence)

    def at_least(self, other: Gap) -> Gap:
        return Gap(max(self.token, other.token), max(self.sequence, other.sequence))

    def __str__(self) -> str:
        return f"{self.token:.2g} per token, {self.sequence:.2g} per sequence"

    @classmethod
    def between(cls, ours: Sequence[Tensor], theirs: Sequence[Sequence[float]]) -> Gap:
        """Return the gap of sequences scored by both sides."""
        apart = [torch.tensor(scores, dtype=torch.float64) - own.double() for own, scores in zip(ours, theirs, strict=True)]
        return cls(max(float(row.abs().mean()) for row in apart), max(float(row.sum().abs()) for row in apart))


def floor_of(dtype: torch.dtype) -> Gap:
    """Return the least gap that is ever taken as learned: rounding can be small by luck at the first time, and is not always."""
    token = 2e-6 if dtype == torch.float32 else 2e-3
    return Gap(token, token * LENGTH / 2)


def widest_start(dtype: torch.dtype) -> float:
    """Return the widest gap per token that rounding explains at the first time. Other weights, another model or precision give more."""
    return 1e-3 if dtype == torch.float32 else 0.1


@dataclass
class Spent:
    """What synchronisation has cost so far."""

    times: int = 0
    seconds: float = 0.0
    bytes: int = 0
    faults: int = 0
    """Requests and synchronisations that were tried again."""
    widest: Gap = Gap(0.0, 0.0)


@dataclass
class _Seat:
    """A server while a run uses it."""

    server: VllmServer
    own: str
    """Name of its model without adapters."""
    asks: str
    """Name that is asked for."""
    version: str = ""
    """The weights that it has proven to have."""
    brought: bool = False
    """Whether it was brought them, or had them from the start."""
    checked: bool = False
    """Whether it was seen to tell log-probabilities at the sampling temperature."""
    down: threading.Event = field(default_factory=threading.Event)
    asleep: bool = False


class VllmSampler:
    """Sampler by vLLM servers, see the module.

    Args:
        way: how the policy's weights get to the servers.
        policy: the model in training, or one that stays.
        stop: token ids that end a response.
        dtype: of the trainer's matrix products; the server computes in the same.
        folder: where the run notes synchronisations (syncs.jsonl) and the learned gap (gap.json).
        training: refuse samplings that learning from samples cannot undo: top-p, top-k, min-p, repetition penalty.
        gather: returns the whole weights of a policy that processes shard, as they are now; all processes call it together, and so
            ``refresh`` does. ``policy`` is what it returned last.
        encode: turns text into our token ids, to compare the server's tokenizer.
        revive: starts a server of ours that is gone; returns False where it is not ours.
        sleep: let servers give back the GPU's memory between rollouts, where trainer and server share one.
        note: writes a remark into the run's log.
    """

    foreign = True

    def __init__(
        self,
        servers: Sequence[VllmServer],
        way: Way,
        *,
        policy: Any,
        stop: Sequence[int],
        dtype: torch.dtype,
        folder: Path,
        training: bool = True,
        gather: Callable[[], Any] | None = None,
        encode: Callable[[str], list[int]] | None = None,
        revive: Callable[[VllmServer], bool] | None = None,
        sleep: bool = False,
        note: Callable[[str], None] = lambda _: None,
        pause: float = 1.0,
    ) -> None:
        if getattr(policy, "guide", None):
            what = "a model that a Q network guides is sampled by the local engine alone"
            raise UsageError(what, where="--sampler", hint="--sampler local")
        self.way, self.policy, self.stop, self.dtype, self.folder, self.note = way, policy, list(stop), dtype, folder, note
        self.gather = gather
        self.training, self.revive, self.sleep, self.pause = training, revive, sleep, pause
        self.vocabulary = int(policy.get_input_embeddings().weight.shape[0])
        self.context = context_of(policy)
        self.spent = Spent()
        self.stale = True
        self.version, self.bytes = "", 0
        self.probes = fixed_sequences(self.vocabulary, min(LENGTH, (self.context or LENGTH + 1) - 1))
        self.ours = list[Tensor]()
        self.learned = _read_gap(folder / "gap.json", dtype)
        self.servers = list(servers)
        try:
            self.seats = [self._seat(server) for server in servers]
            self._check_alike(encode)
        except BaseException:
            self.close()
            raise

    # -- protocols.Sampler -------------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Note that the weights changed. They are brought to the servers when the next responses are drawn."""
        if self.gather:
            self.policy = self.way.policy = self.gather()
        self.stale = True

    def bring(self) -> None:
        """Bring the servers the policy's present weights now; what is drawn next comes from them, whatever the policy learns meanwhile.

        Raises:
            RunError: a server has other weights and keeps them.
        """
        self._synchronise()

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, sampling: Sampling, generator: torch.Generator) -> Generation:
        """Draw n responses for each prompt; see ``protocols.Sampler``.

        Raises:
            InputError: a prompt leaves no room for a response.
            UsageError: the sampling has filters that learning cannot undo.
            RunError: no server is left, or one has other weights than the policy and keeps them.
        """
        self._check_sampling(sampling)
        room = self._room(prompts, sampling.limit(self.context))
        seeds: list[int] = torch.randint(2**62, (len(prompts),), generator=generator).tolist()
        began = time.perf_counter()
        self._synchronise()
        synced = time.perf_counter()

        def ask(seat: _Seat, row: int) -> list[Choice]:
            found = seat.server.draw(
                prompts[row],
                n=n,
                sampling=sampling,
                seed=seeds[row],
                max_tokens=room[row],
                stop=self.stop,
                model=seat.asks,
                salt=self.version,
            )
            if (highest := max(max(choice.tokens) for choice in found)) >= self.vocabulary:
                raise ServerFault(f"token {highest} of a vocabulary of {self.vocabulary}")
            return found

        drawn, by = self._all(ask, [len(prompt) + n * limit for prompt, limit in zip(prompts, room, strict=True)])
        self._rest()
        choices = [choice for row in range(len(prompts)) for choice in drawn[row]]
        seconds = {"sync": synced - began, "prefill": 0.0, "decode": time.perf_counter() - synced}
        return _generation(choices, seconds, self.version, sorted(set(by.values())))

    def close(self) -> None:
        """Close the connections."""
        for server in self.servers:
            server.client.close()

    # -- drawing -----------------------------------------------------------------------------------------------------------------------

    def _all(self, ask: Callable[[_Seat, int], list[Choice]], work: Sequence[int]) -> tuple[dict[int, list[Choice]], dict[int, str]]:
        """Return the responses to all prompts, and the server that drew each: dealt out by work, again as long as some are missing."""
        done, by = dict[int, list[Choice]](), dict[int, str]()
        failed = 0
        while waiting := [row for row in range(len(work)) if row not in done]:
            up = self._up()
            problems = list[ServerFault]()
            with ThreadPoolExecutor(SIDE_BY_SIDE * len(up)) as pool:
                dealt = [(row, seat, pool.submit(self._one, ask, seat, row)) for row, seat in deal(waiting, work, up)]
                try:
                    answers = [(row, seat, answer.result()) for row, seat, answer in dealt]
                except BaseException:
                    for seat in up:
                        seat.down.set()  # the requests that still wait are given up at once
                    raise
            holding = {id(seat): self._holds(seat) for seat in up}
            for row, seat, answer in answers:
                if isinstance(answer, ServerFault):
                    problems.append(answer)
                elif holding[id(seat)]:
                    done[row], by[row] = answer, seat.server.address
            for seat in up:
                if not holding[id(seat)] and not seat.down.is_set():
                    problems.append(ServerFault("has other weights after drawing than before"))
                    self._lost(seat, problems[-1])
            failed = failed + 1 if problems else 0
            if problems and failed >= TRIES:
                raise self._given_up(str(problems[-1]))
        return done, by

    def _one(self, ask: Callable[[_Seat, int], list[Choice]], seat: _Seat, row: int) -> list[Choice] | ServerFault:
        """Ask one server for one prompt's responses, several times where the answer cannot be used."""
        problem = ServerFault("is gone", gone=True)
        for number in range(TRIES):
            if seat.down.is_set():
                return problem
            try:
                return ask(seat, row)
            except ServerFault as fault:
                problem = fault
                self.spent.faults += 1
                if fault.gone:
                    self._lost(seat, fault)
                    return fault
            time.sleep(self.pause * number)
        return problem

    def _lost(self, seat: _Seat, fault: ServerFault) -> None:
        """Mark a server as one that must prove itself again."""
        if not seat.down.is_set():
            self.note(f"vLLM at {seat.server.address}: {fault}")
        seat.version = ""
        seat.down.set()

    def _up(self) -> list[_Seat]:
        """Return the servers that answer and have proven to have the weights; those that were lost get the chance to."""
        for seat in self.seats:
            if seat.down.is_set() and not self._back(seat):
                self.note(f"vLLM at {seat.server.address} is not back; the others go on")
        up = [seat for seat in self.seats if not seat.down.is_set()]
        if not up:
            raise self._given_up("no server answers")
        return up

    def _back(self, seat: _Seat) -> bool:
        """Return whether a lost server is back, once it was brought the weights and proved them."""
        for number in range(TRIES):
            time.sleep(self.pause * number)
            with suppress(ServerFault, RunError):
                if not self._answers(seat.server) and not (self.revive and self.revive(seat.server)):
                    continue
                seat.asleep = False
                self._bring(seat)
                seat.down.clear()
                self.note(f"vLLM at {seat.server.address} is back with the weights {self.version}")
                return True
        return False

    def _answers(self, server: VllmServer) -> bool:
        try:
            server.ask("GET", "/health", seconds=10.0)
        except (ServerFault, RunError):
            return False
        return True

    def _holds(self, seat: _Seat) -> bool:
        """Return whether a server still has the weights that it was brought; one that cannot tell is believed."""
        if seat.down.is_set() or not seat.brought:
            return True  # what it answered before it was lost was drawn from proven weights
        try:
            held = self.way.held(seat.server)
        except (ServerFault, RunError):
            return True
        return held is None or held == seat.version

    def _given_up(self, problem: str) -> RunError:
        where = ", ".join(seat.server.address for seat in self.seats)
        return RunError(f"vLLM: {problem}", where=where, hint="look at the server's log, start it again, and continue with --resume")

    # -- weights -----------------------------------------------------------------------------------------------------------------------

    def _synchronise(self) -> None:
        """Bring the policy's weights to every server that is up and has others, and have each prove them."""
        if self.stale:
            began = time.perf_counter()
            self.version, self.bytes = self.way.prepare()
            self.spent.seconds += time.perf_counter() - began
            self.ours, self.stale = self._scored(), False
        for seat in self.seats:
            if seat.down.is_set():
                continue  # it gets its chance when responses are dealt out
            try:
                self._wake(seat)
                if seat.version != self.version:
                    self._bring(seat)
                self._wake_caches(seat)
            except ServerFault as fault:
                self._lost(seat, fault)

    @torch.no_grad()
    def _scored(self) -> list[Tensor]:
        """Return the policy's log-probabilities of the fixed sequences."""
        batch = pack(self.probes).to(self.policy.device)
        flat, _ = logprobs(self.policy, batch, dtype=self.dtype)
        return [row.clone() for row in flat.cpu().split([len(row) - 1 for row in self.probes])]

    def _bring(self, seat: _Seat) -> None:
        """Bring a server the prepared weights until it proves that it has them.

        Raises:
            RunError: it takes them and keeps other ones, or refuses them.
            ServerFault: it does not answer.
        """
        began, problem = time.perf_counter(), ""
        if not seat.brought and not seat.version and self._has_them_already(seat):
            return self._proven(seat, self._gap(seat), began, way="none")
        for number in range(TRIES):
            time.sleep(self.pause * number)
            try:
                self.way.bring(seat.server)
                self._wake_caches(seat)  # a sequence is scored with keys and values
            except ServerFault as fault:
                self.spent.faults += 1
                if fault.gone:
                    raise
                problem = str(fault)
                continue
            seat.asks, seat.brought = self.way.model(seat.own), True
            gap = self._gap(seat)
            if gap <= self._limit():
                return self._proven(seat, gap, began, way=self.way.name)
            problem = f"it was brought the weights {self.version} and has others: a gap of {gap}, where {self._limit()} is allowed"
            self.note(f"vLLM at {seat.server.address}: {problem}")
        hint = f"continue with --resume and another --sampler-sync, or start the server on {self.way.served} (docs/vllm.md)"
        raise RunError(f"vLLM: {problem}", where=seat.server.address, hint=hint)

    def _has_them_already(self, seat: _Seat) -> bool:
        """Return whether a server was started on the very weights that the policy has."""
        seat.asks = seat.own
        return self._gap(seat).token <= self._limit().token

    def _gap(self, seat: _Seat) -> Gap:
        return Gap.between(self.ours, [seat.server.scores(row, model=seat.asks, salt=self.version) for row in self.probes])

    def _limit(self) -> Gap:
        """Return the widest gap that is allowed: at first what rounding explains, later a small multiple of what it was."""
        if self.learned is None:
            start = widest_start(self.dtype)
            return Gap(start, start * LENGTH)
        return self.learned.times(MULTIPLE)

    def _proven(self, seat: _Seat, gap: Gap, began: float, way: str) -> None:
        """Note that a server has the weights, and learn the gap at the first time."""
        if self.learned is None:
            self.learned = gap.at_least(floor_of(self.dtype))
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / "gap.json", json.dumps({str(self.dtype): asdict(self.learned)}, indent=2) + "\n")
        self._check_processed(seat)
        seat.version = self.version
        seconds, size = time.perf_counter() - began, 0 if way == "none" else self.bytes
        self.spent.times, self.spent.seconds, self.spent.bytes = self.spent.times + 1, self.spent.seconds + seconds, self.spent.bytes + size
        self.spent.widest = self.spent.widest.at_least(gap)
        row = {"weights": self.version, "server": seat.server.address, "way": way, "bytes": size, "seconds": round(seconds, 4)}
        append(self.folder / "syncs.jsonl", json.dumps(row | {"gap": asdict(gap), "limit": asdict(self._limit())}) + "\n")

    def _check_processed(self, seat: _Seat) -> None:
        """Refuse a server that tells the log-probabilities of the bare logits where the temperature is not 1.

        Raises:
            RunError: it does.
        """
        if seat.checked:
            return
        prompt, half = self.probes[0][:4], Sampling(temperature=0.5)
        drawn = seat.server.draw(prompt, n=1, sampling=half, seed=1, max_tokens=4, stop=self.stop, model=seat.asks, salt=self.version)[0]
        batch = pack([[*prompt, *drawn.tokens]], [len(drawn.tokens)]).to(self.policy.device)
        with torch.no_grad():
            ours = logprobs(self.policy, batch, dtype=self.dtype, temperature=0.5)[0].cpu()
        gap = Gap.between([ours], [drawn.logprobs])
        if gap.token > widest_start(self.dtype):
            what = f"log-probabilities at temperature 0.5 are {gap.token:.2g} per token from the policy's, while those at 1 agree"
            raise RunError(what, where=seat.server.address, hint="start the server with --logprobs-mode processed_logprobs")
        seat.checked = True

    def metrics(self) -> dict[str, float]:
        """Return what synchronisation has cost, for the run's summary."""
        spent = self.spent
        costs = {"syncs": spent.times, "sync_seconds": round(spent.seconds, 3), "sync_bytes": spent.bytes, "sampler_faults": spent.faults}
        return costs | {"sync_gap": spent.widest.token, "sync_gap_sequence": spent.widest.sequence}

    # -- a GPU that trainer and server share -------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        """Let the servers give back the GPU's memory, if they share it with the trainer."""
        for seat in self.seats if self.sleep else ():
            with suppress(ServerFault):
                seat.server.ask("POST", f"/sleep?level={2 if self.way.drops_weights else 1}")
                seat.asleep = True

    def _wake(self, seat: _Seat) -> None:
        """Wake a server's weights. Where it dropped them, it is brought them again, whatever it had."""
        if seat.asleep:
            seat.server.ask("POST", "/wake_up?tags=weights")
            if self.way.drops_weights:
                seat.version, seat.brought = "", True

    def _wake_caches(self, seat: _Seat) -> None:
        if seat.asleep:
            seat.server.ask("POST", "/wake_up?tags=kv_cache")
            seat.asleep = False

    # -- checks ------------------------------------------------------------------------------------------------------------------------

    def _seat(self, server: VllmServer) -> _Seat:
        """Return a server's seat, once it answers and serves one model of ours.

        Raises:
            RunError: it does not answer, or serves no model.
        """
        try:
            served = server.models()
        except ServerFault as fault:
            hint = "is it running, and is the address right? `--sampler vllm` starts one"
            raise RunError(f"the vLLM server does not answer: {fault}", where=server.address, hint=hint) from fault
        own: list[str] = [name for name, card in served.items() if not card.get("parent")]
        if not own:
            raise RunError("the server serves no model", where=server.address, hint="is it a vLLM server?")
        context = int(served[own[0]].get("max_model_len") or 0)
        if context and (not self.context or context < self.context):
            self.context = context
        return _Seat(server, own[0], own[0])

    def _check_alike(self, encode: Callable[[str], list[int]] | None) -> None:
        """Refuse servers that differ from each other or from us in version, vocabulary or tokenizer.

        Raises:
            RunError: they do; the error names the server.
        """
        versions = {seat.server.address: seat.server.version() for seat in self.seats}
        if len(set(versions.values())) > 1:
            told = ", ".join(f"{address} has {version or 'none'}" for address, version in versions.items())
            raise RunError(f"the servers are of different versions of vLLM: {told}", hint="start all of them with one version")
        version = next(iter(versions.values()))
        if not version.startswith(f"{TESTED}."):
            self.note(f"vLLM {version or 'of an unknown version'}; this was tested with {TESTED}")
        for seat in self.seats:
            server, highest = seat.server, self.vocabulary - 1
            try:
                server.scores([highest // 2, highest], model=seat.own, salt="accord")
            except RunError as error:
                what = f"the server does not know our token {highest}: {error.what}"
                raise RunError(what, where=server.address, hint="serve the model that the run starts from") from error
            except ServerFault as fault:
                raise RunError(f"the vLLM server cannot score a sequence: {fault}", where=server.address) from fault
            if encode and (theirs := _tokenised(server, seat.own, TEXT)) is not None and theirs != encode(TEXT):
                what = "the server's tokenizer gives other token ids than the model's"
                raise RunError(what, where=server.address, hint="serve the model that the run starts from, with its tokenizer")

    def _check_sampling(self, sampling: Sampling) -> None:
        neutral = Sampling()
        named = ("top_p", "top_k", "min_p", "repetition_penalty")
        filtered = [name for name in named if getattr(sampling, name) != getattr(neutral, name)]
        if self.training and (filtered or sampling.temperature <= 0):
            what = f"a policy cannot learn from samples with {filtered[0] if filtered else 'temperature 0'}"
            raise UsageError(what, where="vLLM", hint="a filter changes probabilities in a way that the trainer does not see")

    def _room(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[int]:
        """Return the longest response that each prompt leaves room for, in our context and the server's."""
        if not self.context:
            return [max_tokens] * len(prompts)
        for number, prompt in enumerate(prompts):
            if len(prompt) >= self.context:
                what = f"the prompt has {len(prompt)} tokens, the server's context {self.context}"
                raise InputError(
                    what, where=f"prompt {number}", hint="start the server with a longer --max-model-len, or shorten the prompt"
                )
        return [min(max_tokens, self.context - len(prompt)) for prompt in prompts]


TEXT = "Who keeps the mill?\n  The miller, 1,234 times; größer, 问题, \u0441\u043b\u043e\u0432\u043e."
"""A text that most pairs of tokenizers cut differently."""


def _tokenised(server: VllmServer, model: str, text: str) -> list[int] | None:
    """Return the server's token ids of a text; None from one that has no tokenizer."""
    try:
        told = server.ask("POST", "/tokenize", {"model": model, "prompt": text, "add_special_tokens": False}, seconds=60.0)
    except (RunError, ServerFault):
        return None
    return [int(id) for id in told.get("tokens", [])]


def fixed_sequences(vocabulary: int, length: int) -> list[list[int]]:
    """Return the sequences that both sides score: random tokens, always the same for a vocabulary, its last token among them."""
    rows: list[list[int]] = torch.randint(vocabulary, (SEQUENCES, length), generator=stream(0, "vllm", "probe")).tolist()
    rows[0][-1] = vocabulary - 1
    return rows


def deal(rows: Sequence[int], work: Sequence[int], seats: Sequence[_Seat]) -> list[tuple[int, _Seat]]:
    """Deal prompts out to servers, the longest first, each to the server that has the least to do."""
    loads, dealt = [0] * len(seats), list[tuple[int, _Seat]]()
    for row in sorted(rows, key=lambda row: -work[row]):
        least = loads.index(min(loads))
        loads[least] += work[row]
        dealt.append((row, seats[least]))
    return dealt


def _generation(choices: Sequence[Choice], seconds: dict[str, float], version: str, servers: Sequence[str]) -> Generation:
    """Return the responses as padded tensors."""
    lengths = torch.tensor([len(choice.tokens) for choice in choices])
    keep = torch.arange(int(lengths.max())) < lengths[:, None]
    tokens, logprobs = torch.zeros(keep.shape, dtype=torch.long), torch.zeros(keep.shape)
    tokens[keep] = torch.tensor([id for choice in choices for id in choice.tokens])
    logprobs[keep] = torch.tensor([value for choice in choices for value in choice.logprobs])
    finished = torch.tensor([choice.finished for choice in choices])
    return Generation(tokens, logprobs, keep, finished, seconds, version=version, server=" ".join(servers))


def _read_gap(path: Path, dtype: torch.dtype) -> Gap | None:
    """Return the gap that the run learned at its first time, for this precision."""
    try:
        return Gap(**json.loads(path.read_text("utf-8"))[str(dtype)])
    except (OSError, ValueError, KeyError, TypeError):
        return None
