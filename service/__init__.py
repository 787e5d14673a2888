"""The gateway: one use case behind two thin doors, REST and gRPC."""
