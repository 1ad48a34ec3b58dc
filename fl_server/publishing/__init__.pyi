from .publish import (
    ClaimRefuted as ClaimRefuted,
    NotReleased as NotReleased,
    Publication as Publication,
    publish_model as publish_model,
    run_facts as run_facts,
    versions as versions,
)
from .registry import (
    ModelVersion as ModelVersion,
    Registry as Registry,
    RegistryError as RegistryError,
    open_release as open_release,
)
