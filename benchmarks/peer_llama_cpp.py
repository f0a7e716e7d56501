"""llama.cpp's own server (through xllamacpp, in an environment of its own), until standard input closes.

python -m venv .bench/llama/env && .bench/llama/env/bin/pip install xllamacpp==2026.10.11549
.bench/llama/env/bin/python benchmarks/peer_llama_cpp.py ppo.gguf SLOTS CONTEXT THREADS PORT
"""

from __future__ import annotations

import sys
from typing import Any

import xllamacpp


def main() -> None:
    path, slots, context, threads = sys.argv[1], *map(int, sys.argv[2:5])
    params: Any = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel, params.n_ctx = slots, slots * context
    params.n_batch = params.n_ubatch = 2048
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_threads_http = slots + 8
    params.hostnames, params.port, params.use_jinja = ["127.0.0.1"], int(sys.argv[5]), True
    params.warmup = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
