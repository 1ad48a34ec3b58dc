from .battery import run_battery as run_battery
from .bounds import (
    certified_any as certified_any,
    certified_gaussian as certified_gaussian,
    estimated_mu as estimated_mu,
)
from .pipeline import Audited as Audited, Pipeline as Pipeline, Shipped as Shipped
from .plan import AuditPlan as AuditPlan
from .record import AuditResult as AuditResult, Battery as Battery, Check as Check, Figures as Figures
from .rounds import audit_one_round as audit_one_round, audit_rounds as audit_rounds
from .suite import (
    NothingToAudit as NothingToAudit,
    TaskAudits as TaskAudits,
    audit_part as audit_part,
    audit_release as audit_release,
    audit_task as audit_task,
    claimed_epsilon as claimed_epsilon,
)
