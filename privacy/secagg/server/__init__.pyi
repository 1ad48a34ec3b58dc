from .record import (
    RecordError as RecordError,
    RoundRecord as RoundRecord,
    ShardRecord as ShardRecord,
    charged_shards as charged_shards,
    line_digest as line_digest,
    open_record as open_record,
    sign_record as sign_record,
)
from .server import RoundAuthority as RoundAuthority, Server as Server
from .shard import Request as Request, total_transcript as total_transcript
