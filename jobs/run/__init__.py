"""From a plan to stored results: packs, tasks, the scheduler and the driver that carries out its decisions."""

from jobs.run.admission import node_admission as node_admission
from jobs.run.budget import whole_seeds as whole_seeds
from jobs.run.driver import JobEvent as JobEvent
from jobs.run.driver import end_at_once as end_at_once
from jobs.run.driver import open_job as open_job
from jobs.run.driver import run_job as run_job
from jobs.run.driver import stop_before_start as stop_before_start
from jobs.run.events import CancelAsked as CancelAsked
from jobs.run.events import Enough as Enough
from jobs.run.events import GiveUp as GiveUp
from jobs.run.events import RefuseNode as RefuseNode
from jobs.run.events import Retry as Retry
from jobs.run.node_facts import PACKAGES as PACKAGES
from jobs.run.packs import Pack as Pack
from jobs.run.plan import Decide as Decide
from jobs.run.plan import Plan as Plan
from jobs.run.plan import check_kernels as check_kernels
from jobs.run.plan import check_precision as check_precision
from jobs.run.plan import make_plan as make_plan
from jobs.run.plan import seed_rule as seed_rule
from jobs.run.provenance import versions as versions
from jobs.run.sessions import open_session as open_session
from jobs.run.task import TaskContext as TaskContext
from jobs.run.task import TaskResult as TaskResult
from jobs.run.task import run_pack as run_pack
from jobs.run.time_left import TimeLeft as TimeLeft
