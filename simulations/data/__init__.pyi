from .dataset import Dataset as Dataset, Table as Table, load as load
from .errors import DataError as DataError
