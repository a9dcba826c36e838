"""``aam simulate``."""

from __future__ import annotations

import click

from aam_core.cli.command import command
from aam_core.cli.outputs import OutputDirectory
from aam_core.files import own_output
from aam_core.log import logger


@command("simulate")
@click.argument("out_dir", type=OutputDirectory(own_output.is_study))
@click.option("--samples", type=int, default=200, help="Number of samples.")
@click.option("--features", type=int, default=500, help="Number of ASVs, the tips of the tree.")
@click.option("--seed", type=int, default=1, help="Seed of everything random.")
@click.option(
    "--subjects",
    type=int,
    help="Number of hosts, each sampled several times.  [default: samples / 4]",
)
@click.option("--depth", type=float, default=5000, help="Median number of reads per sample.")
@click.option(
    "--effect",
    type=float,
    default=1.0,
    help="How strongly the gradient changes log abundances (0: not at all).",
)
def simulate(out_dir, **options):
    """Write a simulated study with a known signal.

    OUT_DIR receives table.biom, rep-seqs.fasta, tree.nwk and metadata.tsv. Communities depend on
    the metadata columns 'gradient' (numeric) and 'group' (case or control); 'host_subject_id' names
    the host, which is sampled more than once.
    """
    from aam_core.simulate import study as simulation

    simulation.simulate(**options).write(out_dir)
    logger.info(
        f"Wrote {options['samples']} samples of {options['features']} features to {out_dir}"
    )
