"""What a model is, in facts and in words: for ``aam info``, and the card beside its weights.

`facts` is a dictionary ready for JSON, `words` the same for people, by section, and `card` that as
Markdown. Models of all formats have them; what an earlier AAM did not record is absent.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_core.config import DISTANCE_NAMES
from aam_core.ensemble.blending import LEAST, forest_in_words, parts_in_words, weights
from aam_core.ensemble.intervals import in_words
from aam_core.errors import first_five
from aam_core.log import duration
from aam_core.models.network import vector_size

if TYPE_CHECKING:
    from aam_core.model import Model

__all__ = ["CARD", "card", "cautions", "facts", "metric_rows", "metric_table", "sentence"]
__all__ += ["without_folders", "words"]

CARD = "model_card.md"
"""File beside the weights."""

_SCORED = {
    "model": "the model",
    "network": "its networks alone",
    "forest": "its {forest} alone",
    "distances": "distances between samples",
    "nucleotides": "masked nucleotides",
    "counts": "masked abundances (powers of ten)",
    "faith_pd": "Faith's diversity",
    "taxonomy": "taxa of new ASVs",
    "columns": "columns of held-out studies, from the sample vectors",
}
"""Keys of ``metrics.json`` that hold metrics -> what they are of."""

_GOALS = {
    "nucleotide": "masked nucleotides",
    "distance": "distances between samples",
    "count": "masked abundances",
    "faith_pd": "Faith's phylogenetic diversity",
    "columns": "metadata columns of many studies",
    "presence": "hidden ASVs",
    "halves": "halves of samples",
}
"""Heads of an encoder -> what they learn."""

_FEATURES = {
    "bases": "encoded bases",
    "profile": "k-mer profiles",
    "both": "k-mer profiles and encoded bases",
}
"""``model.encoder.features`` -> what an ASV is to the networks."""


_PATHS = {
    *("--table", "--sequences", "--tree", "--distances", "--taxonomy", "--metadata", "--encoder"),
    *("--init-from", "--resume", "--config", "--output", "--train-samples", "--val-samples"),
    *("--folds-file", "--model", "--space", "--study"),
}
"""Options of the command line whose value is a path."""

_INTERVAL = ("coverage", "half_width")


def facts(model: Model) -> dict[str, Any]:
    """What a model is, on what it was trained and how it was validated, ready for JSON.

    Returns
    -------
    dict
        ``model``, ``training``, ``validation``, ``metrics`` (as ``metrics.json``), ``weights``
        (blend weights of networks and forest), ``run`` (as ``run.json``) and ``settings`` (the
        resolved configuration, by section).
    """
    network, config = model.network, model.config
    trees = None if model.forest is None else len(model.forest.arrays["roots"])
    what: dict[str, Any] = {
        "kind": model.kind,
        "targets": _targets(model),
        "covariates": None if model.covariates is None else str(model.covariates),
        "columns": list(model.columns()),
        "members": config.model.members,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "features": config.model.encoder.features,
        "asv_vector": vector_size(config.model),
        "forest_trees": trees,
        "linear_share": 0.0 if model.forest is None else model.forest.linear_share,
        "learned": [words for part, words in _GOALS.items() if getattr(network.parts, part)],
        "metric": config.loss.metric if network.parts.distance else None,
        "given_distances": "distances" in model.run.get("inputs", {}),
    }
    if network.parts.ranks:
        what["learned"].append("taxonomy")
    run = model.run
    training: dict[str, Any] = {
        "samples": len(model.train_samples) or None,
        "features": run.get("features"),
        "asvs": None if model.known is None else len(model.known.sequences),
        "lengths": None if model.known is None else [int(n) for n in model.known.lengths],
        "inputs": run.get("inputs", {}),
        "dropped": run.get("left_out", []),
        "group_by": run.get("group_by"),
        "encoder": run.get("encoder"),
        "frozen_encoder": run.get("frozen_encoder", False),
        "studies": run.get("studies", []),
    }
    metrics = model.metrics or {}
    counts = {"samples": len(model.val_samples), "folds": len(set(model.val_folds))}
    validation = {
        **(metrics.get("held_out") or counts),
        "group_by": run.get("group_by"),
        "given_split": run.get("given_split"),
        "seed": run.get("seed"),
        "studies": run.get("held_out_studies", []),
        "trained_on_them": bool(set(model.val_samples) & set(model.train_samples)),
    }
    shares = weights(network, model.forest, model.network_weight)
    return {
        "model": what,
        "training": training,
        "validation": validation,
        "metrics": metrics,
        "weights": shares,
        "run": run,
        "settings": config.to_dict(),
    }


def _targets(model: Model) -> list[dict[str, Any]]:
    each = [one for one in model.each if one.target is not None]
    if not each:
        return []
    out = []
    for one in each:
        task = one.task
        unit = model.unit_of(task.column)
        known: dict[str, Any] = {"column": task.column, "task": task.name, "units": unit}
        known["classes"] = list(task.classes)
        if one.intervals:
            interval = one.intervals[0]
            known["interval"] = {name: getattr(interval, name) for name in _INTERVAL}
            width = (one.metrics or {}).get("model", {}).get("width")
            if width is not None:
                known["interval"]["mean_width"] = width
        out.append(known)
    return out


def words(known: dict[str, Any]) -> dict[str, dict[str, str]]:
    """`facts` for people: section -> name -> text."""
    sections = {
        "Model": _model(known),
        "Trained on": _trained_on(known),
        "Validated on": _validated(known),
        "Run": _run(known["run"]),
    }
    return {
        title: {name: text for name, text in lines.items() if text}
        for title, lines in sections.items()
    }


def metric_rows(known: dict[str, Any]) -> list[tuple[str, int | None, dict[str, float]]]:
    """What was scored, on how many samples (or pairs; None where unknown), and its metrics."""
    targets = known["metrics"].get("targets")
    if targets:  # of each by its name
        return [
            (f"{column}, {row[0]}", *row[1:])
            for column, metrics in targets.items()
            for row in _rows(metrics)
        ]
    return _rows(known["metrics"])


def _rows(metrics: dict[str, Any]) -> list[tuple[str, int | None, dict[str, float]]]:
    samples, rows = metrics.get("held_out", {}).get("samples"), []
    for key, what in _SCORED.items():
        scores = metrics.get(key)
        if isinstance(scores, dict) and scores:
            numbers = {name: value for name, value in scores.items() if name != "pairs"}
            forest_name = forest_in_words(metrics.get("linear_share", 0.0))
            # Taxa are scored on ASVs, whose number is not recorded.
            count = None if key == "taxonomy" else scores.get("pairs", samples)
            rows.append((what.format(forest=forest_name), count, numbers))
    return rows


def card(known: dict[str, Any]) -> str:
    """The model card: Markdown that stands beside the weights."""
    what = known["model"]
    targets = ", ".join(target["column"] for target in what["targets"])
    title = f"AAM {what['kind']}" + (f" of {targets}" if targets else "")
    lines = [f"# {title}", "", sentence(known), ""]
    for section, items in words(known).items():
        if not items:
            continue
        lines += [f"## {section}", "", "| | |", "|---|---|"]
        shown = dict(items)
        if "command" in shown:
            shown["command"] = f"`{shown['command']}`"
        lines += [f"| {name} | {_cell(text)} |" for name, text in shown.items()]
        lines.append("")
        if section == "Validated on":
            lines += _metric_lines(known)
    lines += _study_lines(known["training"]["studies"])
    lines += ["## Cautions", "", *(f"- {line}" for line in cautions(known)), ""]
    return "\n".join(lines)


def sentence(known: dict[str, Any]) -> str:
    """What a model does, with Markdown's backquotes around names of columns."""
    what = known["model"]
    if what["kind"] == "encoder":
        learned = ", ".join(what["learned"]) or "nothing that is known"
        labels = "" if known["training"]["studies"] else "without labels "
        return f"An encoder of amplicon sequences and samples, pretrained {labels}on {learned}."
    kinds = {"regression": "a number", "classification": "a class"}
    parts = [
        f"`{it['column']}` ({kinds.get(it['task'], it['task'])}"
        + (f": {', '.join(it['classes'][:10])}" if it["classes"] else "")
        + (", ..." if len(it["classes"]) > 10 else "")
        + ")"
        for it in what["targets"]
    ]
    return (
        f"Predicts the metadata column {', '.join(parts)} of microbiome samples from the reads and "
        "the sequences of their ASVs."
    )


