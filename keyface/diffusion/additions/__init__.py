"""What users add to a model: LoRAs, words by textual inversion, ControlNets, IP-Adapters for faces."""
