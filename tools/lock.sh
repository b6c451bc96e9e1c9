#!/bin/sh
# Resolve requirements.lock anew: hashed, for every platform, without the name of any index.
# Arguments: the members' folders.
set -eu
uv=$(command -v uv || echo .venv/.uv/bin/uv)
[ -x "$uv" ] || { echo "make lock needs uv on PATH" >&2; exit 1; }
inputs=pyproject.toml
skip=""
for member in "$@"; do
    inputs="$inputs $member/pyproject.toml"
    skip="$skip --no-emit-package $(sed -n 's/^name = "\(.*\)"/\1/p' "$member/pyproject.toml")"
done
# shellcheck disable=SC2086
exec "$uv" pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet \
    --no-annotate --all-extras --group dev $skip $inputs -o requirements.lock
