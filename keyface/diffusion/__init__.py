"""The diffusion model: its parts and files, noise schedule, inversion, sampling, guidance."""
