"""Jobs that outlive the terminal: their drivers, leases and queue, and their status for everyone who asks."""

from jobs.service.cancel import cancel_job as cancel_job
from jobs.service.deciding import plan_study as plan_study
from jobs.service.drive import drive_job as drive_job
from jobs.service.driver_log import DriverLog as DriverLog
from jobs.service.launch import TICKET_VARIABLE as TICKET_VARIABLE
from jobs.service.launch import launch_here as launch_here
from jobs.service.launch import submit_detached as submit_detached
from jobs.service.live_page import LivePage as LivePage
from jobs.service.logs import read_log as read_log
from jobs.service.on_done import run_on_done as run_on_done
from jobs.service.options import JobOptions as JobOptions
from jobs.service.page_server import PageServer as PageServer
from jobs.service.page_server import serve as serve
from jobs.service.queue import receive_ticket as receive_ticket
from jobs.service.resume import Resumed as Resumed
from jobs.service.resume import options_to_resume as options_to_resume
from jobs.service.resume import resume_job as resume_job
from jobs.service.status import JobStatus as JobStatus
from jobs.service.status import job_status as job_status
from jobs.service.training import train_attached as train_attached
