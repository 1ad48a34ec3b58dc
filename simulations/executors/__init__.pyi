from .cluster import ClusterError as ClusterError
from .selection import executor as executor
