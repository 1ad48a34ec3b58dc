from .build import ReportError as ReportError, RunFacts as RunFacts, build_report as build_report
from .diff import Change as Change, diff_reports as diff_reports
from .figures import card_marking as card_marking, finite as finite, summary_figures as summary_figures
from .html import render_html as render_html
from .model import (
    AuditPart as AuditPart,
    DeviceSpend as DeviceSpend,
    EpsilonReport as EpsilonReport,
    ExtrapolationPart as ExtrapolationPart,
    RoundCounts as RoundCounts,
)
from .registry_entry import NoDeployment as NoDeployment, registry_entry as registry_entry
