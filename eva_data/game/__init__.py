"""The whole game: iterations and trainings in turn, and plans of their costs."""
