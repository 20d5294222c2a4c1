"""The whole game: iterations and trainings in turn, and what they will take."""
