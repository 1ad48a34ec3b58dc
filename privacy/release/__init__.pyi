from .files import (
    model_digest as model_digest,
    open_statement as open_statement,
    pack_tensors as pack_tensors,
    release_name as release_name,
    sign_statement as sign_statement,
    unpack_tensors as unpack_tensors,
)
from .release import Release as Release, release as release
