#!/bin/sh
# What `make` needs of the system before it can make a virtual environment: prerequisites.sh PYTHON
#
# Debian and Ubuntu leave two pieces of Python out of their python3: the venv module, and the shared library that
# Triton's Python backend loads. As root on such a system they are installed; otherwise the command is printed.
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
echo "This Python $version lacks pieces that Triton needs. On Debian or Ubuntu, type:" >&2
echo "    sudo apt-get update && sudo apt-get install $missing" >&2
exit 1
