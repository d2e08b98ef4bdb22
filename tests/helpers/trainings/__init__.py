"""Training programs of a few kinds, in each of which NaN or an overflow can be planted at a step.

Each is run as a script. The line that makes the first such number ends in `# forward` or `# backward`; every step prints
its loss and a digest of the weights, so that two runs can be compared bit for bit.
"""
