from .authority import (
    Authority as Authority,
    AuthorityError as AuthorityError,
    read_identity as read_identity,
    read_policy as read_policy,
    read_public_key as read_public_key,
)
from .pki import make_loopback_tls as make_loopback_tls
from .reading import parsed as parsed
