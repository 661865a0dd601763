"""Networks in TensorFlow.js' files: weights, and whole graphs that run on torch."""

from keyface.faces.tfjs.network import GraphNetwork

__all__ = ["GraphNetwork"]
