from .graph import NeighbourTable as NeighbourTable
from .identity import (
    Certificate as Certificate,
    DevicePolicy as DevicePolicy,
    EnrolmentRequest as EnrolmentRequest,
    PolicyError as PolicyError,
    Revocations as Revocations,
    Trust as Trust,
    enrol as enrol,
    verify_once as verify_once,
)
from .params import (
    ParameterError as ParameterError,
    Parameters as Parameters,
    default_min_survivors as default_min_survivors,
    default_shards as default_shards,
    parameters as parameters,
)
