# Two commands do everything: `make demo` and `make test`; `make demo-microscope` is the demo with a virtual microscope in place of the robot.

PYTHON ?= python3.11
PIP_FLAGS = --quiet --disable-pip-version-check -c deploy/constraints.txt
.PHONY: demo demo-microscope test check coverage bench clean

demo: .venv/installed
	rm -rf demo
	.venv/bin/spherorank demo --out demo

demo-microscope: .venv/microscope
	rm -rf demo-microscope
	.venv/bin/spherorank demo --microscope --out demo-microscope

test: check .venv-dev/packages
	.venv-dev/bin/pytest -n 3 --dist worksteal --durations=50

check: .venv-dev/installed
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/ruff check .
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports

# The tests once more, which take half as long again while their lines and branches are counted.
# The count leaves out the processes that tests start.
coverage: .venv-dev/packages
	.venv-dev/bin/pytest -n 2 --dist worksteal --cov --cov-report=term-missing:skip-covered

# What README and docs quote, each a command that prints its table.
bench: .venv-dev/installed
	for file in $$(grep -l __main__ benchmarks/*.py); do name=$$(basename $$file .py); echo "== $$name"; .venv-dev/bin/python -m benchmarks.$$name; done

# The run-time installation: no torch.
.venv/installed: pyproject.toml deploy/constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install $(PIP_FLAGS) -e '.[cpu]'
	touch $@

# The same with Micro-Manager's core, which needs no hardware.
.venv/microscope: .venv/installed
	.venv/bin/pip install $(PIP_FLAGS) -e '.[cpu,micromanager]'
	touch $@

# Everything that checks and tests need, torch among it.
.venv-dev/installed: pyproject.toml deploy/constraints.txt
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/pip install $(PIP_FLAGS) -e '.[cpu,micromanager,postgresql,dev,train]'
	touch $@

# Programs that the tests run and pip cannot install; the script lists them.
.venv-dev/packages: deploy/install-debian-packages.sh | .venv-dev/installed
	deploy/install-debian-packages.sh
	touch $@

clean:
	rm -rf .venv .venv-dev demo demo-microscope build dist .pytest_cache .mypy_cache .ruff_cache
