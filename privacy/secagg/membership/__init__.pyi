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
from .params import ParameterError as ParameterError, Parameters as Parameters, parameters as parameters
