from .run import (
    Prepared as Prepared,
    RunError as RunError,
    Supervision as Supervision,
    execute as execute,
    prepare as prepare,
    resume as resume,
    start as start,
)
from .rundir import RunDirectory as RunDirectory
