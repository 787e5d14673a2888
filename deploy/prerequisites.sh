#!/bin/sh
# Checks that PYTHON has what `make` needs to create a virtual environment: prerequisites.sh PYTHON
#
# On Debian and Ubuntu the package python3 lacks two parts: the module venv, and the shared library that Triton's Python
# backend loads. This script installs them when it runs as root there, and otherwise prints the command.
set -u
python=$1
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

missing=""
"$python" -c 'import ensurepip' 2>/dev/null || missing="python$version-venv"
"$python" - <<'PY' 2>/dev/null || missing="$missing libpython$version"
import ctypes, sys, sysconfig
from pathlib import Path
name = "libpython%d.%d.so.1.0" % sys.version_info[:2]
folder = Path(sysconfig.get_config_var("LIBDIR") or "/nonexistent")
ctypes.CDLL(str(folder / name) if (folder / name).exists() else name)
PY
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing $missing ..."
  # shellcheck disable=SC2086 # several packages
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "This Python $version lacks parts that Triton needs. On Debian or Ubuntu, run:" >&2
echo "    sudo apt-get update && sudo apt-get install $missing" >&2
exit 1
