from .jobs import Done as Done, Job as Job, JobContext as JobContext, JobPool as JobPool
from .workers import WorkerDied as WorkerDied, cores as cores, one_thread as one_thread
