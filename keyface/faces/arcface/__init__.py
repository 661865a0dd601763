"""ArcFace and CosFace from ONNX files."""
