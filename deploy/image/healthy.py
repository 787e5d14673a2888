"""The health check of images that have no curl: succeeds when a URL answers with status 200. Usage: healthy.py URL."""

import sys
from urllib.request import ProxyHandler, build_opener

try:
    # no proxy stands between a container and itself
    with build_opener(ProxyHandler({})).open(sys.argv[1], timeout=4):
        pass
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
