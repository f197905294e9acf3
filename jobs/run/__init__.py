"""From a plan to stored results: packs, tasks, retries and the job's record."""

from jobs.run.driver import JobEvent as JobEvent
from jobs.run.driver import Plan as Plan
from jobs.run.driver import check_precision as check_precision
from jobs.run.driver import make_plan as make_plan
from jobs.run.driver import open_job as open_job
from jobs.run.driver import run_job as run_job
from jobs.run.retries import Retried as Retried
from jobs.run.task import Pack as Pack
from jobs.run.task import Shared as Shared
from jobs.run.task import Written as Written
from jobs.run.task import run_pack as run_pack
from jobs.run.task import versions as versions
