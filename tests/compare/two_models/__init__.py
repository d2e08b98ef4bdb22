"""Two models that run on the same inputs."""
