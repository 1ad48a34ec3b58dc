from .client import Client as Client
from .seen import Rounds as Rounds, Seen as Seen
