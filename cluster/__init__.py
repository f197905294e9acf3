"""Where tasks run: in this process, on a Ray started here, or on an existing Ray cluster.

`cluster.ray_session` is imported by name, only where tasks run on Ray: importing Ray takes half a second.
"""

from cluster.cpus import usable_cpus as usable_cpus
from cluster.failures import FailureKind as FailureKind
from cluster.failures import TaskFailure as TaskFailure
from cluster.failures import format_gigabytes as format_gigabytes
from cluster.in_process import InProcessExecutor as InProcessExecutor
from cluster.in_process import InProcessSession as InProcessSession
from cluster.interface import AddressError as AddressError
from cluster.interface import Admission as Admission
from cluster.interface import ClusterError as ClusterError
from cluster.interface import ClusterLostError as ClusterLostError
from cluster.interface import Device as Device
from cluster.interface import Done as Done
from cluster.interface import Executor as Executor
from cluster.interface import Failed as Failed
from cluster.interface import JobClientMissing as JobClientMissing
from cluster.interface import JobServerError as JobServerError
from cluster.interface import LocalRayError as LocalRayError
from cluster.interface import NodeEvent as NodeEvent
from cluster.interface import NodeJoined as NodeJoined
from cluster.interface import NodeLost as NodeLost
from cluster.interface import Progress as Progress
from cluster.interface import ResourceError as ResourceError
from cluster.interface import Session as Session
from cluster.interface import Started as Started
from cluster.interface import Task as Task
from cluster.interface import TaskEvent as TaskEvent
from cluster.interface import UnauthenticatedError as UnauthenticatedError
from cluster.interface import Waiting as Waiting
from cluster.interface import differences as differences
from cluster.interface import is_url as is_url
from cluster.ray_processes import kill_own_ray as kill_own_ray
