"""The model file that training writes and serving opens: ONNX with its description."""
