from .keys import (
    Agreements as Agreements,
    Channel as Channel,
    DeviceKeys as DeviceKeys,
    KeyPair as KeyPair,
    LowOrderKey as LowOrderKey,
    canonical as canonical,
    require_usable as require_usable,
    share_tag as share_tag,
    share_tags as share_tags,
)
from .masking import (
    Words as Words,
    add_masks as add_masks,
    pack as pack,
    unpack as unpack,
    word_count as word_count,
    word_type as word_type,
)
