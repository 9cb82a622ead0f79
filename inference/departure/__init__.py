"""How far a well is from the state that it would have reached untreated."""
