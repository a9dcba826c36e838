"""Files and objects -> `Study` -> `Batch`.

`tables`, `readers` (sequences, trees), `metadata` and `distance_files` read; `qza` and `hdf5` are
their containers. `alignment` matches what was read by id, and `study` is the result. `tokens`,
`covariates` and `known_asvs` encode it, `splits` divides its samples, `rarefaction`, `sampler` and
`batches` make what the model reads. `studies` reads many studies as one: `study_sources` finds
their files, `study_merging` merges ASVs, `study_columns` chooses the metadata columns to learn,
and `cohorts` tells which studies share samples.
"""
