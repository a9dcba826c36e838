"""Trees: Newick text -> branches of a study's features -> distances between samples."""
