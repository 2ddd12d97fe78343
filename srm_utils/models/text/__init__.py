"""The parts of the pretraining text: items, drills, skills, and talk."""
