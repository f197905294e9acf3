"""The Python API: the commands of the command line as functions that return values and tables."""

from jobs.api.answers import compare_jobs as compare_jobs
from jobs.api.answers import judge_job as judge_job
from jobs.api.answers import rank_job as rank_job
from jobs.api.answers import read_contrasts as read_contrasts
from jobs.api.answers import read_effects as read_effects
from jobs.api.driving import drive as drive
from jobs.api.driving import resume_job as resume_job
from jobs.api.handle import JobHandle as JobHandle
from jobs.api.handle import get_job as get_job
from jobs.api.handle import submit as submit
from jobs.api.life import cancel_job as cancel_job
from jobs.api.life import job_status as job_status
from jobs.api.life import read_log as read_log
from jobs.api.reading import export_weights as export_weights
from jobs.api.reading import read_confusion as read_confusion
from jobs.api.reading import read_decision as read_decision
from jobs.api.reading import read_metrics as read_metrics
from jobs.api.reading import read_predictions as read_predictions
from jobs.api.reading import read_summary as read_summary
from jobs.api.reading import read_trials as read_trials
from jobs.api.reading import read_weights as read_weights
from jobs.api.submission import compact_store as compact_store
from jobs.api.submission import list_jobs as list_jobs
from jobs.api.submission import plan_grid as plan_grid
from jobs.api.submission import report_job as report_job
from jobs.api.submission import submit_grid as submit_grid
