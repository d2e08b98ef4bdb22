"""Training programs of a few kinds, in which NaN or an overflow can be planted at a step.

Each is run as a script. The line that makes it ends in `# forward` or `# backward`; every step prints
its loss and a digest of the weights, so that two runs can be compared bit for bit.
"""
