"""Who works on what: processes on any machines share a folder of claims, and need nothing else.

Nothing here imports torch.
"""
