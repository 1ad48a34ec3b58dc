from .dataset import Table as Table, load as load
from .readers import DataError as DataError
