"""The five DVC stages, one module each.

`python -m src.stages.NAME` imports this package first: before the stage imports anything,
its command hands itself over to a warm fork if there is one.
"""

from src.warm.handover import hand_over

hand_over()
