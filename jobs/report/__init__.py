"""What people read of a job: tables, summary, figures and the page."""

from jobs.report.configurations import CONFIGURATION_COLUMNS as CONFIGURATION_COLUMNS
from jobs.report.configurations import IDENTIFYING as IDENTIFYING
from jobs.report.configurations import varying_settings as varying_settings
from jobs.report.formats import format_count as format_count
from jobs.report.formats import format_setting as format_setting
from jobs.report.formats import summary_cells as summary_cells
from jobs.report.formats import summary_csv as summary_csv
from jobs.report.formats import summary_json as summary_json
from jobs.report.formats import summary_markdown as summary_markdown
from jobs.report.report import Report as Report
from jobs.report.report import report_files as report_files
from jobs.report.report import write_report as write_report
from jobs.report.summary import SUMMARY_COLUMNS as SUMMARY_COLUMNS
from jobs.report.summary import summarize as summarize
from jobs.report.tables import CONFUSION_COLUMNS as CONFUSION_COLUMNS
from jobs.report.tables import METRICS_COLUMNS as METRICS_COLUMNS
from jobs.report.tables import TRIALS_COLUMNS as TRIALS_COLUMNS
from jobs.report.tables import confusion_table as confusion_table
from jobs.report.tables import metrics_table as metrics_table
from jobs.report.tables import trials_table as trials_table
