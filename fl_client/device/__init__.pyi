from .device import Device as Device
from .files import DeviceDirectory as DeviceDirectory, DeviceFilesError as DeviceFilesError
from .host import open_device as open_device
from .memory import Memory as Memory, SeenList as SeenList, StoreError as StoreError, TaskRecord as TaskRecord
