"""The scenarios as Locust finds them: ``locust EchoUser``, ``locust DialogueUser``, or both together."""

from scenarios.call import CallUser
from scenarios.dialogue import DialogueUser
from scenarios.echo import EchoUser
from scenarios.roadmap import RoadmapUser
from scenarios.tasks import TasksUser
from scenarios.voice import VoiceUser

__all__ = ["CallUser", "DialogueUser", "EchoUser", "RoadmapUser", "TasksUser", "VoiceUser"]
