"""The shared truth of the project: layout, crop geometry, codec and tensor contract.

Imports NumPy only (`landmarks.crop` adds OpenCV when it touches pixels); knows no server and no torch.
"""
