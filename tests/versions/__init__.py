"""The tests on other versions of torch and Python than the pinned ones: `python -m tests.versions`."""
