"""A folder for PYTHONPATH: its `sitecustomize` makes torchvision importable beside a CPU build of torch."""
