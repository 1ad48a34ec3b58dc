from .client import Client as Client, Seen as Seen
