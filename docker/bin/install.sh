#!/usr/bin/env bash
# Creates .venv with every tool from hash-pinned requirements. Uses a Python 3.12 of this machine and installs its own uv.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
  echo "FAIL: $1" >&2
  exit 1
}

python=
for name in python3.12 python3 python; do
  if [[ $("$name" -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null) == "3 12" ]]; then
    python=$name
    break
  fi
done
[[ $python ]] || fail "Python: expected 3.12, found $(python3 --version 2>&1 || true); install it (Debian: python3.12 \
and python3.12-venv, macOS: brew install python@3.12, elsewhere: uv python install 3.12)"
[[ -w . ]] || fail "$PWD: expected a folder that can be written, found that it cannot; clone the repository elsewhere"

packages() { fail "packages: expected the package index to answer, found the error above; the first installation needs it"; }

echo "Installing into .venv (a minute or two the first time)"
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --require-hashes -r docker/requirements/uv.txt || packages
uv() { .venv/bin/uv pip install --quiet -p .venv/bin/python --no-deps "$@"; }
uv --require-hashes -r docker/requirements/dev.txt || packages
uv --offline -e .
touch .venv/installed
