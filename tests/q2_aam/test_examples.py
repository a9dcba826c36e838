"""Every usage example runs, and every action has one."""

from __future__ import annotations

from qiime2.plugin.testing import TestPluginBase


class TestExamples(TestPluginBase):
    package = "q2_aam"

    def test_examples(self):
        self.execute_examples()

    def test_every_action_has_one(self):
        for name, action in self.plugin.actions.items():
            self.assertTrue(action.examples, name)
