"""The Open Inference Protocol over gRPC, imported only where GRPC=on."""
