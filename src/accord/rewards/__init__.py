"""Rewards that read text: functions, verifiable answers, tests of code, servers, judges. Nothing here needs torch."""
