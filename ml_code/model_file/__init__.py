"""What training writes and serving opens: one ONNX file with its description."""
