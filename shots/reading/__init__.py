"""Reading a shot: `source.py` is what the rest of the package sees of it, the other files are its kinds."""
