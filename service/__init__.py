"""The gateway: one use case behind two thin APIs, REST and gRPC."""
