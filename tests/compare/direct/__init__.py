"""What `model.forward(x)` skips that `model(x)` does."""
