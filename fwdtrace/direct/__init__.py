"""`model(x)` against `model.forward(x)`: both run on equal copies of a model, and what differs between them."""
