"""Fine-tuned branches as files that diffusers reads."""
