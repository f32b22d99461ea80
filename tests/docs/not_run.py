"""The shell lines of the documentation that no test types as they stand, each with the reason."""

from __future__ import annotations

__all__ = ["NOT_RUN"]

_INDEX = "needs a package index; tests/packaging installs the package, with and without its extras' packages"
_HERE = "makes the environment; the one that runs the tests stands in its place"
_BENCH = "takes many minutes; tests/benchmark runs these options in a small size, docs/benchmarks/method.md one workload"
_PEERS = "installs other libraries from a package index, and takes many minutes; tests/benchmark runs these options in a small size"
_RESULTS = "reads files that the lines above it make in many minutes; tests/benchmark reads files of its own"
_CHECKOUT = "works in the checkout and takes minutes; tests/fuzz and tests/reliability run it in a small size"
_CHECKS = "checks the checkout, with programs of the extra dev; .ci/run does, before a change lands"
_NC = "needs nc, which not every machine has; tests/interop/test_nc_socat.py speaks with it so, where there is one"
_NAME = "no line to type, but the name of a command in a sentence"

NOT_RUN = {
    # README.md
    "python3 -m venv .venv": _HERE,
    ".venv/bin/pip install .": _INDEX,
    ".venv/bin/pip install '.[test]'": _INDEX,
    ".venv/bin/pytest": "is the tests themselves",
    ".venv/bin/pytest tests/wire tests/net": "is a part of the tests themselves",
    "twistd -n veltix --port 8443 --tls-cert cert.pem --tls-key key.pem": "needs files; docs/howto/tls.md makes some",
    "pip install '.[fast]'": _INDEX,
    "veltix bench": _BENCH,
    "veltix bench --bars": _PEERS,
    # CHANGELOG.md, docs
    "pip install '.[test]'": _INDEX,
    "pip install '.[pydantic]'": _INDEX,
    "pip install 'veltix-tx[metrics]'": _INDEX,
    "pip install '.[conduit]'": _INDEX,
    "pip install 'veltix-tx[bench]'": _INDEX,
    "pip install -e": _NAME,
    "veltix send": _NAME,
    "veltix call": _NAME,
    "veltix ping": _NAME,
    "veltix top": _NAME,
    "veltix doctor HOST:PORT": _NAME,
    "veltix wire decode": _NAME,
    "veltix listen": _NAME,
    "veltix call HOST:PORT add 1 2": "has no server; docs/howto/rpc.md calls one",
    "veltix methods": _NAME,
    "veltix token new": _NAME,
    "veltix backplane --listen unix:/run/veltix/backplane.sock": "serves until it is ended; tests/process/test_backplane.py does",
    "veltix backplane": _NAME,
    "veltix nodes": _NAME,
    "veltix rooms": _NAME,
    "veltix members": _NAME,
    "twistd veltix --backplane": _NAME,
    "pip install 'veltix-tx[redis]'": _INDEX,
    "twistd veltix --log-connections": _NAME,
    "twistd veltix --workers N": _NAME,
    "twistd veltix --workers 2": _NAME,
    "twistd veltix --admin tcp:9100": _NAME,
    "python -m twisted": _NAME,
    "twistd veltix --config veltix.toml": "has no file; docs/howto/configure.md makes one",
    "twistd veltix --port": _NAME,
    "twistd veltix --tokens FILE": _NAME,
    "pytest -n 0": _NAME,
    "pip install 'veltix-tx[tls]'": _INDEX,
    "python -m veltix_tx.benchmark": _BENCH,
    "python docs/generate.py": "rewrites the checkout; tests/docs/test_docs.py calls it",
    # docs/howto/lines.md
    "printf 'PANEL 4711\\nBEAT\\n' | nc -N 127.0.0.1 8070": _NC,
    "echo '17.5' | nc -u -w1 127.0.0.1 8075": _NC,
    # docs/howto/many-processes.md
    "python 21_kill_a_node.py redis://127.0.0.1:8079": "needs the examples; tests/docs/test_examples.py types it in their folder",
    # docs/index.md, docs/contributing.md
    "pip install '.[docs]'": _INDEX,
    "pip install -e '.[dev]'": _INDEX,
    "ruff check .": _CHECKS,
    "ruff format .": _CHECKS,
    "mypy": _CHECKS,
    "lint-imports": _CHECKS,
    "sphinx-build -W --keep-going docs docs/_build": _CHECKS,
    "pytest": "is the tests themselves",
    "pytest tests/wire tests/net -n 0": "is a part of the tests themselves",
    ".ci/run": "runs the tests themselves, in environments of its own",
    ".ci/release": "makes and checks a release in environments of its own, which takes minutes; it was run when it was written",
    "twistd --reactor": _NAME,
    "twistd --reactor asyncio": _NAME,
    "twistd veltix": _NAME,
    "twistd veltix --app": _NAME,
    # docs/benchmarks/method.md
    "veltix bench --only table --wire 15 22 --peers compiled pure asyncio veltix-3.3.0 floor --rounds 3 --bars --json run.json --plot run.png --page run.md": _PEERS,  # noqa: E501
    "veltix bench --compare ../another-checkout": _PEERS,
    "veltix bench --bars --only receive echo_64 --rounds 9": _PEERS,
    "veltix bench --only echo pipeline growth --peers veltix-3.3.0 asyncio uvloop --rounds 5": _PEERS,
    "veltix bench --show run.json --bars": _RESULTS,
    "veltix bench --compare before.json after.json": _RESULTS,
    "veltix bench --profile --only receive pipeline_64": _BENCH,
    # docs/benchmarks
    "veltix bench --profile --only receive oneway pipeline_64 broadcast_1 large_1_echo churn --scale 3": _BENCH,
    "veltix bench --only table --wire 15 22 --peers compiled pure asyncio veltix-3.3.0 floor --bars --rounds 3 --json full-run.json --plot docs/benchmarks/full-run.png --page docs/benchmarks/full-run.md": _PEERS,  # noqa: E501
    # docs/topics/fuzzing.md
    "VELTIX_EXAMPLES=20000 pytest tests/wire/veltix/test_states.py tests/doors/test_server_model.py": _CHECKOUT,
    "python tests/programs/fuzz.py": _CHECKOUT,
    "python tests/programs/fuzz.py --seconds 600": _CHECKOUT,
    "python tests/programs/fuzz.py --seconds 600 --target server-handshake": _CHECKOUT,
    "python tests/programs/fuzz.py --target server-handshake --input FILE": _CHECKOUT,
    # docs/topics/reliability.md
    "python tests/programs/canary.py": _CHECKOUT,
    "python tests/programs/canary.py --storm connects garbage": _CHECKOUT,
    "python tests/programs/canary.py --untimed": _CHECKOUT,
    "python tests/programs/canary.py --untimed --scale 0.1": _CHECKOUT,
    "python tests/programs/soak.py --seconds 600": _CHECKOUT,
    "python tests/programs/kills.py": _CHECKOUT,
    "python tests/programs/drain.py": _CHECKOUT,
    "python tests/programs/link.py": _CHECKOUT,
    "python tests/programs/replies.py": _CHECKOUT,
    "python tests/programs/nodes.py": _CHECKOUT,
}
"""Line, or part of one in front of ``&&`` -> why no test types it."""
