"""How far numbers are apart, by how much they may be, and by what a tensor is known. Free of what runs a model."""
