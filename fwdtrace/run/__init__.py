"""What a command does with a spec: it is loaded, fed and recorded, and a Trace or a Comparison comes out."""
