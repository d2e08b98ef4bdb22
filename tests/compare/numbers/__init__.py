"""How far numbers are apart."""
