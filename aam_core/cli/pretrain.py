"""``aam pretrain``."""

from __future__ import annotations

from aam_core.cli.command import command, is_given, require
from aam_core.cli.options import (
    directory_option,
    encoder_option,
    group_option,
    load_inputs,
    study_options,
)
from aam_core.cli.outputs import check_apart
from aam_core.cli.settings import config_options
from aam_core.config import WITHOUT_TREE
from aam_core.files import own_output
from aam_core.log import logger


@command("pretrain")
@study_options("table", "sequences", "tree", "distances", "taxonomy", "metadata", required=())
@encoder_option("Output of 'aam pretrain' to start from.")
@group_option
@directory_option(own_output.is_model("encoder"))
@config_options("pretraining", resume=True)
def pretrain(inputs, encoder, group_by, output, config, resume, accept_changed_inputs):
    """Pretrain an encoder, without labels.

    It learns masked nucleotides and the distances between samples: UniFrac on --tree, or what
    --distances holds. One of the two is needed, unless loss.metric is braycurtis or jaccard, or
    loss.distance is 0. --taxonomy is learned rank by rank, --set loss.faith_pd=1 adds Faith's
    diversity, --set loss.count=1 masked abundances. With --sequences alone (FASTA, or one sequence
    a line; .gz is fine) it learns nucleotides (and --taxonomy) alone; give its output as --encoder
    of a pretraining on a table.
    """
    from aam_core import pretraining

    if inputs["table"] is None:
        others = [name for name in ("tree", "distances", "metadata") if inputs[name] is not None]
        require(not others, f"--{', --'.join(others)} needs --table.")
        require(inputs["sequences"] is not None, "Missing option '--table' (or '--sequences').")
        require(group_by is None, "--group-by needs --table and --metadata.")
        require(encoder is None, "--encoder needs --table.")
        require(not is_given("max_lost_reads"), "--max-lost-reads needs --table.")
        pretraining.pretrain_nucleotides(
            inputs["sequences"],
            config=config,
            output=output,
            taxonomy=inputs["taxonomy"],
            resume=resume,
            accept_changed_inputs=accept_changed_inputs,
        )
        logger.info(f"Encoder written to {output}")
        return
    require(group_by is None or inputs["metadata"] is not None, "--group-by needs --metadata.")
    check_apart(encoder, output)
    from_tree = config.loss.distance > 0 and config.loss.metric not in WITHOUT_TREE
    require(
        not from_tree or inputs["tree"] is not None or inputs["distances"] is not None,
        "Missing option '--tree' (or '--distances'; '--set loss.metric=braycurtis' needs neither).",
    )
    require(
        config.loss.faith_pd == 0 or inputs["tree"] is not None,
        "Missing option '--tree', which loss.faith_pd needs.",
    )
    pretraining.pretrain(
        load_inputs(inputs, keep_unplaced=False),
        config=config,
        output=output,
        encoder=encoder,
        group_by=group_by,
        resume=resume,
        accept_changed_inputs=accept_changed_inputs,
    )
    logger.info(f"Encoder written to {output}")
