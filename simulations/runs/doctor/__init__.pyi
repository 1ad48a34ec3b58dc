from .findings import Finding as Finding, diagnose as diagnose
from .reading import FinishedRun as FinishedRun, NoFinishedRun as NoFinishedRun, read_run as read_run
