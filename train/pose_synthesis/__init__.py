"""Synthesizes images of faces in large poses with a 3-D face model: a data set to train on or to test on."""
