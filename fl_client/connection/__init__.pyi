from .flower import FleetConnection as FleetConnection, NodeContext as NodeContext, client_app as client_app
from .node import EmbeddedNode as EmbeddedNode, NodeError as NodeError
