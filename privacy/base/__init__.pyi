from .canonical import Frozen as Frozen, canonical_json as canonical_json, sha256 as sha256
from .errors import clipped as clipped, first_line as first_line, what_is_wrong as what_is_wrong
from .files import sync_directory as sync_directory, write_atomically as write_atomically, write_secret as write_secret
from .randomness import (
    Keystream as Keystream,
    Origin as Origin,
    Randomness as Randomness,
    RandomnessError as RandomnessError,
    SystemRandomness as SystemRandomness,
    require_origin as require_origin,
    uniform_unit as uniform_unit,
    uniform_words as uniform_words,
)
from .signing import SignatureError as SignatureError, Signer as Signer, key_id as key_id, verify as verify
