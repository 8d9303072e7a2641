"""What a simulation script imports: tasks, the agent that plays them, and ``create_dataset``."""

from spice.resources.agent_q import AgentQ
from spice.resources.environments import Bandits, BanditsDrift, BanditsFixed, BanditsReversal, BanditsSwitch
from spice.resources.sessions import BanditSession
from spice.resources.simulation import create_dataset

__all__ = [
    "AgentQ",
    "BanditSession",
    "Bandits",
    "BanditsDrift",
    "BanditsFixed",
    "BanditsReversal",
    "BanditsSwitch",
    "create_dataset",
]
