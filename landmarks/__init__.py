"""The shared truth of the project: layout, crop geometry, codec and tensor contract.

Imports NumPy and OpenCV; knows no server and no torch.
"""
