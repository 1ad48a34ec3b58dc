from .correlation import (
    BandedToeplitz as BandedToeplitz,
    BinaryTree as BinaryTree,
    BufferedLinearToeplitz as BufferedLinearToeplitz,
    Correlation as Correlation,
    squared_sensitivity as squared_sensitivity,
)
from .fleet import Fleet as Fleet
from .notice import Notice as Notice
from .participation import (
    AggregationPolicy as AggregationPolicy,
    BoundedParticipation as BoundedParticipation,
    Participation as Participation,
    PoissonParticipation as PoissonParticipation,
    largest_draw as largest_draw,
)
from .purpose import Purpose as Purpose
from .states import Encoded as Encoded, Total as Total, Update as Update, joint_transcript as joint_transcript
from .task import (
    AdaptiveClip as AdaptiveClip,
    Budget as Budget,
    DeviceMechanism as DeviceMechanism,
    FeatureSpec as FeatureSpec,
    InputSpec as InputSpec,
    LocalSgd as LocalSgd,
    LocalTraining as LocalTraining,
    ModelSpec as ModelSpec,
    ParameterSpec as ParameterSpec,
    SequenceSpec as SequenceSpec,
    SimulationOnly as SimulationOnly,
    Statistic as Statistic,
    TaskError as TaskError,
    TaskSpec as TaskSpec,
    Training as Training,
    Window as Window,
    open_task as open_task,
    sign_task as sign_task,
)
