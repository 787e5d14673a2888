#!/bin/sh
# Builds images with BuildKit: deploy/build.sh TARGET...   (targets: gateway triton triton-cpu train wheels)
#
# From the environment, all optional:
#   BASE_IMAGE TRITON_IMAGE   base images, for example from your own registry, or with a digest
#   PIP_INDEX_URL             a package index without credentials
#   PIP_CONF CA_BUNDLE        files: pip's configuration with credentials, certificates to trust; no image keeps them
#   PIP_NO_INDEX=1            only packages from deploy/wheels/
#   TORCH                     cuda or cpu: the build of PyTorch in the target train
#   WHEELS_IMAGE LOCKS        for the target wheels: the image whose Python is used, and the lock files
#   IMAGE_PREFIX TAG          prefix and tag of the images' names [h3r-landmarks/ latest]
#   BUILD_OPTIONS             additional options of docker build
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }

set_option() { [ -z "$2" ] || options="$options $1$2"; }
options=${BUILD_OPTIONS:-}
for name in BASE_IMAGE TRITON_IMAGE WHEELS_IMAGE PIP_INDEX_URL PIP_NO_INDEX TORCH; do
  eval "set_option '--build-arg $name=' \"\${$name:-}\""
done
set_option --secret\ id=pip.conf,src= "${PIP_CONF:-}"
set_option --secret\ id=ca-bundle,src= "${CA_BUNDLE:-}"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
created=$(git show --no-patch --format=%cI HEAD 2>/dev/null || echo unknown)

for target; do
  if [ "$target" = wheels ]; then result="--output deploy/wheels"
  else result="--tag ${IMAGE_PREFIX:-h3r-landmarks/}$target:${TAG:-latest}"; fi
  echo "building $target ..." >&2
  # shellcheck disable=SC2086 # several options
  DOCKER_BUILDKIT=1 "${DOCKER:-docker}" build $options ${LOCKS:+--build-arg "LOCKS=$LOCKS"} \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created" \
    --target "$target" $result .
done

case " $* " in *" triton-cpu "*)
  grep -qs '^COMPOSE_FILE=' .env ||
    echo "without a GPU: echo COMPOSE_FILE=docker-compose.yml:deploy/compose.cpu.yml >> .env, then docker compose up" >&2
esac
