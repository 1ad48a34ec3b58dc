from .fab import write_app as write_app
from .grid_transport import GridTransport as GridTransport, RunConfig as RunConfig, server_app as server_app
from .processes import ProcessError as ProcessError, Processes as Processes, end_with_parent as end_with_parent
from .superlink import LocalSuperLink as LocalSuperLink
