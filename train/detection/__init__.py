"""The face detector: pictures composed of photographs, a small network, its loop, its figures and its export."""
