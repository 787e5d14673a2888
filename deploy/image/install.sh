#!/bin/sh
# Installs or downloads the packages of a lock file during the build of an image:
#   install.sh LOCK install|download [OPTION of pip...]
#
# Files in /wheels are preferred. The secret pip.conf may name another package index and hold its credentials, the secret
# ca-bundle may hold certificates to trust. Neither stays in the image.
set -eu
lock=$1 verb=$2
shift 2
if [ -s /run/secrets/pip.conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip.conf; fi
if [ -s /run/secrets/ca-bundle ]; then export PIP_CERT=/run/secrets/ca-bundle; fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# the lock files are complete; some dependencies are omitted on purpose
exec python3 -m pip "$verb" --no-deps --require-hashes --only-binary :all: --find-links /wheels \
  --requirement "$lock" "$@"
