from .architectures import input_spec as input_spec, make_known as make_known
from .config import (
    ConfigError as ConfigError,
    RunConfig as RunConfig,
    ServerConfig as ServerConfig,
    TrainingConfig as TrainingConfig,
    load_config as load_config,
    with_settings as with_settings,
)
from .data import DataConfig as DataConfig
from .keys import full_key as full_key, value_at as value_at
from .sections import (
    AvailabilityConfig as AvailabilityConfig,
    FaultsConfig as FaultsConfig,
    PoisonConfig as PoisonConfig,
)
