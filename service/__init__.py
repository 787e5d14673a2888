"""The gateway: one use case behind two thin APIs, REST and gRPC."""

import os

# read when gRPC is imported, which otherwise writes to standard error what is wrong with clients' calls, past the log
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
