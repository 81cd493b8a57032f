from hypothesis import HealthCheck, settings

# The same examples in every run, few enough for a test suite.
settings.register_profile(
    "suite",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=40,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("suite")