def _model(known: dict[str, Any]) -> dict[str, str]:
    what = known["model"]
    networks = f"{what['members']} network{'s' * (what['members'] != 1)}"
    made = f"{networks} of {_FEATURES[what['features']]}, {what['parameters']:,} parameters"
    if what["forest_trees"]:
        made += f"; a random forest of {what['forest_trees']} trees"
    if what["linear_share"]:
        made += "; a linear model"
    targets = [
        f"{it['column']} ({len(it['classes'])} classes)" if it["classes"] else it["column"]
        for it in what["targets"]
    ]
    intervals = [
        _interval(it) + (f" ({it['column']})" if len(what["targets"]) > 1 else "")
        for it in what["targets"]
        if "interval" in it
    ]
    learned = ", ".join(
        f"{goal} ({DISTANCE_NAMES.get(what['metric'], what['metric'])})"
        if goal == _GOALS["distance"] and what["metric"] and not what["given_distances"]
        else goal
        for goal in what["learned"]
    )
    return {
        "kind": what["kind"],
        "predicts": ", ".join(targets),
        "learned": learned if what["kind"] == "encoder" else "",
        "made of": made,
        "weights": _weights(known),
        "covariates": what["covariates"] or "",
        "needs columns": ", ".join(what["columns"]),
        "interval": "; ".join(intervals),
    }


