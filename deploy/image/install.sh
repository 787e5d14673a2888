#!/bin/sh
# While an image is built, installs one lock file, or fetches its files: install.sh LOCK install|download [OPTION...]
#
# Files in /wheels are preferred. An index other than pip's own, or its credentials, come as the secret pip.conf; a
# certificate bundle of one's own as the secret ca-bundle. Neither stays in the image.
set -eu
lock=$1 verb=$2
shift 2
if [ -s /run/secrets/pip.conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip.conf; fi
if [ -s /run/secrets/ca-bundle ]; then export PIP_CERT=/run/secrets/ca-bundle; fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# the lock files are complete: what they leave out is left out on purpose
exec python3 -m pip "$verb" --no-deps --require-hashes --only-binary :all: --find-links /wheels \
  --requirement "$lock" "$@"
