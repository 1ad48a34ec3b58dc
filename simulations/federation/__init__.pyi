from .devices import (
    Authorities as Authorities,
    DeviceHost as DeviceHost,
    Records as Records,
    simulated_time as simulated_time,
)
from .ideal import Executor as Executor, IdealRounds as IdealRounds
from .inprocess import Devices as Devices, InProcessTransport as InProcessTransport, WorkerPool as WorkerPool
from .lossy_rounds import LossyRounds as LossyRounds
from .partial_sums import Job as Job, PartialSum as PartialSum, Worker as Worker
