from .client.client import Client as Client
from .client.seen import Rounds as Rounds, Seen as Seen
from .cohort import Admission as Admission, Cohort as Cohort, admit as admit, verify_advert as verify_advert
from .errors import Aborted as Aborted, Refused as Refused, Rejected as Rejected, WireError as WireError
from .messages import (
    Advert as Advert,
    EncryptedShares as EncryptedShares,
    Header as Header,
    InputRequest as InputRequest,
    Invitation as Invitation,
    Members as Members,
    Roster as Roster,
    SignedSurvivors as SignedSurvivors,
    Stage as Stage,
    Survivors as Survivors,
    decode_consistency_check as decode_consistency_check,
    decode_consistency_checks as decode_consistency_checks,
    decode_encrypted_shares as decode_encrypted_shares,
    decode_masked as decode_masked,
    decode_revealed as decode_revealed,
    encode_consistency_check as encode_consistency_check,
    encode_consistency_checks as encode_consistency_checks,
    encode_encrypted_shares as encode_encrypted_shares,
    encode_masked as encode_masked,
    encode_revealed as encode_revealed,
    read_indexed as read_indexed,
    write_indexed as write_indexed,
)
from .server.server import RoundAuthority as RoundAuthority, Server as Server
from .server.shard import Request as Request
from .wire import Reader as Reader, Writer as Writer
