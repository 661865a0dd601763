"""From clips to numbers: scores, their store, calibration, summary."""
