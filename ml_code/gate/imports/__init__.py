"""From an ONNX file of another framework to a graph that reads and answers as the files of this project do."""
