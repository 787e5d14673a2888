"""The face detector: mosaics of images to train on, a small network, its training, its evaluation and its export."""
