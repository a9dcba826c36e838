"""What told a prediction: importance of ASVs and clades, contributions by sample, attention."""
