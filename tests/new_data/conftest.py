from tests.config.conftest import load, refusal

__all__ = ["load", "refusal"]
