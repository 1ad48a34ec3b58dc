from .checkpoint import CheckpointError as CheckpointError, CheckpointFile as CheckpointFile, RecordLog as RecordLog
from .coordinator import (
    Coordinator as Coordinator,
    CoordinatorError as CoordinatorError,
    Ended as Ended,
    Result as Result,
    RoundReport as RoundReport,
)
from .round import (
    Round as Round,
    RoundFacts as RoundFacts,
    RoundOutcome as RoundOutcome,
    Rounds as Rounds,
    SecureRounds as SecureRounds,
)
from .transport import NodeId as NodeId, Reply as Reply, Transport as Transport
