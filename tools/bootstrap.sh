#!/bin/sh
# Create the virtual environment and install the lock file and the members of the workspace into it.
# Uses uv when it is on PATH; else installs uv at a pinned version; else falls back to plain pip.
# Arguments: the members' folders. Environment: PYTHON, VENV, UV_VERSION, BOOTSTRAP (auto or pip).
set -eu

say() { printf '%s\n' "$*" >&2; }

"$PYTHON" - <<'CHECK' || { say "Flotilla needs Python 3.11 or newer; set PYTHON=/path/to/python3.11 (or newer)."; exit 1; }
import sys
sys.exit(0 if sys.version_info >= (3, 11) else 1)
CHECK

# Trust what the system trusts, as pip does: many networks have a CA of their own.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"

members=""
for member in "$@"; do members="$members -e $member"; done

# Run a command; a dot every two seconds says that it goes on. The dots are in the background, not the command, since
# what is in the background does not hear Ctrl-C.
busy() {
    started=$(date +%s)
    (while sleep 2 >/dev/null 2>&1; do kill -0 $$ 2>/dev/null || exit 0; printf . >&2; done) &
    dots=$!
    status=0
    "$@" || status=$?
    kill "$dots" 2>/dev/null || :
    wait "$dots" 2>/dev/null || :
    [ $(($(date +%s) - started)) -lt 2 ] || say ""
    return "$status"
}

# Install with pip. What it says is shown when it fails, unless all of it is that there is no index.
pip_install() {
    errors="$VENV/pip-errors.log"
    busy env PIP_RETRIES="${PIP_RETRIES:-2}" "$VENV/bin/pip" install --quiet --disable-pip-version-check "$@" 2>"$errors" && return 0
    if grep -Eq "Retrying \(|Could not fetch URL" "$errors"; then
        say "The package index does not answer: check the network, or set HTTPS_PROXY to your proxy, or PIP_INDEX_URL and UV_DEFAULT_INDEX to an index that you can reach (what pip said is in $errors)."
        exit 1
    fi
    cat "$errors" >&2
    return 1
}

with_uv() {
    say "Installing with uv into $VENV (a minute or two the first time) ..."
    [ -x "$VENV/bin/python" ] || "$1" venv --quiet --python "$PYTHON" "$VENV" || return 1
    busy env VIRTUAL_ENV="$VENV" "$1" pip sync --quiet --compile-bytecode --require-hashes requirements.lock || return 1
    # shellcheck disable=SC2086
    busy env VIRTUAL_ENV="$VENV" "$1" pip install --quiet --no-deps --no-build-isolation $members
}

with_pip() {
    say "Installing with pip into $VENV (this can take some minutes) ..."
    [ -x "$VENV/bin/pip" ] || { rm -rf "$VENV"; busy "$PYTHON" -m venv "$VENV"; }
    pip_install --require-hashes -r requirements.lock || exit 1
    # shellcheck disable=SC2086
    pip_install --no-deps --no-build-isolation $members || exit 1
}

without_uv() {
    say "uv could not install (see above); trying plain pip. BOOTSTRAP=pip begins with it."
    with_pip
}

if [ "$BOOTSTRAP" = pip ]; then
    with_pip
elif command -v uv >/dev/null 2>&1; then
    with_uv uv || without_uv
else
    tool="$VENV/.uv"
    [ -x "$tool/bin/uv" ] || say "Fetching the installer (uv $UV_VERSION) ..."
    [ -x "$tool/bin/uv" ] || [ -x "$VENV/bin/pip" ] || { rm -rf "$VENV"; busy "$PYTHON" -m venv "$VENV"; }
    if [ -x "$tool/bin/uv" ] || pip_install --target "$tool" "uv==$UV_VERSION"; then
        with_uv "$tool/bin/uv" || without_uv
    else
        with_pip
    fi
fi
# Bytecode once, here: where PYTHONDONTWRITEBYTECODE is set, or the folder belongs to somebody else, each process would
# compile all it imports. pip has done so for what it installed.
for member in "$@"; do "$VENV/bin/python" -m compileall -q "$member/src"; done
say "Installed."