def _interval(target: dict[str, Any]) -> str:
    interval = target["interval"]
    half, width = interval["half_width"], interval.get("mean_width")
    return f"{interval['coverage']:.0%} within {in_words(half, width, target['units'])}"


def _weights(known: dict[str, Any]) -> str:
    """What the blend weights mean, as ``networks 70%, random forest 30%``."""
    shares, samples = known["weights"], known["validation"].get("samples", 0)
    linear, parts = known["model"]["linear_share"], []
    network = shares.get("network")
    if network is not None:
        said = parts_in_words(network, linear)
        if network in (0, 1):
            other = forest_in_words(linear) if network else "networks"
            said += f": with the {other}, held-out samples were predicted no better"
        parts.append(said)
        if 0 < samples < LEAST:
            parts.append(f"not chosen: {samples} held-out samples are too few")
    fourier = shares.get("members_with_codes")
    if fourier is not None and network != 0:
        parts.append(
            f"among the networks, those that read random Fourier features of whole sequences count "
            f"{fourier:.0%}, the others {1 - fourier:.0%}"
        )
    return "; ".join(parts)


def _trained_on(known: dict[str, Any]) -> dict[str, str]:
    training = known["training"]
    asvs = ""
    if training["asvs"] is not None:
        low, median, high = training["lengths"]
        lengths = f"{low}" if low == high else f"{low} to {high} (median {median})"
        asvs = f"{training['asvs']:,} distinct sequences of {lengths} bases"
    inputs = [
        f"{role} {it.get('file', '?')}"
        + (f" ({_size(it['bytes'])}, SHA-256 {it['sha256'][:12]})" if "sha256" in it else "")
        for role, it in training["inputs"].items()
    ]
    encoder = training["encoder"]
    start = ""
    if encoder is not None:
        start = "a pretrained model" + (", its encoder frozen" * training["frozen_encoder"])
        start += f", of {encoder['created'][:10]}" if encoder.get("created") else ""
        files = [it.get("file", "?") for it in encoder.get("inputs", {}).values()]
        if encoder.get("studies"):
            files = [f"{len(encoder['studies'])} studies"]
        start += f", trained on {', '.join(files)}" if files else ""
    return {
        "samples": "" if training["samples"] is None else f"{training['samples']:,}",
        "studies": _studies(training["studies"]),
        "ASVs": asvs,
        "inputs": "; ".join(inputs),
        "started from": start,
        "of the table": " ".join(map(_without_ids, training["dropped"])),
    }


def _studies(studies: list[dict[str, Any]]) -> str:
    """How many, of how many columns, and under which licences."""
    if not studies:
        return ""
    columns = sum(study.get("columns", 0) for study in studies)
    licences = Counter(study["licence"] for study in studies if study.get("licence"))
    stated = ", ".join(f"{name} {number}" for name, number in licences.most_common())
    text = f"{len(studies)}, with {columns:,} metadata columns"
    return text + (f"; licences: {stated}" if stated else "")


