"""Settings of Kedro; kedro-mlflow registers its hook by itself."""

CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "base"}
