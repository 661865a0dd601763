"""Face geometry, recognition and regions."""
