"""The Open Inference Protocol over gRPC, imported only where GRPC=on."""

import os

# A replica does not fork. gRPC reads this when it is imported; its own preparation would warn in the log.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
