"""What a simulation script imports: tasks, the agent that plays them, and ``create_dataset``."""

from spice.resources.agent_q import AgentQ
from spice.resources.environments import Bandits, BanditsDrift, BanditsFixed, BanditsReversal, BanditsSwitch
from spice.resources.sessions import BanditSession
from spice.resources.simulation import create_dataset
from spice.resources.tasks import AlienTask, BanditsOnOffer, TwoStepTask

__all__ = [
    "AgentQ",
    "AlienTask",
    "BanditSession",
    "Bandits",
    "BanditsDrift",
    "BanditsFixed",
    "BanditsOnOffer",
    "BanditsReversal",
    "BanditsSwitch",
    "TwoStepTask",
    "create_dataset",
]
