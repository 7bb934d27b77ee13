#!/bin/sh
# Makes .venv from the hash lock and puts the project itself into it, or does nothing where that is done.
# Needs Python 3.11 or 3.12 and nothing else; PYTHON names one that is not on the path.
set -eu
cd "$(dirname "$0")/../.."

say() { echo "set-up: $*"; }
stop() { echo "set-up: $*" >&2; exit 1; }

# The versions of everything, this folder (scripts hold its path) and nothing else decide whether .venv is right.
wanted=$({ cat requirements.lock pyproject.toml "$0"; pwd; } | cksum)
stamp=.venv/set-up
[ "$(cat $stamp 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null && exit 0

# A name on the path may be a shim that runs nothing, and Debian's Python may lack venv: only what works counts.
suits() { "$1" -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.11 python3 python; do
        suits "$candidate" && { echo "$candidate"; return; }
    done
    stop "no Python 3.11 or 3.12 with venv was found; install one (Debian: python3-venv) or name it: make PYTHON=/path/to/python3.12."
}

# uv comes from the lock too, by its hashes; it then installs the rest.
install_uv() {
    python=$(find_python)
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
    sed -n '/^uv==/,/^[^ ]/{/^uv==/p;/^ /p;}' requirements.lock >.venv/uv.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock ||
        stop "uv could not be installed; see above."
}

export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1 VIRTUAL_ENV="$PWD/.venv"
suits .venv/bin/python && .venv/bin/uv --version >/dev/null 2>&1 && [ "$(cat .venv/folder 2>/dev/null)" = "$PWD" ] ||
    install_uv
pwd >.venv/folder
say "installing $(grep -c '^[a-z0-9].*==' requirements.lock) packages from requirements.lock (about a minute the first time)"
.venv/bin/uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock || stop "the packages could not be installed; see above."
.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --editable . || stop "Rapport itself could not be installed; see above."
echo "$wanted" >$stamp
say "ready"
