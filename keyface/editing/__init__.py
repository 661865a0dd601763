"""The paper's inference: keyframes, attention injection, propagation; settings and editor."""
