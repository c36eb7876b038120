"""Has what customers ask, find and are told changed? And do the champion's answers still hold?

Questions of one session are correlated, so a test that takes each for independent calls every new session drift. The tests here
permute whole sessions, and their levels are such that a month of checks has the stated chance of any false alarm.
"""

from csift.drift.accuracy import Sample, watch_accuracy, watch_samples
from csift.drift.check import check_drift, drift_id, measure, uncompared
from csift.drift.levels import daily_level, monthly_level
from csift.drift.twosample import Test, random_features, two_sample_test
from csift.drift.windows import TrafficRow, Window, comparable, latest, read_window

__all__ = [
    "Sample",
    "Test",
    "TrafficRow",
    "Window",
    "check_drift",
    "comparable",
    "daily_level",
    "drift_id",
    "latest",
    "measure",
    "monthly_level",
    "random_features",
    "read_window",
    "two_sample_test",
    "uncompared",
    "watch_accuracy",
    "watch_samples",
]
