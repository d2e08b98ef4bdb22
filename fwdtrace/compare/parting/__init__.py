"""Two runs with all their steps -> the first step whose result the second never has, with its line on both sides."""
