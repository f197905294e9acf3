"""Jobs that outlive the terminal they were submitted from."""

from jobs.service.ray_launch import launch_on_ray as launch_on_ray
from jobs.service.ray_launch import ray_state as ray_state
from jobs.service.ray_launch import stop_on_ray as stop_on_ray
