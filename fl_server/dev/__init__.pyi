from .dev import DevFederation as DevFederation
from .provision import Scale as Scale
