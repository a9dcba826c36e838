"""The ``aam`` group: lazy subcommands, exit statuses, one-line errors."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from aam_core import __version__
from aam_core.cli import COMMANDS, cli


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("args", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(args):
    code = (
        "import sys\nfrom aam_core.cli import cli\n"
        f"try:\n    cli.main({args!r}, prog_name='aam')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'pandas', 'numpy', 'scipy', 'sklearn', 'skbio', 'biom', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: aam")


def test_group_help_imports_no_subcommand():
    done = python(
        "import sys\nfrom aam_core.cli import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "assert not [name for name in sys.modules if name.startswith('aam_core.cli.')]\n"
    )
    assert done.returncode == 0, done.stderr


def test_group_lists_each_command_with_the_first_line_of_its_help(aam):
    shown = aam("--help").out
    for name, (_, help) in COMMANDS.items():
        command = cli.get_command(None, name)
        assert command.name == name
        assert command.help.splitlines()[0] == help
        assert f"  {name} " in shown and help in shown


def test_no_arguments_show_the_help(aam):
    assert aam() == aam("--help")
    assert aam().status == 0


def test_version(aam):
    assert __version__ in aam("--version").out


def test_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "aam_core", "unifrac", "--table", "absent.biom"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("aam: error: ") and "absent.biom" in line and "does not exist" in line


def test_unknown_command_suggests_the_nearest(refuses):
    assert "did you mean 'pretrain'?" in refuses("pretrian")
    assert "did you mean 'fit-regressor'?" in refuses("fit_regressor")
    assert "fit-regressor, fit-classifier" in refuses("fit")


def test_unknown_option_is_one_line(refuses):
    assert "--epoch" in refuses("pretrain", "--epochz", "3")
    assert "see 'aam pretrain --help'" in refuses("pretrain", "--nonsense")


def test_missing_option_is_one_line(refuses):
    assert "--output" in refuses("pretrain")
    assert "--metadata" in refuses("fit-regressor", "--table", __file__)
    assert "--model" in refuses("predict", "--table", __file__)


def test_debug_shows_the_traceback_above_the_line(aam, monkeypatch, tmp_path):
    arguments = ("pretrain", "--output", tmp_path / "out", "--set", "nonsense")
    assert "Traceback" not in aam(*arguments).err
    monkeypatch.setenv("AAM_DEBUG", "1")
    outcome = aam(*arguments)
    assert outcome.status == 2
    assert "Traceback" in outcome.err and outcome.err.splitlines()[-1].startswith("aam: error: ")


def test_interrupt_exits_130_and_repeats_what_the_trainer_says():
    """Within a group of the same class, a command that a person stops."""

    class Stopped(type(cli)):
        def get_command(self, ctx, name):
            def stop():
                raise KeyboardInterrupt("The last checkpoint is in out/checkpoint.")

            return click.Command(name, callback=stop)

    done = Stopped(name="aam")
    with pytest.raises(SystemExit) as stop:
        done.main(["simulate"], prog_name="aam")
    assert stop.value.code == 130


def test_a_bug_keeps_its_traceback():
    class Broken(type(cli)):
        def get_command(self, ctx, name):
            return click.Command(name, callback=lambda: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        Broken(name="aam").main(["simulate"], prog_name="aam")
