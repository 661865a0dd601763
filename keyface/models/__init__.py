"""Networks by name: backbones, recognizers, encoders, captioners and judges."""
