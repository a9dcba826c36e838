"""Every usage example runs, and every action has one."""

from __future__ import annotations

from q2cli.core.usage import CLIUsage
from qiime2.plugin.testing import TestPluginBase


class TestExamples(TestPluginBase):
    package = "q2_aam"

    def test_examples(self):
        self.execute_examples()

    def test_every_action_has_one(self):
        for name, action in self.plugin.actions.items():
            self.assertTrue(action.examples, name)

    def test_the_command_line_draws_each(self):
        """It does so whenever it refreshes its cache: a failure would break all plugins."""
        for name, action in self.plugin.actions.items():
            for example in action.examples.values():
                use = CLIUsage()
                example(use)
                text = "\n".join(use.recorder)
                self.assertIn(f"qiime aam {name.replace('_', '-')}", text)
                for option in action.signature.outputs:
                    if "--output-dir" not in text:
                        self.assertIn(f"--o-{option.replace('_', '-')} ", text)