def _study_lines(studies: list[dict[str, Any]]) -> list[str]:
    """The table of the studies that an encoder was trained on."""
    if not studies:
        return []
    names = ("name", "samples", "columns", "source", "licence")
    rows = [[_cell(str(study.get(name, ""))) for name in names] for study in studies]
    head = ["## Studies", "", f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    return [*head, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _validated(known: dict[str, Any]) -> dict[str, str]:
    held_out = known["validation"]
    if held_out["studies"]:
        return {
            "studies": f"{first_five(held_out['studies'])}; none of their samples was trained on"
        }
    samples, folds = held_out.get("samples", 0), held_out.get("folds", 0)
    if not samples:
        return {"samples": "none, or no record of them: nothing is known of its errors"}
    groups = held_out.get("groups")
    text = f"{samples:,}" + (f" of {groups} groups" if groups is not None else "")
    in_folds = f" in {folds} folds" if folds > 1 else ""
    if held_out["trained_on_them"]:
        how = f"out of fold{in_folds}: each predicted by members that were not trained on it"
    else:
        how = f"held out of the training{in_folds}"
    if held_out["given_split"]:
        how += "; the split was given"
    elif held_out["seed"] is not None:
        how += f"; drawn by seed {held_out['seed']}"
    if held_out["group_by"]:
        grouped = f"by {held_out['group_by']}: samples that share it are on one side of each split"
    elif groups is not None:
        grouped = "samples of a group are on one side of each split"
    else:
        grouped = _UNGROUPED if _drawn_without_groups(known) else ""
    return {"samples": text, "how": how, "grouped": grouped}


_UNGROUPED = "no: several samples of a subject may be on both sides"


def _drawn_without_groups(known: dict[str, Any]) -> bool:
    """Whether it is known that samples were not grouped: not of a split that was given, and not
    where an AAM of before saved the model."""
    held_out = known["validation"]
    recorded = "group_by" in known["run"] and held_out["group_by"] is None
    return recorded and held_out.get("groups") is None and not held_out["given_split"]


def _run(run: dict[str, Any]) -> dict[str, str]:
    versions = ", ".join(f"{name} {version}" for name, version in run.get("versions", {}).items())
    processes = run.get("processes", 1)
    where = run.get("device", "")
    if where and processes > 1:
        where = f"{processes} processes, {where}"
    seconds = run.get("seconds", {})
    took = ""
    if seconds:
        took = duration(seconds["total"])
        took += f" (networks {duration(seconds['networks'])})" if "networks" in seconds else ""
        took += ", since it was resumed" * bool(run.get("resumed"))
    return {
        "created": run.get("created", ""),
        "command": run.get("command") or "",
        "took": took,
        "on": where,
        "seed": "" if run.get("seed") is None else str(run["seed"]),
        "versions": versions,
    }


def metric_table(known: dict[str, Any]) -> list[list[str]]:
    """A header and a row for each of `metric_rows`, as texts; empty without metrics."""
    rows = metric_rows(known)
    names = list(dict.fromkeys(name for _, _, scores in rows for name in scores))
    table = [["of", "n", *names]]
    for what, count, scores in rows:
        cells = [_number(scores.get(name)) for name in names]
        table.append([what, "-" if count is None else f"{count:,}", *cells])
    return table if rows else []


def _metric_lines(known: dict[str, Any]) -> list[str]:
    table = metric_table(known)
    if not table:
        return []
    head, *rows = (f"| {' | '.join(row)} |" for row in table)
    return [head, "|---" * len(table[0]) + "|", *rows, ""]


def cautions(known: dict[str, Any]) -> list[str]:
    """What who uses a model should mind, a sentence each."""
    if known["model"]["kind"] == "encoder":
        return ["It holds for samples and sequences of the region that it was pretrained on."]
    lines = [
        "It holds for samples like those that it was trained on: `aam predict` tells of each "
        "sample how much of it the model knows (known_reads, known_kmers, novelty).",
        "Weights and intervals were chosen on the validation samples: `aam cross-validate` scores "
        "samples that had no part in it.",
        "A prediction is no cause: an ASV may stand for its host, the place, or the protocol.",
    ]
    if _drawn_without_groups(known):
        lines.append(
            "The samples were not grouped (--group-by): if a subject has several, the metrics are "
            "too good."
        )
    return lines


def without_folders(command: str) -> str:
    """A command line in which paths are file names: folders name users and machines.

    >>> without_folders("aam fit-regressor --table /home/me/a.biom --target age/d --tree=x/t.nwk")
    'aam fit-regressor --table a.biom --target age/d --tree=t.nwk'
    """
    tokens: list[str] = []
    for token in shlex.split(command):
        name, equals, value = token.partition("=")
        if tokens and tokens[-1] in _PATHS:
            token = Path(token).name
        elif equals and name in _PATHS:
            token = f"{name}={Path(value).name}"
        tokens.append(token)
    return shlex.join(tokens)


def _without_ids(line: str) -> str:
    """A sentence of a study's report without its examples, which may name people."""
    return re.sub(r" \(.*\)", "", line)


def _number(value: float | None) -> str:
    """Four digits; of a metric that is not defined, which JSON has as null, a dash."""
    return "-" if value is None or value != value else f"{value:.4g}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
