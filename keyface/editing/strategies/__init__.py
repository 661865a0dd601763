"""How the keyframes' edit reaches every frame: one strategy for each value of `propagation.mode`."""
